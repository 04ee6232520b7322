"""Find exact nearest neighbours between two sets of vectors that do not fit into memory, block by block, resumably.

One pass over the blocks of the similarity matrix serves both directions. What is found so far is a `SearchState`, which
is saved now and then, so that a killed search goes on. Vectors are given as anything that slices to float32 rows: an
array, or an `ems.mine_files.vector_file.VectorFile`.

Shape letters: N source rows, M target rows, D dimension, K neighbours, H and W rows of a block of either.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from ems.files import atomic_write
from ems.search.exact import Neighbours, mutual_neighbours
from ems.search.unit_rows import Floats, Index, UnitRows

BLOCK_ROWS = 65_536  # larger blocks gain nothing: the time to read and merge them is already small
SAVE_SECONDS = 30.0  # between saved states at least, and 20 times what saving takes
_TILE_VALUES = 1 << 28  # of the similarity matrix on another device at a time: 1 GB
_SORTED_ROWS = 100_000  # rows put in order at a time

BlockNeighbours = Callable[[Floats, Floats, int], tuple[Neighbours, Neighbours]]


class Rows(Protocol):
    """What the search needs of vectors: unit rows, float32 (N, D)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    def __getitem__(self, rows: slice, /) -> Floats:
        """Return some consecutive rows."""


class BestNeighbours:
    """The K best neighbours of every row among those merged so far.

    Attributes:
        similarity: float32 (N, K), -inf where there is none yet.
        index: int64 (N, K), -1 where there is none yet.
    """

    def __init__(self, num_rows: int, k: int) -> None:
        self.similarity = np.full((num_rows, k), -np.inf, dtype=np.float32)
        self.index = np.full((num_rows, k), -1, dtype=np.int64)

    def merge(self, first_row: int, similarity: Floats, index: Index) -> None:
        """Take candidates (n, any number) of rows from `first_row` on into account, in whatever order they come."""
        k = self.similarity.shape[1]
        rows = slice(first_row, first_row + len(similarity))
        both = np.concatenate([self.similarity[rows], similarity], axis=1)
        indices = np.concatenate([self.index[rows], index], axis=1)
        order = np.lexsort((indices, -both), axis=1)[:, :k]  # of equal cosines the lowest indices are kept
        self.similarity[rows] = np.take_along_axis(both, order, axis=1)
        self.index[rows] = np.take_along_axis(indices, order, axis=1)

    def finished(self) -> Neighbours:
        """Return the neighbours, equal cosines from the highest index to the lowest (`ems.search.exact`)."""
        for start in range(0, len(self.index), _SORTED_ROWS):
            similarity, index = self.similarity[start : start + _SORTED_ROWS], self.index[start : start + _SORTED_ROWS]
            order = np.lexsort((-index, -similarity), axis=1)
            index[:] = np.take_along_axis(index, order, axis=1)
        return Neighbours(self.similarity, self.index)


