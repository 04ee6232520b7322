"""Arguments that several commands take, and kinds of values; light to import, since every `ems --help` reads it."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


positive.__name__ = "positive whole number"  # argparse names it in its message


def memory(text: str) -> int:
    """Read a number of bytes such as 500M or 2G."""
    number = text.upper().removesuffix("B")
    try:
        factor = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[number.lstrip("0123456789.")]
    except KeyError:
        raise ValueError from None
    size = float(number.rstrip("KMGT")) * factor
    if not size < 1e18:
        raise ValueError
    return round(size)


memory.__name__ = "size such as 500M or 2G"  # argparse names it in its message


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add --config and --set."""
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML configuration")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="override, such as run.seed=1"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --batch-size and --device."""
    parser.add_argument("--batch-size", type=positive, metavar="N", help="most sentences in one forward pass")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda; default: a GPU where there is one")
