"""Choose how much of the vectors a search holds at a time, so that mining stays within the memory it was given."""

from __future__ import annotations

import math

from ems.errors import InputError
from ems.search.approximate import QUERY_ROWS, SHARD_ROWS
from ems.search.blocks import BLOCK_ROWS

_LEAST_ROWS = 256  # in a block or shard


def size_text(size: float) -> str:
    """Return a number of bytes as `--memory` takes it, rounded up to three digits: 71_840 -> "71.9K"."""
    unit = max(0, min(4, int(math.log10(max(size, 1))) // 3))
    digits = 10 ** max(0, 2 - int(math.log10(max(size / 1000**unit, 1))))
    return f"{math.ceil(size / 1000**unit * digits) / digits:g}{('', 'K', 'M', 'G', 'T')[unit]}"


def rows_at_a_time(memory: int, num_rows: int, k: int, dimension: int, approximate: bool) -> int:
    """Return how many rows a block of the exact search, or a shard of the approximate one, may have.

    Args:
        memory: bytes for search and choice of pairs.
        num_rows: of both sides together.
        k: neighbours of a row.
        dimension: values of a vector.
        approximate: which search it is.

    Raises:
        InputError: too little memory even for the smallest.
    """
    held = num_rows * (12 * k + 24)  # neighbours; where each sentence stands
    choosing = num_rows * (20 * k + 280)  # neighbours, their scores, and the sorted list of all pairs
    if approximate:
        most, row = SHARD_ROWS, 4 * dimension + 24
        held += 8 * QUERY_ROWS * 4 * dimension  # queries, copies of them, and what the allocator keeps
    else:
        # Both sides, each with a copy, and the merging of neighbours.
        most, row = BLOCK_ROWS, 2 * (2 * 4 * dimension + 100 * k)
    least = max(choosing, held + _LEAST_ROWS * row)
    if memory < least:
        raise InputError(f"memory {size_text(memory)} is too little: {num_rows} sentences need {size_text(least)}")
    return min(most, (memory - held) // row)
