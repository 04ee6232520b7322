"""Run `ems experiment` from a checkout: `python scripts/experiment.py --help` lists its arguments."""

import sys

from ems.cli import main

if __name__ == "__main__":
    sys.exit(main(command="experiment"))
