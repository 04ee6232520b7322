"""Arguments of `ems experiment`; light to import, since every `ems --help` reads it."""

from __future__ import annotations

import argparse

from ems.arguments import positive

BUDGETS = ("steps", "seconds", "flops")


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run_experiment`."""
    parser.add_argument("--configs", required=True, nargs="+", metavar="FILE", help="YAML files, one a variant")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the runs and the tables")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    parser.add_argument(
        "--budgets",
        nargs="+",
        choices=BUDGETS,
        default=["steps"],
        metavar="NAME",
        help="what variants have in common: steps (default), seconds, flops",
    )
    parser.add_argument(
        "--reference", metavar="NAME", help="variant that others are compared with; default: full, or the first"
    )
    parser.add_argument("--jobs", type=positive, metavar="N", help="runs at a time; default: one a GPU, or one")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="override in all configurations"
    )
