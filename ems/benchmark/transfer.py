"""Measure the MLDoc recipe: LASER's perceptron on eight languages with five seeds each, trained together.

Random vectors and labels, since the time depends on sizes only. The floor: the multiplications of the forward and
backward passes at the machine's rate, which so small a network cannot come near; the figure that matters is seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ems.benchmark.measure import matmul_rate, peak_bytes, print_case, seconds
from ems.eval.perceptron import EPOCHS, SEEDS, Labelled, train_mlps

LANGUAGES, ROWS, CLASSES = 8, 1000, 4


def _random_set(random: np.random.Generator, dimension: int) -> Labelled:
    return Labelled(random.standard_normal((ROWS, dimension), dtype=np.float32), random.integers(CLASSES, size=ROWS))


def benchmark_transfer(dimensions: Sequence[int]) -> list[dict[str, Any]]:
    """Run the whole recipe once for each dimension; print and return a case each."""
    cases = []
    for dimension in dimensions:
        random = np.random.default_rng(0)
        sets = [(_random_set(random, dimension), _random_set(random, dimension)) for _ in range(LANGUAGES)]
        taken = seconds(partial(train_mlps, sets, num_classes=CLASSES))
        models = LANGUAGES * len(SEEDS)
        # Forward, and backward of the first layer's weights: two multiply-adds a weight and row; dev: one.
        multiplications = models * EPOCHS * ROWS * dimension * 10 * 2 * 3
        case = {
            "case": "transfer",
            "dimension": dimension,
            "models": models,
            "epochs": EPOCHS,
            "seconds": taken,
            "matmul_fraction": multiplications / matmul_rate(dimension) / taken,
            "peak_bytes": peak_bytes(),
        }
        print_case(case)
        cases.append(case)
    return cases
