"""Run `ems benchmark` from a checkout: `python scripts/benchmark.py --help` lists its arguments."""

import sys

from ems.cli import main

if __name__ == "__main__":
    sys.exit(main(command="benchmark"))
