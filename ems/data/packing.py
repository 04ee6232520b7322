"""Lay sentences end to end, shortest first, so that no linear layer ever sees a padding token.

Shape letters: S sentences, T tokens of all sentences together, L tokens of one sentence.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

# One more attention call costs about as much as padding this many tokens (a training step with 256 hidden units is
# 18 % faster with 400 than with none); groups that are cheaper to pad than to keep apart are joined.
PADDING_WORTH_A_CALL = 400


@dataclass(frozen=True)
class Bucket:
    """Neighbouring sentences of similar length that attention handles as one padded rectangle.

    Attributes:
        rows: number of sentences.
        width: length of the longest of them.
        num_tokens: tokens of all of them; `rows * width` when no padding is needed.
        gather: int64 (rows * width,), token of the bucket for each cell, or None when no padding is needed.
        scatter: int64 (num_tokens,), cell of each token; None when no padding is needed.
        real: bool (rows, 1, 1, width), True at real tokens; None when no padding is needed.
    """

    rows: int
    width: int
    num_tokens: int
    gather: Tensor | None = None
    scatter: Tensor | None = None
    real: Tensor | None = None

    def to(self, device: torch.device | str) -> Bucket:
        """Copy the index tensors to `device`."""
        if self.gather is None or self.scatter is None or self.real is None:
            return self
        move = [t.to(device, non_blocking=True) for t in (self.gather, self.scatter, self.real)]
        return Bucket(self.rows, self.width, self.num_tokens, *move)


@dataclass(frozen=True)
class PackedSentences:
    """S sentences as one run of T tokens, ordered by length.

    Attributes:
        input_ids: int64 (T,), tokens, shortest sentence first.
        position_ids: int64 (T,), 1 for the first token of each sentence.
        lengths: int64 (S,), tokens of each sentence in packed order, every one at least 1.
        offsets: int32 (S + 1,), where each sentence starts in packed order.
        restore: int64 (S,), packed place of each sentence in the caller's order.
        max_length: tokens of the longest sentence.
        buckets: how attention cuts the run; together they cover it in order.
    """

    input_ids: Tensor
    position_ids: Tensor
    lengths: Tensor
    offsets: Tensor
    restore: Tensor
    max_length: int
    buckets: tuple[Bucket, ...]

    @property
    def num_sentences(self) -> int:
        """Number of sentences S."""
        return len(self.restore)

    @property
    def num_tokens(self) -> int:
        """Number of tokens T."""
        return len(self.input_ids)

    @cached_property
    def buckets_here(self) -> tuple[Bucket, ...]:
        """The buckets, their index tensors where the tokens are: copied once, and only if attention asks for them."""
        return tuple(bucket.to(self.input_ids.device) for bucket in self.buckets)

    def each(self, change: Callable[[Tensor], Tensor]) -> PackedSentences:
        """Apply a function to every tensor but those of the buckets."""
        tensors = (self.input_ids, self.position_ids, self.lengths, self.offsets, self.restore)
        input_ids, position_ids, lengths, offsets, restore = map(change, tensors)
        return PackedSentences(input_ids, position_ids, lengths, offsets, restore, self.max_length, self.buckets)

    def to(self, device: torch.device | str) -> PackedSentences:
        """Copy to `device` (without waiting, when the source is pinned); buckets follow when they are asked for."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))


def _make_bucket(lengths: np.ndarray) -> Bucket:
    rows, width, num_tokens = len(lengths), int(lengths[-1]), int(lengths.sum())
    if rows * width == num_tokens:
        return Bucket(rows, width, num_tokens)
    real = np.arange(width) < lengths[:, None]  # (rows, width)
    gather = np.where(real, np.cumsum(real).reshape(real.shape) - 1, 0).ravel()
    scatter = np.flatnonzero(real)
    return Bucket(
        rows,
        width,
        num_tokens,
        torch.from_numpy(gather),
        torch.from_numpy(scatter),
        torch.from_numpy(real)[:, None, None, :],
    )


def _make_buckets(lengths: np.ndarray) -> tuple[Bucket, ...]:
    """Cut sorted lengths into groups: a longer sentence joins while padding the group to it stays cheap."""
    distinct, starts = np.unique(lengths, return_index=True)
    counts = np.diff(np.append(starts, len(lengths)))
    cuts = [0]
    padding, rows = 0, int(counts[0])
    for i in range(1, len(distinct)):
        extra = rows * int(distinct[i] - distinct[i - 1])
        if padding + extra <= PADDING_WORTH_A_CALL:
            padding, rows = padding + extra, rows + int(counts[i])
        else:
            cuts.append(int(starts[i]))
            padding, rows = 0, int(counts[i])
    cuts.append(len(lengths))
    return tuple(_make_bucket(lengths[a:b]) for a, b in itertools.pairwise(cuts))


def ragged_positions(lengths: np.ndarray) -> np.ndarray:
    """Count 0, 1, 2, … within each run: int64 (lengths.sum(),)."""
    ends = np.cumsum(lengths)
    positions: np.ndarray = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    return positions


def pack(tokens: np.ndarray, lengths: np.ndarray) -> PackedSentences:
    """Order S sentences by length and lay their tokens end to end.

    Args:
        tokens: integer (T,), token ids of all sentences, one after the other.
        lengths: integer (S,), tokens of each sentence, every one at least 1.

    Returns:
        The packed sentences on the CPU; `restore` leads back to the order given.

    Raises:
        ValueError: no sentence at all, an empty one, or lengths that do not add up to T.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if len(lengths) == 0 or lengths.min() < 1:
        raise ValueError("pack needs at least one sentence, and at least one token in every sentence")
    if lengths.sum() != len(tokens):
        raise ValueError(f"lengths add up to {lengths.sum()} tokens, but {len(tokens)} were given")
    order = np.argsort(lengths, kind="stable")
    starts = (np.cumsum(lengths) - lengths)[order]
    packed_lengths = lengths[order]
    positions = ragged_positions(packed_lengths)
    picked = tokens[np.repeat(starts, packed_lengths) + positions]
    restore = np.empty(len(order), dtype=np.int64)
    restore[order] = np.arange(len(order))
    offsets = np.zeros(len(order) + 1, dtype=np.int32)
    np.cumsum(packed_lengths, out=offsets[1:])
    return PackedSentences(
        input_ids=torch.from_numpy(picked.astype(np.int64)),
        position_ids=torch.from_numpy(positions + 1),
        lengths=torch.from_numpy(packed_lengths),
        offsets=torch.from_numpy(offsets),
        restore=torch.from_numpy(restore),
        max_length=int(packed_lengths[-1]),
        buckets=_make_buckets(packed_lengths),
    )
