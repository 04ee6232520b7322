"""Measure time and memory of mining as the corpus grows, on random unit vectors with planted translations.

Each case runs in a process of its own, since peak memory belongs to a process. Run as a module it measures one case:
`python -m ems.benchmark.mining SENTENCES DIMENSION exact`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.benchmark.measure import (
    check_sizes,
    growth_exponent,
    in_own_process,
    matmul_rate,
    peak_bytes,
    print_case,
    seconds,
)
from ems.errors import InputError

PLANTED = 0.5  # share of the sentences that have a translation
SIMILARITY = 0.7  # cosine of a planted pair, about that of translations in a trained model
SEARCHES = ("exact", "approximate")


def planted_pairs(
    count: int, dimension: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return random unit vectors of which some are translations.

    Args:
        count: N sentences a side.
        dimension: D.
        seed: of the random numbers.

    Returns:
        source float32 (N, D), target float32 (N, D), and int64 (N,): the target row of every source, -1 for none.
    """
    random = np.random.default_rng(seed)
    source = random.standard_normal((count, dimension), dtype=np.float32)
    source /= np.linalg.norm(source, axis=1, keepdims=True)
    target = random.standard_normal((count, dimension), dtype=np.float32)
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    places = random.permutation(count)
    planted = int(PLANTED * count)
    for start in range(0, planted, 65_536):  # in pieces: the memory measured below should be that of mining
        rows = places[start : min(start + 65_536, planted)]
        target[rows] *= np.float32(np.sqrt(1 - SIMILARITY**2))
        target[rows] += np.float32(SIMILARITY) * source[start : start + len(rows)]
    target_of = np.full(count, -1, dtype=np.int64)
    target_of[:planted] = places[:planted]
    return source, target, target_of


def measure_case(count: int, dimension: int, search: str) -> dict[str, Any]:
    """Mine once with the ratio margin and `max`, and return what it took and what it found.

    Returns:
        "seconds"; "matmul_fraction": the one product both directions need, at the rate measured in this process, over
        the time taken; "peak_bytes" of the process; "vector_bytes": those of both sides; "recall" and "precision" of
        the planted pairs at a score above 1; approximate search also "search_recall" and "neighbour_recall", against
        exact search on a sample (`ems.search.approximate`).
    """
    source, target, target_of = planted_pairs(count, dimension)
    rate = matmul_rate(dimension)
    found: dict[str, Any] = {}

    def mine() -> None:
        from ems.mining import choose_pairs, mine_bitext, score_candidates

        if search == "exact":
            found["pairs"] = mine_bitext(source, target, threshold=1.0)
            return
        from ems.search.approximate import search_approximate

        near = search_approximate(source, target, 4)
        found["search_recall"] = min(near.recall)
        found["neighbour_recall"] = min(near.neighbour_recall)
        scored = score_candidates(near.forward, near.backward, "ratio")
        found["pairs"] = choose_pairs(*scored, strategy="max", threshold=1.0)

    taken = seconds(mine)
    _, sources, targets = found.pop("pairs")
    right = int((target_of[sources] == targets).sum())
    return {
        "case": f"mine {search}",
        "sentences": count,
        "dimension": dimension,
        "seconds": taken,
        "sentences_per_second": 2 * count / taken,
        "matmul_fraction": 2 * count * count * dimension / rate / taken,
        "peak_bytes": peak_bytes(),
        "vector_bytes": source.nbytes + target.nbytes,
        "recall": right / max(1, int((target_of >= 0).sum())),
        "precision": right / max(1, len(sources)),
        **found,
    }


def benchmark_mining(sizes: Sequence[int], dimension: int, searches: Sequence[str]) -> list[dict[str, Any]]:
    """Measure and print one case for each kind of search and size, then how time and memory grow.

    Args:
        sizes: sentences a side.
        dimension: of the vectors.
        searches: out of `SEARCHES`.

    Raises:
        InputError: a size, dimension or search that cannot be.
    """
    check_sizes(sizes, "--sizes")
    if min(sizes) < 2 or dimension < 1:
        raise InputError(f"sizes must be at least 2 and the dimension 1, not {min(sizes)} and {dimension}")
    for search in searches:
        if search not in SEARCHES:
            raise InputError(f"unknown search '{search}'; there are {' and '.join(SEARCHES)}")
    cases = []
    for search in searches:
        of_search = []
        for size in sizes:
            of_search.append(in_own_process("ems.benchmark.mining", size, dimension, search))
            print_case(of_search[-1])
        if len(of_search) > 1:
            last = of_search[-3:]  # where the costs that do not grow no longer show
            grown = [case["sentences"] for case in last]
            print_case(
                {
                    "case": f"mine {search}, growth",
                    "sentences": f"{grown[0]} to {grown[-1]}",
                    "time_exponent": growth_exponent(grown, [case["seconds"] for case in last]),
                    "memory_exponent": growth_exponent(grown, [case["peak_bytes"] for case in last]),
                }
            )
        cases += of_search
    return cases


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_case(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
    sys.stdout.flush()
    os._exit(0)  # gigabytes of arrays need not be taken down one by one
