"""``python -m raytune_suite`` is ``raytune``."""

import sys

from raytune_suite.cli import main

if __name__ == "__main__":
    sys.exit(main())
