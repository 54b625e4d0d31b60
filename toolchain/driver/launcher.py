"""Entry of a bundle, copied to BUNDLE/__main__.py: `python3 BUNDLE adapt|infer|run|bench|selftest`."""

import os
import sys
from contextlib import suppress


def remove_own_bytecode() -> None:
    """Python has already cached this very file beside it; a bundle stays as it was built."""
    cached = getattr(globals().get("__spec__"), "cached", None)
    if cached:
        with suppress(OSError):
            os.remove(cached)
            os.rmdir(os.path.dirname(cached))


if __name__ == "__main__":
    if sys.version_info < (3, 8):
        sys.exit("error: a bundle needs Python 3.8 or newer, this is %d.%d" % sys.version_info[:2])
    sys.dont_write_bytecode = True
    remove_own_bytecode()
    bundle = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.join(bundle, "driver"))
    try:
        from toolchain.driver.main import main
    except ImportError as error:
        sys.exit("error: %s/driver is incomplete (%s): copy the whole bundle again" % (bundle, error))
    sys.exit(main(bundle, sys.argv[1:]))
