"""Boards that bundles are built for: one TOML file each, every fact with its source."""

from targets.loader import Fact, Target, load_target, parsed_operators, target_names

__all__ = ["Fact", "Target", "load_target", "parsed_operators", "target_names"]
