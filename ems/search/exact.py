"""Find exact nearest neighbours by cosine between two sets of embeddings, in both directions from one pass.

Equal scores come in the order of flat inner-product indexes: for one neighbour the lowest index wins; of several the
lowest are kept, and listed from the highest to the lowest. Equal rows always get equal scores, which the rounding of a
matrix product does not grant. Cost: the matrix product, and two passes over its result while that is in the cache.

Shape letters: N source sentences, M target sentences, U distinct rows among them, D dimension, K neighbours, H and W
rows and columns of a tile of the similarity matrix.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import torch

from ems.search.unit_rows import Floats, Index, UnitRows

# Rows and columns of the similarity matrix held at a time: 4 MB of float32, enough for full matrix product speed. A
# larger tile leaves the caches.
TILE = (1024, 1024)
# Neighbouring columns, and rows, whose largest value is kept: the best of a row are then looked for in few groups.
ROW_GROUP, COLUMN_GROUP = 64, 32


@dataclass(frozen=True)
class Neighbours:
    """The K nearest rows of each row, best first.

    Attributes:
        similarity: float32 (N, K), cosines, descending.
        index: int64 (N, K). Of equal cosines the lowest indices are kept, and listed from the highest to the lowest.
    """

    similarity: Floats
    index: Index

    def nearest(self) -> Index:
        """Return int64 (N,): the nearest row, of equal ones the lowest, as a search for one neighbour gives it."""
        ties = self.similarity == self.similarity[:, :1]
        lowest: Index = np.where(ties, self.index, np.iinfo(np.int64).max).min(axis=1)
        return lowest


def _grouped(tile: Floats, axis: int) -> Floats:
    """Return a view of a tile: (H, W / group, group) or, of its columns, (H / group, group, W)."""
    height, width = tile.shape
    if axis == 1:
        return tile.reshape(height, width // ROW_GROUP, ROW_GROUP)
    return tile.reshape(height // COLUMN_GROUP, COLUMN_GROUP, width)


def _group_maxima(tile: Floats, axis: int) -> Floats:
    """Return the largest value of every group, (H, W / group) or (W, H / group)."""
    # PyTorch, since numpy reduces short runs ten times slower.
    maxima = torch.from_numpy(_grouped(tile, axis)).amax(1 + axis)
    return np.ascontiguousarray(maxima.numpy() if axis == 1 else maxima.numpy().T)


def _first_largest(values: Floats, k: int) -> tuple[Floats, Index]:
    """Return the k largest values of every row and their places, (N, k), of equal ones the first; overwrites `values`.

    Where a row has fewer values than k that are not -inf, the rest is -inf, at any place.
    """
    every = np.arange(len(values))
    largest, places = np.empty((len(values), k), dtype=np.float32), np.empty((len(values), k), dtype=np.int64)
    for i in range(k):  # a few passes of argmax beat sorting
        places[:, i] = values.argmax(axis=1)
        largest[:, i] = values[every, places[:, i]]
        values[every, places[:, i]] = -np.inf
    return largest, places


class _Best:
    """The k best columns of every row of a matrix that is seen in tiles.

    Of a row, the k groups with the largest maxima hold its k best values: any value elsewhere is at most as large as
    each of those maxima and, where equal, stands behind it. So only k groups are looked into.
    """

    def __init__(self, num_rows: int, k: int) -> None:
        self.similarity = np.full((num_rows, k), -np.inf, dtype=np.float32)
        self.index = np.full((num_rows, k), -1, dtype=np.int64)

    def update(self, first_row: int, tile: Floats, first_column: int, *, axis: int) -> None:
        """Take a tile into account. The tiles of a row must come from left to right: earlier columns win ties.

        Args:
            first_row: where the tile stands.
            tile: (H, W), multiples of the groups; -inf where the matrix ends.
            first_column: where the tile stands.
            axis: 1: rows and columns are those of the tile. 0: the tile is transposed.
        """
        count = min(len(self.index) - first_row, tile.shape[1 - axis])
        if self.index.shape[1] == 1:
            self._update_nearest(slice(first_row, first_row + count), tile, first_column, axis)
            return
        maxima = _group_maxima(tile, axis)[:count]
        kept = self.similarity[first_row : first_row + count]
        # Most tiles of a large corpus improve few rows, so that the pass over the tile is the usual cost.
        rows = np.flatnonzero(torch.from_numpy(maxima).amax(1).numpy() > kept[:, -1])
        if len(rows) == 0:
            return
        _, groups = _first_largest(maxima[rows], min(kept.shape[1], maxima.shape[1]))
        groups.sort(axis=1)  # so that the values below stand in the order of their columns
        if axis == 1:
            values = _grouped(tile, axis)[rows[:, None], groups]
        else:
            values = _grouped(tile, axis)[groups, :, rows[:, None]]
        size = values.shape[2]
        found, places = _first_largest(values.reshape(len(rows), -1), min(kept.shape[1], groups.shape[1] * size))
        columns = first_column + groups[np.arange(len(rows))[:, None], places // size] * size + places % size
        self._merge(first_row + rows, found, columns)

    def _update_nearest(self, rows: slice, tile: Floats, first_column: int, axis: int) -> None:
        """Do what `update` does for one neighbour a row, in fewer passes."""
        every = np.arange(rows.stop - rows.start)
        if axis == 1:
            places = tile[: len(every)].argmax(axis=1)
            found = tile[every, places]
        else:
            groups = _group_maxima(tile, axis)[: len(every)].argmax(axis=1)
            values = _grouped(tile, axis)[groups, :, every]
            within = values.argmax(axis=1)
            places, found = groups * COLUMN_GROUP + within, values[every, within]
        better = found > self.similarity[rows, 0]
        self.similarity[rows, 0][better] = found[better]
        self.index[rows, 0][better] = first_column + places[better]

    def _merge(self, rows: Index, similarity: Floats, columns: Index) -> None:
        both = np.concatenate([self.similarity[rows], similarity], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, : self.similarity.shape[1]]
        self.similarity[rows] = np.take_along_axis(both, order, axis=1)
        self.index[rows] = np.take_along_axis(np.concatenate([self.index[rows], columns], axis=1), order, axis=1)


def _expanded(best: _Best, queries: UnitRows, corpus: UnitRows, k: int) -> Neighbours:
    """Go from neighbours among distinct rows to neighbours among all rows, and put ties in their order."""
    similarity, index = best.similarity, best.index
    if corpus.has_duplicates:
        # Every distinct row stands at the place of its first occurrence, so the k best of them hold the k best of all.
        occurrences = corpus.occurrences(k)[index]  # (U, K, occurrences)
        repeated = np.broadcast_to(similarity[:, :, None], occurrences.shape)
        similarity = np.where(occurrences >= 0, repeated, -np.inf).astype(np.float32).reshape(len(index), -1)
        index = occurrences.reshape(len(index), -1)
        order = np.lexsort((index, -similarity), axis=1)[:, :k]
        similarity, index = np.take_along_axis(similarity, order, axis=1), np.take_along_axis(index, order, axis=1)
    if k > 1:
        order = np.lexsort((-index, -similarity), axis=1)
        similarity, index = np.take_along_axis(similarity, order, axis=1), np.take_along_axis(index, order, axis=1)
    if queries.has_duplicates:
        similarity, index = similarity[queries.row_of], index[queries.row_of]
    return Neighbours(similarity, index)


def _whole(count: int, group: int) -> int:
    return -(-count // group) * group


def _similarities(sources: torch.Tensor, targets: torch.Tensor, buffer: torch.Tensor) -> Floats:
    """Return the cosines of two blocks of unit rows in a part of the buffer, -inf where groups want to be filled up."""
    height, width = len(sources), len(targets)
    tile = buffer[: _whole(height, COLUMN_GROUP) * _whole(width, ROW_GROUP)].view(-1, _whole(width, ROW_GROUP))
    tile[height:] = -torch.inf
    tile[:, width:] = -torch.inf
    torch.mm(sources, targets.T, out=tile[:height, :width])
    similarities: Floats = tile.numpy()
    return similarities


def checked_k(k: SupportsIndex) -> int:
    """Return a number of neighbours as an int.

    Raises:
        ValueError: not a whole number, or less than 1.
    """
    try:
        number = operator.index(k)
    except TypeError:
        raise ValueError(f"k must be a whole number, not {k!r}") from None
    if number < 1:
        raise ValueError(f"k must be at least 1, not {number}")
    return number


def mutual_neighbours(
    source: UnitRows, target: UnitRows, k: int, *, tile: tuple[int, int] = TILE
) -> tuple[Neighbours, Neighbours]:
    """Find the k nearest targets of every source and the k nearest sources of every target, exactly.

    One pass over one similarity matrix serves both directions. Memory beyond the result: one tile.

    Args:
        source: N embeddings.
        target: M embeddings of the same dimension.
        k: neighbours a row, at least 1; no more than the other side has rows are returned.
        tile: rows and columns of the matrix computed at a time; changes results by rounding only.

    Returns:
        neighbours (N, min(k, M)) of the source rows, and (M, min(k, N)) of the target rows.

    Raises:
        ValueError: dimensions differ, or k is not a whole number from 1 on.
    """
    k = checked_k(k)
    if source.rows.shape[1] != target.rows.shape[1]:
        raise ValueError(
            f"source and target must have one dimension, not {source.rows.shape[1]} and {target.rows.shape[1]}"
        )
    forward = _Best(len(source.rows), min(k, len(target.rows)))
    backward = _Best(len(target.rows), min(k, len(source.rows)))
    sources, targets = torch.from_numpy(source.rows), torch.from_numpy(target.rows)
    height, width = min(tile[0], len(sources)), min(tile[1], len(targets))
    buffer = torch.empty(_whole(height, COLUMN_GROUP) * _whole(width, ROW_GROUP))
    for i in range(0, len(sources), height):
        for j in range(0, len(targets), width):
            similarity = _similarities(sources[i : i + height], targets[j : j + width], buffer)
            forward.update(i, similarity, j, axis=1)
            backward.update(j, similarity, i, axis=0)
    return (
        _expanded(forward, source, target, min(k, len(target))),
        _expanded(backward, target, source, min(k, len(source))),
    )
