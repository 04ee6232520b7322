"""Find nearly all nearest neighbours among millions of vectors, faster than the exact search, and measure how many.

The rows of a side lie in lists around some 4 sqrt(rows) centroids, as in an inverted-file index, and a query looks only
into the lists whose centroids are nearest. How many lists that is, is read off a sample of queries whose exact
neighbours are found, too: as many as find the wanted share of nearest neighbours, each weighted by the square of how
far it stands out from the mean of the K nearest. For only those that stand out can become pairs; the others are chance
neighbours that lie in no particular list, and to find all of them can take longer than the exact search. As all queries
are known, every list is compared with those that look into it by one matrix product, at the rate of the exact search
(faiss compares one query after another, and took three times as long).

Memory: a side is cut into shards that fit. A shard of R rows takes R (4 D + 24) bytes (1 million rows of 256 values:
1.05 GB) beside the neighbours.

Shape letters: N queries, R rows of a shard, D dimension, K neighbours, C centroids, L lists that a query looks into.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ems.search.blocks import BestNeighbours, Rows, SearchState
from ems.search.exact import Neighbours
from ems.search.unit_rows import Floats, Index

RECALL = 0.95  # share of the nearest neighbours that a search must find on the sample, weighted
SHARD_ROWS = 4_000_000
QUERY_ROWS = 16_384  # queries searched at a time, and rows read at a time
SAMPLE = 1_000  # queries whose exact neighbours are found, too
_ROWS_PER_LIST = 40  # that the centroids are learnt from
_ROUNDS = 8  # of k-means; more improve recall by less than they cost
_PAIRS = 1_000_000  # of queries and lists to look into at a time: some 30 MB
_TILE_VALUES = 1 << 22  # cosines held at a time: 16 MB
_SAME = 1e-6  # cosines nearer to each other than this are equal but for rounding


@dataclass(frozen=True)
class ApproximateNeighbours:
    """What was found, and how much of what there is.

    Attributes:
        forward: nearest targets of every source found, (N, min(K, M)).
        backward: nearest sources of every target found, (M, min(K, N)).
        recall: share, 0 to 1, of the nearest neighbours that were found, forward and backward, on samples of up to
            1,000 evenly spaced queries, weighted as said above. An equally near row counts as found.
        neighbour_recall: likewise of all K neighbours, not weighted.
    """

    forward: Neighbours
    backward: Neighbours
    recall: tuple[float, float]
    neighbour_recall: tuple[float, float]


def _evenly(count: int, wanted: int) -> Index:
    """Return up to `wanted` evenly spaced numbers below `count`, ascending."""
    wanted = min(count, wanted)
    return np.arange(wanted, dtype=np.int64) * count // max(wanted, 1)


def _blocks(rows: Rows, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
    """Yield rows start to stop in blocks, each with the number of its first row behind start."""
    for first in range(start, stop, QUERY_ROWS):
        block = rows[first : min(first + QUERY_ROWS, stop)]
        yield first - start, torch.from_numpy(np.require(block, requirements=["C", "W"]))


def _take(rows: Rows, index: Index) -> Tensor:
    """Return some rows, given ascending, reading no more than a block at a time."""
    taken = torch.empty(len(index), rows.shape[1])
    for first in range(0, rows.shape[0], QUERY_ROWS):
        begin, end = np.searchsorted(index, [first, first + QUERY_ROWS])
        if begin < end:
            taken[begin:end] = torch.from_numpy(rows[first : first + QUERY_ROWS][index[begin:end] - first])
    return taken


def _nearest(queries: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return cosine and number (N, count) of the nearest of some rows, descending."""
    parts = [(part @ rows.T).topk(count) for part in queries.split(max(1, _TILE_VALUES // len(rows)))]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _exact(queries: Tensor, rows: Rows, start: int, stop: int, k: int) -> BestNeighbours:
    """Find the neighbours of some queries among rows start to stop, exactly."""
    best = BestNeighbours(len(queries), min(k, stop - start))
    for first, block in _blocks(rows, start, stop):
        cosine, number = _nearest(queries, block, min(k, len(block)))
        best.merge(0, cosine.numpy(), number.numpy() + first + start)
    return best


def _weights(exact: Floats) -> NDArray[np.float64]:
    """Return what the nearest neighbours of queries count, with sum 1, given exact cosines (n, K), descending."""
    standing_out: NDArray[np.float64] = (exact[:, 0] - exact.mean(axis=1, dtype=np.float64)) ** 2
    if standing_out.sum() == 0:  # one neighbour each, or all alike
        standing_out[:] = 1
    return np.asarray(standing_out / standing_out.sum())


def _recall(found: Floats, exact: Floats) -> float:
    """Return the weighted share of found nearest neighbours, (n, K) descending, that are as near as the exact ones."""
    return min(1.0, float(_weights(exact) @ (found[:, 0] >= exact[:, 0] - _SAME)))


def _neighbour_recall(found: Floats, exact: Floats) -> float:
    """Return the share of found neighbours (n, K) that are as near as the furthest exact one, descending (n, K)."""
    return float((found >= exact[:, -1:] - _SAME).mean())


def _centroids(rows: Rows, start: int, stop: int) -> Tensor:
    """Cluster a sample of rows start to stop by spherical k-means, (C, D); the same rows give the same centroids."""
    count = max(1, min(round(4 * math.sqrt(stop - start)), (stop - start) // _ROWS_PER_LIST))
    sample = _take(rows, start + _evenly(stop - start, count * _ROWS_PER_LIST))
    centroids = sample[torch.from_numpy(_evenly(len(sample), count))]
    for _ in range(_ROUNDS):
        list_of = _nearest(sample, centroids, 1)[1][:, 0]
        sums = torch.zeros_like(centroids).index_add_(0, list_of, sample)
        norms = sums.norm(dim=1, keepdim=True)
        centroids = torch.where(norms > 0, sums / norms, centroids)  # one without rows stays where it is
    return centroids


class _Shard:
    """Rows start to stop in lists around centroids, and how many lists a query must look into for the wanted recall."""

    def __init__(self, rows: Rows, start: int, stop: int, sample: Tensor, k: int, recall: float) -> None:
        self._start = start
        self._k = min(k, stop - start)
        self._centroids = _centroids(rows, start, stop)
        list_of = np.empty(stop - start, dtype=np.int64)
        for first, block in _blocks(rows, start, stop):
            list_of[first : first + len(block)] = _nearest(block, self._centroids, 1)[1][:, 0].numpy()
        self._row_of = np.argsort(list_of, kind="stable")  # of every place in the lists
        self._bounds = np.searchsorted(list_of[self._row_of], np.arange(len(self._centroids) + 1))
        place_of = torch.empty(stop - start, dtype=torch.int64)
        place_of[torch.from_numpy(self._row_of)] = torch.arange(stop - start)
        self._vectors = torch.empty(stop - start, rows.shape[1])  # in the order of the lists
        for first, block in _blocks(rows, start, stop):
            self._vectors[place_of[first : first + len(block)]] = block
        exact = _exact(sample, rows, start, stop, k)
        self.num_lists = self._lists_for(recall, sample, list_of[exact.index[:, 0] - start], _weights(exact.similarity))

    def _lists_for(self, recall: float, queries: Tensor, wanted: Index, weights: NDArray[np.float64]) -> int:
        """Return into how many lists a query must look so that the weighted share of `wanted`, (n,), is among them."""
        nearness = queries @ self._centroids.T
        of_wanted = nearness.gather(1, torch.from_numpy(wanted)[:, None])
        needed = (nearness > of_wanted).sum(dim=1).numpy() + 1
        order = np.argsort(needed, kind="stable")
        enough = int(np.searchsorted(np.cumsum(weights[order]), recall - 1e-9))
        return int(needed[order[min(enough, len(order) - 1)]])

    def search(self, queries: Tensor) -> tuple[Floats, Index]:
        """Return similarity and index (N, min(K, R)) of neighbours; where too few were met, all lists are searched."""
        similarity, place = self._search(queries, self.num_lists)
        short = (place < 0).any(dim=1)
        if short.any():
            similarity[short], place[short] = self._search(queries[short], len(self._centroids))
        return similarity.numpy(), self._row_of[place.numpy()] + self._start

    def _search(self, queries: Tensor, num_lists: int) -> tuple[Tensor, Tensor]:
        """Return similarity and place (N, min(K, R)), -inf and -1 where too few were met."""
        similarity = torch.full((len(queries), self._k), -torch.inf)
        place = torch.full((len(queries), self._k), -1)
        at_once = max(1, _PAIRS // num_lists)
        for first in range(0, len(queries), at_once):
            part = slice(first, first + at_once)
            self._search_part(queries[part], num_lists, similarity[part], place[part])
        return similarity, place

    def _search_part(self, queries: Tensor, num_lists: int, similarity: Tensor, place: Tensor) -> None:
        """Search one list after another, for all queries that look into it, and improve on what is found so far."""
        # Of 16 bits each, for those numpy sorts five times as fast; there are some 8,000 lists at most.
        lists = _nearest(queries, self._centroids, num_lists)[1].flatten().numpy().astype(np.uint16)
        order = np.argsort(lists, kind="stable")
        bounds = np.searchsorted(lists[order], np.arange(len(self._centroids) + 1))
        query_of = torch.from_numpy(order // num_lists)
        for number in np.flatnonzero((np.diff(bounds) > 0) & (np.diff(self._bounds) > 0)):
            start, stop = self._bounds[number : number + 2].tolist()
            asking = query_of[bounds[number] : bounds[number + 1]]
            cosines = queries[asking] @ self._vectors[start:stop].T
            better = cosines.amax(dim=1) > similarity[asking, -1]  # few, once the nearest lists are seen
            asking = asking[better]
            found, column = cosines[better].topk(min(self._k, stop - start))
            both = torch.cat([similarity[asking], found], dim=1)
            places = torch.cat([place[asking], column + start], dim=1)
            similarity[asking], chosen = both.topk(self._k)
            place[asking] = places.gather(1, chosen)


def search_approximate(
    source: Rows,
    target: Rows,
    k: int,
    *,
    recall: float = RECALL,
    shard_rows: int = SHARD_ROWS,
    state: SearchState | None = None,
) -> ApproximateNeighbours:
    """Find most of the k nearest targets of every source and of the k nearest sources of every target.

    Args:
        source: unit rows (N, D).
        target: unit rows (M, D).
        k: neighbours a row, at least 1; no more than the other side has rows are returned.
        recall: weighted share of the nearest neighbours that the sample must find in every shard, 0 to 1.
        shard_rows: rows in lists at a time; bounds memory, see above.
        state: where to begin, and to keep what is found; None begins anew and keeps nothing on disk.

    Returns:
        as many neighbours of every row as the exact search gives, and the recall measured.
    """
    state = state or SearchState(source.shape[0], target.shape[0], k)
    sides = ((source, target, state.forward), (target, source, state.backward))
    samples = [_take(queries, _evenly(queries.shape[0], SAMPLE)) for queries, _, _ in sides]
    steps = [
        (side, start, query)
        for side, (queries, rows, _) in enumerate(sides)
        for start in range(0, rows.shape[0], shard_rows)
        for query in range(0, queries.shape[0], QUERY_ROWS)
    ]
    shard: _Shard | None = None
    opened = (-1, -1)
    for step in state.remaining(len(steps)):
        side, start, query = steps[step]
        queries, rows, best = sides[side]
        if shard is None or opened != (side, start):
            shard = None  # before the next one is built, so that there is only one at a time
            shard = _Shard(rows, start, min(start + shard_rows, rows.shape[0]), samples[side], k, recall)
            opened = side, start
        for _, block in _blocks(queries, query, min(query + QUERY_ROWS, queries.shape[0])):
            best.merge(query, *shard.search(block))
    recalls, neighbour_recalls = [], []
    for (queries, rows, best), sample in zip(sides, samples, strict=True):
        exact = _exact(sample, rows, 0, rows.shape[0], k).similarity
        found = best.similarity[_evenly(queries.shape[0], SAMPLE)]
        recalls.append(_recall(found, exact))
        neighbour_recalls.append(_neighbour_recall(found, exact))
    return ApproximateNeighbours(
        state.forward.finished(),
        state.backward.finished(),
        (recalls[0], recalls[1]),
        (neighbour_recalls[0], neighbour_recalls[1]),
    )