class SearchState:
    """The neighbours of both sides found so far and the number of steps that found them; saved if a file is given.

    Attributes:
        forward: best targets of every source, (N, min(K, M)).
        backward: best sources of every target, (M, min(K, N)).
        done: steps finished.
        restarted: a saved state was there, but damaged or of a search with other settings, and was not used.
    """

    def __init__(
        self,
        num_sources: int,
        num_targets: int,
        k: int,
        file: Path | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.restarted = False
        self._shape = num_sources, num_targets, k
        self._begin()
        self._file = file
        self._settings = json.dumps({"rows": [num_sources, num_targets], "k": k, **(settings or {})}, sort_keys=True)
        self._saved_at, self._saving_took = time.monotonic(), 0.0
        if file is not None and file.exists():
            self._restore(file)

    def _begin(self) -> None:
        num_sources, num_targets, k = self._shape
        self.forward = BestNeighbours(num_sources, min(k, num_targets))
        self.backward = BestNeighbours(num_targets, min(k, num_sources))
        self.done = 0

    def _restore(self, file: Path) -> None:
        try:
            with np.load(file, allow_pickle=False) as saved:
                if str(saved["settings"]) != self._settings:
                    self.restarted = True
                    return
                for side, best in (("forward", self.forward), ("backward", self.backward)):
                    best.similarity[:], best.index[:] = saved[f"{side}_similarity"], saved[f"{side}_index"]
                self.done = int(saved["done"])
        except Exception:  # zip and .npy readers raise whatever damage makes them stumble over
            self._begin()  # what was restored of one side would be found, and merged, again
            self.restarted = True

    def _save(self) -> None:
        if self._file is None:
            return
        begun = time.monotonic()
        with atomic_write(self._file) as file:
            np.savez(
                file,
                settings=np.array(self._settings),
                done=np.array(self.done),
                forward_similarity=self.forward.similarity,
                forward_index=self.forward.index,
                backward_similarity=self.backward.similarity,
                backward_index=self.backward.index,
            )
        self._saved_at = time.monotonic()
        self._saving_took = self._saved_at - begun

    def _is_due(self) -> bool:
        return time.monotonic() - self._saved_at > max(SAVE_SECONDS, 20 * self._saving_took)

    def remaining(self, total: int) -> Iterator[int]:
        """Yield the numbers of the steps still to do; a step counts as done when the next one is asked for."""
        with tqdm(desc="search", unit="block", total=total, initial=self.done, disable=not sys.stderr.isatty()) as bar:
            while self.done < total:
                yield self.done
                self.done += 1
                bar.update()
                if self.done == total or self._is_due():
                    self._save()


def neighbours_on_cpu(source: Floats, target: Floats, k: int) -> tuple[Neighbours, Neighbours]:
    """Find the neighbours within one block by `ems.search.exact.mutual_neighbours`; rows must be distinct."""
    return mutual_neighbours(UnitRows(source, np.arange(len(source))), UnitRows(target, np.arange(len(target))), k)


def neighbours_on(device: torch.device, tile_values: int = _TILE_VALUES) -> BlockNeighbours:
    """Return a function that finds the neighbours within one block on a device, a tile of source rows at a time.

    Args:
        device: where to compute; memory there: both blocks and about three tiles.
        tile_values: similarities held at a time.

    Returns:
        (source (H, D), target (W, D), k) -> neighbours (H, min(k, W)) and (W, min(k, H)). Which of equal cosines is
        kept is left to the device.
    """

    @torch.inference_mode()
    def find(source: Floats, target: Floats, k: int) -> tuple[Neighbours, Neighbours]:
        columns = torch.from_numpy(np.require(target, requirements=["C", "W"])).to(device)
        rows = torch.from_numpy(np.require(source, requirements=["C", "W"])).to(device)
        height = max(1, tile_values // len(columns))
        forward_similarity, forward_index = [], []
        best = torch.empty((0, len(columns)), device=device)
        best_index = torch.empty((0, len(columns)), dtype=torch.int64, device=device)
        for start in range(0, len(rows), height):
            tile = rows[start : start + height] @ columns.T  # (h, W)
            similarity, index = tile.topk(min(k, tile.shape[1]), dim=1)
            forward_similarity.append(similarity)
            forward_index.append(index)
            similarity, index = tile.topk(min(k, tile.shape[0]), dim=0)
            both, indices = torch.cat([best, similarity]), torch.cat([best_index, index + start])
            best, order = both.topk(min(k, len(both)), dim=0)
            best_index = indices.gather(0, order)
        return (
            Neighbours(torch.cat(forward_similarity).cpu().numpy(), torch.cat(forward_index).cpu().numpy()),
            Neighbours(best.T.cpu().numpy(), best_index.T.cpu().numpy()),
        )

    return find


def search_blocks(
    source: Rows,
    target: Rows,
    k: int,
    *,
    block_rows: int = BLOCK_ROWS,
    block_neighbours: BlockNeighbours = neighbours_on_cpu,
    state: SearchState | None = None,
) -> tuple[Neighbours, Neighbours]:
    """Find the k nearest targets of every source and the k nearest sources of every target, exactly.

    Memory: 12 K bytes a row of either side, one block of each side and what `block_neighbours` needs.

    Args:
        source: unit rows (N, D), none twice.
        target: unit rows (M, D), none twice.
        k: neighbours a row, at least 1; no more than the other side has rows are returned.
        block_rows: rows of a block of either side; changes results by rounding only.
        block_neighbours: finds the neighbours within a block: `neighbours_on_cpu`, or what `neighbours_on` returns.
        state: where to begin, and to keep what is found; None begins anew and keeps nothing on disk.

    Returns:
        neighbours (N, min(k, M)) of the source rows, and (M, min(k, N)) of the target rows.
    """
    num_sources, num_targets = source.shape[0], target.shape[0]
    state = state or SearchState(num_sources, num_targets, k)
    across = -(-num_targets // block_rows)
    sources = source[0:0]
    for step in state.remaining(-(-num_sources // block_rows) * across):
        i, j = step // across * block_rows, step % across * block_rows
        if j == 0 or len(sources) == 0:
            sources = source[i : i + block_rows]
        forward, backward = block_neighbours(sources, target[j : j + block_rows], k)
        state.forward.merge(i, forward.similarity, forward.index + j)
        state.backward.merge(j, backward.similarity, backward.index + i)
    return state.forward.finished(), state.backward.finished()
