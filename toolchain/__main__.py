"""`python -m toolchain`."""

import sys

from toolchain.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
