"""Compare the time that scoring takes, apart from encoding, with the time of its own matrix products.

Scored are Tatoeba (all languages that are there, both ways) and FLORES (with English, xsim, all pairs), the real files
with random vectors. The floor: one product of the embeddings of each language pair that is scored.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ems.benchmark.measure import peak_bytes, print_case, seconds
from ems.eval.benchmarks.flores import evaluate_flores
from ems.eval.benchmarks.tatoeba import evaluate_tatoeba
from ems.eval.record import Record


class RandomEncoder:
    """Give every sentence a random vector, and note how long that took."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.seconds = 0.0
        self._random = np.random.default_rng(0)

    def encode(self, sentences: list[str]) -> NDArray[np.float32]:
        """Return float32 (N, dimension)."""
        begun = time.perf_counter()
        vectors = self._random.standard_normal((len(sentences), self.dimension), dtype=np.float32)
        self.seconds += time.perf_counter() - begun
        return vectors


def _products(shapes: Sequence[tuple[int, int]], dimension: int) -> None:
    """Compute one product for each language pair, given the sentences of both sides."""
    largest = max(itertools.chain.from_iterable(shapes))
    left, right = torch.randn(largest, dimension), torch.randn(largest, dimension)
    product = torch.empty(largest * largest)
    for rows, columns in shapes:
        torch.mm(left[:rows], right[:columns].T, out=product[: rows * columns].view(rows, columns))


def _shapes(tatoeba: Record, flores: Sequence[Record]) -> list[tuple[int, int]]:
    with_english, all_pairs = flores[0], flores[-1]
    languages = len(all_pairs["scores"])
    pairs = len(with_english["scores"]) + languages * (languages - 1) // 2
    return [(int(row["n"]), int(row["n"])) for row in tatoeba["scores"].values()] + [
        (with_english["n"], with_english["n"])
    ] * pairs


def benchmark_scoring(data_folder: Path, dimensions: Sequence[int], repeats: int = 3) -> list[dict[str, Any]]:
    """Measure and print one case for each dimension.

    Args:
        data_folder: holds Tatoeba and FLORES devtest.
        dimensions: of the random vectors.
        repeats: of scoring and products in turn; medians are given.

    Raises:
        InputError: the files are not there.
    """
    cases = []
    for dimension in dimensions:
        scoring, products = [], []
        for _ in range(repeats):
            encoder = RandomEncoder(dimension)
            begun = time.perf_counter()
            tatoeba = evaluate_tatoeba(encoder, data_folder, languages="laser112")
            flores = evaluate_flores(encoder, data_folder, all_pairs=True)
            scoring.append(time.perf_counter() - begun - encoder.seconds)
            shapes = _shapes(tatoeba, flores)
            products.append(seconds(partial(_products, shapes, dimension)))
        case = {
            "case": "score",
            "dimension": dimension,
            "language_pairs": len(shapes),
            "seconds": statistics.median(scoring),
            "product_seconds": statistics.median(products),
            "ratio_to_products": statistics.median(s / p for s, p in zip(scoring, products, strict=True)),
            "peak_bytes": peak_bytes(),
        }
        print_case(case)
        cases.append(case)
    return cases
