"""Decide which pairs make step s: an endless stream of pairs that the seed alone fixes.

Step s of N pairs reads positions s*N to (s+1)*N - 1. The language pair of a position is drawn from the position; the
k-th pair drawn of a language pair is place k mod n of a permutation of its n rows, a new one each pass. So a row comes
again only after all rows of its language pair came, and where the stream stands is one step number and one count a
language pair.

Pairs of several steps may then be dealt anew by length (`deal_by_length`), which changes which step of them has a pair.

How many ranks share a step is not known here: every rank computes the whole step and takes its part by `split_ranks`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ems.data.keyed import keyed_permutation, keyed_uniform

# Keep the draws of language pairs and of rows apart from every other use of the run's seed.
_LANGUAGE_PAIR_STREAM = 0x6C616E67
_ROW_STREAM = 0x726F7773
_WINDOW_STREAM = 0x77696E64


def split_ranks(token_counts: np.ndarray, world_size: int) -> list[np.ndarray]:
    """Deal the pairs of a step to ranks so that all have about equally many pairs and tokens.

    The longest pairs are dealt first, forth and back over the ranks (0, 1, 2, 2, 1, 0, 0, …), so token sums differ by
    less than the longest pair.

    Args:
        token_counts: integer (N,), tokens of both sides of each pair.
        world_size: number of ranks W.

    Returns:
        W arrays of int64 indices, increasing; together they are 0..N-1, each once. Sizes are N // W or N // W + 1. The
        same on every rank, for it depends on the arguments alone.

    Raises:
        ValueError: `world_size` is below 1 or above N, which would leave a rank without pairs.
    """
    if not 1 <= world_size <= len(token_counts):
        raise ValueError(f"{len(token_counts)} pairs cannot be split over {world_size} ranks")
    order = np.argsort(-np.asarray(token_counts, dtype=np.int64), kind="stable")
    turn = np.arange(len(order)) % (2 * world_size)
    rank = np.minimum(turn, 2 * world_size - 1 - turn)
    return [np.sort(order[rank == r]) for r in range(world_size)]


def deal_by_length(token_counts: np.ndarray, steps: int, *, seed: int, window: int) -> np.ndarray:
    """Deal the pairs of several steps anew, so that those of one step have about equally many tokens.

    Sentences of other lengths are easy to tell apart; among those of its own length a pair has harder negatives, and
    a step less padding where sentences are bucketed.

    Args:
        token_counts: integer (S * N,), tokens of both sides of each pair that the steps drew.
        steps: number of steps S.
        seed: any integer.
        window: which window of S steps of the stream it is; with `seed` it fixes which step has which lengths.

    Returns:
        int64 (S, N), the pairs of each step, from short to long; together they are 0..S*N-1, each once.

    Raises:
        ValueError: the number of pairs is no multiple of `steps`.
    """
    by_length = np.argsort(token_counts, kind="stable").reshape(steps, -1)
    return np.asarray(by_length[keyed_permutation(np.arange(steps), steps, seed, _WINDOW_STREAM, window)])


def _shares(counts: np.ndarray, sampling_temperature: float) -> np.ndarray:
    """Compute p_l ~ n_l ** (1 / temperature); a language pair without rows gets 0."""
    weights = (counts / counts.max()) ** (1 / sampling_temperature)  # the quotient keeps the power from overflowing
    weights[counts == 0] = 0  # 0 ** 0 is 1
    return np.asarray(weights / weights.sum())


class PairStream:
    """Draw the pairs of each step.

    Its state is the number of steps drawn and, for each language pair, the number of rows drawn. Any step is the same
    whatever was done before: a restored stream goes on exactly where the saved one stood.

    Args:
        counts: integer (P,), rows of each language pair; those with 0 are never drawn.
        pairs: pairs in a step, over all ranks (N).
        sampling_temperature: 1 draws language pairs in proportion to their size; larger is more even; infinity is even.
        seed: any integer. Another seed is another stream.

    Attributes:
        shares: float64 (P,), probability of each language pair; adds up to 1.
        step: steps drawn so far.

    Raises:
        ValueError: a negative count, no row at all, `pairs` below 1 or `sampling_temperature` below 1.
    """

    def __init__(self, counts: np.ndarray, *, pairs: int, sampling_temperature: float, seed: int) -> None:
        counts = np.array(counts, dtype=np.int64)
        if counts.ndim != 1 or not counts.any() or counts.min() < 0:
            raise ValueError("counts must be non-negative, one a language pair, and not all 0")
        if pairs < 1:
            raise ValueError(f"pairs must be at least 1, not {pairs}")
        if not sampling_temperature >= 1:
            raise ValueError(f"sampling_temperature must be at least 1, not {sampling_temperature}")
        self.shares = _shares(counts, sampling_temperature)
        self.step = 0
        self._counts, self._pairs, self._seed = counts, pairs, seed
        self._drawn = np.zeros(len(counts), dtype=np.int64)
        # Only language pairs with rows take part in the draw, so that no rounding can ever reach an empty one.
        self._drawable = np.flatnonzero(counts)
        self._upper_bounds = np.cumsum(self.shares[self._drawable])[:-1]

    def _language_pairs(self, first: int, end: int) -> np.ndarray:
        """Draw the language pairs of steps `first` to `end` - 1."""
        positions = np.arange(first * self._pairs, end * self._pairs)
        uniform = keyed_uniform(self._seed, _LANGUAGE_PAIR_STREAM, positions)
        return self._drawable[np.searchsorted(self._upper_bounds, uniform, side="right")]

    def next(self) -> tuple[np.ndarray, np.ndarray]:
        """Draw the next step.

        Returns:
            Language pair indices, int64 (N,), and rows in [0, counts[language pair]), int64 (N,), in stream order.
        """
        pair_index = self._language_pairs(self.step, self.step + 1)
        drawn_now = np.bincount(pair_index, minlength=len(self._counts))
        order = np.argsort(pair_index, kind="stable")
        earlier_in_step = np.empty(self._pairs, dtype=np.int64)
        earlier_in_step[order] = np.arange(self._pairs) - np.repeat(np.cumsum(drawn_now) - drawn_now, drawn_now)

        sizes = self._counts[pair_index]
        passes, place = np.divmod(self._drawn[pair_index] + earlier_in_step, sizes)
        rows = keyed_permutation(place, sizes, self._seed, _ROW_STREAM, pair_index, passes)
        self._drawn += drawn_now
        self.step += 1
        return pair_index, rows

    def rewind(self, step: int) -> None:
        """Go back to where the stream stood before step `step`.

        Raises:
            ValueError: `step` is still to come, or below 0.
        """
        if not 0 <= step <= self.step:
            raise ValueError(f"step {step} is not among the {self.step} drawn")
        self._drawn -= np.bincount(self._language_pairs(step, self.step), minlength=len(self._counts))
        self.step = step

    def state(self) -> dict[str, Any]:
        """Return where the stream stands, as plain numbers and lists that JSON can hold."""
        return {"step": self.step, "drawn": self._drawn.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state` returned for a stream with the same arguments.

        Raises:
            ValueError: the state cannot belong to this stream: another number of language pairs, or draws that do not
                add up to the steps; the stream is then unchanged.
        """
        step, drawn = int(state["step"]), np.array(state["drawn"], dtype=np.int64)
        if drawn.shape != self._drawn.shape:
            raise ValueError(f"state has {len(drawn)} language pairs, the stream {len(self._drawn)}")
        if step < 0 or drawn.min() < 0 or drawn.sum() != step * self._pairs or drawn[self._counts == 0].any():
            raise ValueError(f"state holds {drawn.sum()} draws after {step} steps of {self._pairs} pairs")
        self.step, self._drawn = step, drawn
