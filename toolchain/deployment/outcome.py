"""What became of a device."""

from dataclasses import dataclass, field
from typing import Any

from toolchain.deployment.hosts import Host
from toolchain.errors import ToolchainError


@dataclass
class Outcome:
    """error: why its bundle is still the previous one. selftest: the device's own report, if it got so far."""

    host: Host
    files: int
    files_sent: int = 0
    bytes_sent: int = 0
    seconds: float = 0.0
    selftest: dict[str, Any] | None = field(default=None, repr=False)
    error: ToolchainError | None = None

    @property
    def passed(self) -> bool:
        return self.error is None

    def as_json(self) -> dict[str, Any]:
        error = self.error and {"kind": type(self.error).__name__, "message": str(self.error)}
        numbers = {name: getattr(self, name) for name in ("files", "files_sent", "bytes_sent")}
        rest = {"seconds": round(self.seconds, 3), "selftest": self.selftest, "error": error}
        return {"host": str(self.host), "passed": self.passed, **numbers, **rest}
