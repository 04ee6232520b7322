"""Make embeddings ready for cosine search: checked, scaled to length 1, each distinct row once.

Shape letters: N embeddings, U distinct rows among them, D dimension, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Index = NDArray[np.int64]

_LEAST_SQUARES = 1e-30  # sums of squares below may have lost digits to the range of float32, or be 0 by it


@dataclass(frozen=True)
class UnitRows:
    """Hold embeddings ready for cosine search: each distinct row once, with norm 1 or 0.

    A matrix product rounds equal columns differently according to where they stand (measured: 3 to 7 of 100 products
    of duplicates differ). Searching the distinct rows only is what makes duplicates tie exactly.

    Attributes:
        rows: float32 (U, D), in order of first occurrence.
        row_of: int64 (N,), which of `rows` each embedding is.
    """

    rows: Floats
    row_of: Index

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def has_duplicates(self) -> bool:
        """Say whether some row occurs twice."""
        return len(self.rows) < len(self.row_of)

    def occurrences(self, k: int) -> Index:
        """Return int64 (U, at most k): the first k embeddings that are each distinct row, ascending, padded with -1."""
        counts = np.bincount(self.row_of, minlength=len(self.rows))
        order = np.argsort(self.row_of, kind="stable")
        position = np.arange(min(k, int(counts.max())))
        starts = np.cumsum(counts) - counts
        found = order[np.minimum(starts[:, None] + position, len(order) - 1)]
        return np.where(position < counts[:, None], found, -1)


def _distinct_rows(embeddings: Floats) -> tuple[Floats, Index]:
    """Return the distinct rows in order of first occurrence, and which of them each row is."""
    # The bits of the first two values tell nearly all rows apart; only rows that agree there are compared in full.
    key = np.ascontiguousarray(embeddings[:, :2]).view(np.uint32).astype(np.uint64)
    _, group, sizes = np.unique(key[:, 0] << 32 | key[:, -1], return_inverse=True, return_counts=True)
    first = np.arange(len(embeddings))
    seen: dict[bytes, int] = {}
    for row in np.flatnonzero(sizes[group] > 1):
        first[row] = seen.setdefault(blake2b(embeddings[row].tobytes(), digest_size=16).digest(), int(row))
    is_first = first == np.arange(len(embeddings))
    if is_first.all():
        return embeddings, first
    return embeddings[is_first], (np.cumsum(is_first) - 1)[first]


def _normalise(rows: Floats) -> None:
    """Give every row but zero rows the norm 1, in place."""
    squares = np.einsum("nd,nd->n", rows, rows)
    # Zero rows, and rows whose squares leave the range of float32, want more care than one multiplication.
    rare = np.flatnonzero(~((squares > 1e-30) & (squares < 1e30)))
    wide = rows[rare].astype(np.float64)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    squares[rare] = 1
    rows *= (1 / np.sqrt(squares))[:, None]
    rows[rare] = wide / np.where(norm > 0, norm, 1)


def plain_array(values: ArrayLike | torch.Tensor, name: str) -> NDArray[Any]:
    """Return numbers as an array, tensors of any device, with or without gradients, included.

    Raises:
        ValueError: not real numbers, or a masked array: what is behind its mask would be taken for numbers.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} must not be a masked array; leave the masked rows out, or fill them")
    try:
        if isinstance(values, torch.Tensor):
            known_to_numpy = values.dtype in (torch.float64, torch.float32, torch.float16)
            if values.is_floating_point() and not known_to_numpy:
                values = values.float()
            values = values.numpy(force=True)
        plain = np.asarray(values)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{name} must be real numbers ({str(error).splitlines()[0]})") from None
    if plain.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, not {plain.dtype}")
    return plain


def _enlarge(rows: Floats, given: NDArray[Any]) -> None:
    """Multiply tiny rows by powers of two, in place; `given` holds them as they were, in a wider type maybe."""
    wide = given.astype(np.float64)
    _, exponent = np.frexp(np.abs(wide).max(axis=1, keepdims=True))
    rows[:] = np.ldexp(wide, -exponent)
    rows += np.float32(0)


def unit_rows(embeddings: ArrayLike | torch.Tensor, name: str = "embeddings") -> UnitRows:
    """Check embeddings and make them ready for cosine search; do it once for a set that is compared with many.

    Args:
        embeddings: numbers (N, D), N and D at least 1; a tensor is detached. Zero rows are allowed and stay zero.
        name: what to call them in an error.

    Returns:
        A copy in float32; the argument is not changed.

    Raises:
        ValueError: not two-dimensional, empty, not real numbers, masked, or not finite in float32.
    """
    given = plain_array(embeddings, name)
    if given.ndim != 2:
        raise ValueError(f"{name} must have two dimensions (sentences, values), not shape {given.shape}")
    if given.size == 0:
        raise ValueError(f"{name} must not be empty, but have shape {given.shape}")
    with np.errstate(over="ignore", under="ignore"):
        # Adding zero turns -0 into 0, so that equal rows have equal bits.
        values = np.ascontiguousarray(given, dtype=np.float32) + np.float32(0)
        # One value that is not finite makes the sum of squares so; only such rows are looked at one by one.
        squares = np.einsum("nd,nd->n", values, values)
        for row in np.flatnonzero(~np.isfinite(squares)):
            unusable = values[row][~np.isfinite(values[row])]
            if len(unusable):
                raise ValueError(f"{name} must be finite, but row {row} holds {unusable[0]}")
        tiny = np.flatnonzero(squares < _LEAST_SQUARES)
        if len(tiny):
            enlarged = values[tiny]
            _enlarge(enlarged, given[tiny])
            values[tiny] = enlarged
        distinct, row_of = _distinct_rows(values)
        _normalise(distinct)
    return UnitRows(distinct, row_of)
