"""`python -m sb3_ext` is the `sb3-ext` command."""

import sys

from sb3_ext.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
