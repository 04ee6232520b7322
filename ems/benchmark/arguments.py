"""The arguments of `ems benchmark`, apart from what they start, since every `ems --help` reads them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ems.arguments import add_config, positive

BASELINES = ("plain", "sentence-transformers")
ENCODERS = (*BASELINES, "int8", "bf16")  # the last two are ours in fewer bits


def _add_speed(parser: argparse.ArgumentParser, others: Sequence[str], without_text: str) -> None:
    add_config(parser)
    parser.add_argument(
        "--baseline", nargs="+", default=[], choices=others, metavar="NAME", help="compare with " + ", ".join(others)
    )
    parser.add_argument("--text", nargs="+", default=[], metavar="FILE", help=f"corpus files; {without_text}")
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="medians of so many; default: 5")


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_speed(parser, BASELINES, "default: random ids")
    parser.add_argument("--length", type=positive, metavar="N", help="tokens of every sentence, of random ids")
    parser.add_argument("--languages", type=positive, metavar="N", help="number, of random ids; default: 2")
    parser.add_argument(
        "--grow",
        nargs="+",
        metavar="KEY",
        help="key and its values, such as batching.pairs 64 256; or length, languages",
    )


def _add_encode(parser: argparse.ArgumentParser) -> None:
    _add_speed(parser, ENCODERS, "whose sentences are encoded")
    parser.add_argument("--sentences", nargs="+", type=positive, default=[4000], metavar="N", help="default: 4000")


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--sizes", nargs="+", type=positive, default=[10_000, 100_000], metavar="N", help="pairs")
    parser.add_argument("--text", nargs="+", default=[], metavar="FILE", help="corpus files; default: embedded:grammar")


def _add_mine(parser: argparse.ArgumentParser) -> None:
    sizes = [1_000, 3_000, 10_000, 30_000]
    parser.add_argument("--sizes", nargs="+", type=positive, default=sizes, metavar="N", help="sentences a side")
    parser.add_argument("--dimension", type=positive, default=256, metavar="D", help="of the vectors; default: 256")
    parser.add_argument("--search", nargs="+", default=["exact"], metavar="NAME", help="exact (default), approximate")


def _add_transfer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dimensions", nargs="+", type=positive, default=[256, 1024], metavar="D")


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with both test sets (docs/evaluation.md)")
    parser.add_argument("--dimensions", nargs="+", type=positive, default=[256, 1024], metavar="D")
    parser.add_argument("--repeats", type=positive, default=3, metavar="N", help="medians of so many; default: 3")


def add_benchmarks(parser: argparse.ArgumentParser) -> None:
    """Add one subcommand a benchmark; its name arrives as `what`."""
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, summary, add in (
        ("train", "training steps: pairs a second, share of the matmul rate, memory, stages", _add_train),
        ("encode", "from strings to vectors", _add_encode),
        ("prepare", "from text to shards, and from the command to the first step", _add_prepare),
        ("mine", "time and memory of mining random vectors with planted translations", _add_mine),
        ("score", "time of scoring Tatoeba and FLORES, over that of its matrix products", _add_score),
        ("transfer", "time of training the classifiers of MLDoc", _add_transfer),
    ):
        add(what.add_parser(name, help=summary, description=summary))
