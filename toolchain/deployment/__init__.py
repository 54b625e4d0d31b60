"""A bundle on devices, over SSH: only what changed is sent, and a device switches to it whole or not at all."""

from toolchain.deployment.deploy import Order, deploy
from toolchain.deployment.hosts import Host, parse_hosts, read_inventory
from toolchain.deployment.outcome import Outcome

__all__ = ["Host", "Order", "Outcome", "deploy", "parse_hosts", "read_inventory"]
