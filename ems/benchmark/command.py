"""What each `ems benchmark` does with its arguments."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ems.arguments import positive
from ems.benchmark.case import Case
from ems.benchmark.measure import check_sizes, growth_exponent, print_case
from ems.errors import InputError


def _case(arguments: argparse.Namespace, **more: Any) -> Case:
    return Case(arguments.config, tuple(arguments.set), tuple(arguments.text), rounds=arguments.rounds, **more)


def _size(key: str, value: str) -> int:
    try:
        return positive(value)
    except ValueError:
        raise InputError(f"--grow {key}: {value!r} is not a positive whole number") from None


def _with(case: Case, key: str, value: str) -> Case:
    """Return the case with one thing changed: length, languages or a key of the config."""
    if key not in ("length", "languages"):
        return replace(case, overrides=(*case.overrides, f"{key}={value}"))
    number = _size(key, value)
    return replace(case, length=number) if key == "length" else replace(case, languages=number)


def _train(arguments: argparse.Namespace) -> None:
    from ems.benchmark.training import measure_training

    case = _case(arguments, length=arguments.length, languages=arguments.languages or 2)
    for name, given in (("length", arguments.length), ("languages", arguments.languages)):
        if arguments.text and (given is not None or name in (arguments.grow or ())[:1]):
            raise InputError(f"--{name} is for random ids; leave --text out")
    if not arguments.grow:
        measure_training(case, arguments.baseline)
        return
    key, *values = arguments.grow
    if len(values) < 2:
        raise InputError(f"--grow {key}: name at least two values")
    cases = [_with(case, key, value) for value in values]
    sizes = [_size(key, value) for value in values]
    check_sizes(sizes, f"--grow {key}")
    for one in cases:
        one.load()  # what is wrong with the last value is said before the first is measured
    records = [measure_training(case, arguments.baseline)[0] for case in cases]
    # Machines drift between cases: what is compared is how many matrix products the time would have been enough for.
    taken = [record["time_in_matmul_gflop"] for record in records]
    steps = [
        growth_exponent(sizes_of_two, taken_by_two)
        for sizes_of_two, taken_by_two in zip(itertools.pairwise(sizes), itertools.pairwise(taken), strict=True)
    ]
    print_case({"case": f"train, growth with {key}", "values": sizes, "time_exponents": [round(x, 3) for x in steps]})


def _encode(arguments: argparse.Namespace) -> None:
    from ems.benchmark.encoding import measure_encoding

    sizes = arguments.sentences
    check_sizes(sizes, "--sentences")
    taken = [measure_encoding(_case(arguments), size, arguments.baseline)[0]["seconds"] for size in sizes]
    if len(sizes) > 1:
        print_case({"case": "encode, growth", "sentences": sizes, "time_exponent": growth_exponent(sizes, taken)})


def _prepare(arguments: argparse.Namespace) -> None:
    from ems.benchmark.preparation import benchmark_preparation

    benchmark_preparation(arguments.config, arguments.set, arguments.sizes, arguments.text)


def _mine(arguments: argparse.Namespace) -> None:
    from ems.benchmark.mining import benchmark_mining

    benchmark_mining(arguments.sizes, arguments.dimension, arguments.search)


def _score(arguments: argparse.Namespace) -> None:
    from ems.benchmark.scoring import benchmark_scoring

    benchmark_scoring(Path(arguments.data), arguments.dimensions, arguments.repeats)


def _transfer(arguments: argparse.Namespace) -> None:
    from ems.benchmark.transfer import benchmark_transfer

    benchmark_transfer(arguments.dimensions)


BENCHMARKS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": _train,
    "encode": _encode,
    "prepare": _prepare,
    "mine": _mine,
    "score": _score,
    "transfer": _transfer,
}
