"""What every test runs under, also where pytest is started by hand."""

import os

from hypothesis import settings


def pytest_configure() -> None:
    """One thread a process, before anything loads torch; no deadline, because machines that test are busy."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settings.register_profile("unhurried", settings.default, deadline=None)
    settings.load_profile("unhurried")
