"""List the models that can be named."""

import argparse

from toolchain.driver.output import emit


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(options: argparse.Namespace) -> int:
    from toolchain.models.registry import OWN, torchvision_names

    listed = torchvision_names()
    text = [
        "ours:         " + ", ".join(OWN),
        "torchvision:  " + ", ".join(listed),
        "timm:         timm:NAME, if timm is installed",
        "your own:     package.module:factory",
    ]
    emit({"own": list(OWN), "torchvision": listed}, "\n".join(text), options.json)
    return 0
