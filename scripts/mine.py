"""Run `ems mine` from a checkout: `python scripts/mine.py --help` lists its arguments."""

import sys

from ems.cli import main

if __name__ == "__main__":
    sys.exit(main(command="mine"))
