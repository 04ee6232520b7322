"""Turn the pairs of one step into a packed batch with everything that both losses read.

Shape letters: B pairs, T tokens of both sides together, C distinct tokens of the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ems.data.keyed import keyed_hash
from ems.data.packing import PackedSentences, pack, ragged_positions
from ems.data.shards import TokenPairs
from ems.data.teacher import TeacherRows, TeacherVectors
from ems.objectives import TargetKind, TokenTargets, token_targets
from ems.tokenizer import Tokenizer

_MASK_STREAM = 0x6D61736B  # keeps the draws for masking apart from every other use of the run's seed


@dataclass(frozen=True)
class PackedBatch:
    """B pairs, ready for one forward pass. Rows 0..B-1 of the sentences are sources, rows B..2B-1 their targets.

    Attributes:
        sentences: both sides, packed.
        other_langs: int64 (2B,), language index of the sentence that each row has to reconstruct.
        targets: token distributions of those sentences.
        src_digests: int64 (B,), equal for equal token sequences.
        tgt_digests: int64 (B,), likewise.
        pair_rows: int64 (B,), place of each pair in the step, to name the guilty ones.
        num_truncated: sentences that were longer than the encoder reads.
        teacher: what distillation aims at, or None.
        vocabulary: int64 (C,), ascending ids of the tokens that reconstruction chooses among, in which the tokens of
            `targets` are positions; None for all, and `targets` holds ids.
    """

    sentences: PackedSentences
    other_langs: Tensor
    targets: TokenTargets
    src_digests: Tensor
    tgt_digests: Tensor
    pair_rows: np.ndarray
    num_truncated: int
    teacher: TeacherRows | None = None
    vocabulary: Tensor | None = None

    @property
    def num_pairs(self) -> int:
        """Number of pairs B."""
        return len(self.src_digests)

    def each(self, change: Callable[[Tensor], Tensor]) -> PackedBatch:
        """Apply a function to every tensor but those of the buckets."""
        return PackedBatch(
            self.sentences.each(change),
            change(self.other_langs),
            self.targets.each(change),
            change(self.src_digests),
            change(self.tgt_digests),
            self.pair_rows,
            self.num_truncated,
            None if self.teacher is None else self.teacher.each(change),
            None if self.vocabulary is None else change(self.vocabulary),
        )

    def pinned_for(self, device: torch.device) -> PackedBatch:
        """Move to memory from which a GPU copies while it computes; the same batch where there is none."""
        return self.each(Tensor.pin_memory) if device.type == "cuda" else self

    def to(self, device: torch.device | str) -> PackedBatch:
        """Copy to `device` (without waiting, when the source is pinned)."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))


def _cut_side(tokens: np.ndarray, offsets: np.ndarray, rows: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Take the first `limit` tokens of the chosen sentences: flat tokens and their lengths."""
    lengths = np.minimum(np.diff(offsets)[rows], limit)
    return tokens[np.repeat(offsets[:-1][rows], lengths) + ragged_positions(lengths)], lengths


def step_vocabulary(pairs: TokenPairs, *, max_tokens: int, mask: bool = False) -> np.ndarray:
    """Find the distinct tokens of a step: what reconstruction chooses among where not among all.

    Args:
        pairs: all pairs of the step, of all ranks; tokens not truncated.
        max_tokens: tokens kept of each sentence.
        mask: whether tokens are replaced by the mask token.

    Returns:
        int64 (C,), ascending.
    """
    rows = np.arange(len(pairs))
    source, _ = _cut_side(pairs.src_tokens, pairs.src_offsets, rows, max_tokens)
    translation, _ = _cut_side(pairs.tgt_tokens, pairs.tgt_offsets, rows, max_tokens)
    masked = np.full(int(mask), Tokenizer.mask_id)
    return np.unique(np.concatenate([source, translation, masked]).astype(np.int64))


def _mask_one_token_a_pair(tokens: np.ndarray, lengths: np.ndarray, keys: np.ndarray) -> None:
    """Overwrite one token of each pair: the side is drawn evenly, then the token evenly within it."""
    pairs = len(keys)
    starts = np.cumsum(lengths) - lengths
    side = (keys & np.uint64(1)).astype(np.int64)
    row = np.arange(pairs) + side * pairs
    # The remaining 63 bits modulo a length below 2**20 are even to one part in 2**43.
    position = ((keys >> np.uint64(1)) % lengths[row].astype(np.uint64)).astype(np.int64)
    tokens[starts[row] + position] = Tokenizer.mask_id


def _places_in(vocabulary: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    places = np.searchsorted(vocabulary, tokens)
    missing = tokens[vocabulary[np.minimum(places, len(vocabulary) - 1)] != tokens]
    if len(missing):
        raise ValueError(f"token {missing[0]} is not in the vocabulary of the step")
    return places


def collate(
    pairs: TokenPairs,
    rows: np.ndarray,
    *,
    max_tokens: int,
    target: TargetKind = "counts",
    mask_seed: int | None = None,
    positions: np.ndarray | None = None,
    teacher: TeacherVectors | None = None,
    vocabulary: np.ndarray | None = None,
) -> PackedBatch:
    """Pack the chosen pairs of a step.

    Args:
        pairs: all pairs of the step, tokens not truncated.
        rows: integer (B,), which of them, in which order.
        max_tokens: tokens kept of each sentence.
        target: "counts" or "set", see `token_targets`.
        mask_seed: None leaves sentences alone; a seed replaces one random token of each pair by the mask token, in the
            reconstruction targets as well, as the authors do. Depends on the seed and the pair's position only.
        positions: integer (B,), place of each chosen pair in the endless stream; None stands for `rows`.
        teacher: None leaves the batch without a teacher's vectors.
        vocabulary: int64 (C,), ascending ids that reconstruction chooses among, all of the step's among them
            (`step_vocabulary`); None stands for all there are.

    Returns:
        The batch, on the CPU.

    Raises:
        ValueError: a token of these pairs is not in the vocabulary.
    """
    source, source_lengths = _cut_side(pairs.src_tokens, pairs.src_offsets, rows, max_tokens)
    translation, translation_lengths = _cut_side(pairs.tgt_tokens, pairs.tgt_offsets, rows, max_tokens)
    tokens = np.concatenate([source, translation])
    lengths = np.concatenate([source_lengths, translation_lengths])
    if mask_seed is not None:
        places = (rows if positions is None else positions).astype(np.uint64)
        _mask_one_token_a_pair(tokens, lengths, keyed_hash(mask_seed, _MASK_STREAM, places))
    swapped = np.concatenate([tokens[len(source) :], tokens[: len(source)]])
    swapped_lengths = np.concatenate([translation_lengths, source_lengths])
    other_langs = np.concatenate([pairs.tgt_langs[rows], pairs.src_langs[rows]]).astype(np.int64)
    full_lengths = np.concatenate([np.diff(pairs.src_offsets)[rows], np.diff(pairs.tgt_offsets)[rows]])
    to_write = swapped if vocabulary is None else _places_in(vocabulary, swapped)
    return PackedBatch(
        sentences=pack(tokens, lengths),
        other_langs=torch.from_numpy(other_langs),
        targets=token_targets(to_write, swapped_lengths, kind=target),
        src_digests=_as_int64(pairs.src_digests[rows]),
        tgt_digests=_as_int64(pairs.tgt_digests[rows]),
        pair_rows=np.asarray(rows),
        num_truncated=int((full_lengths > max_tokens).sum()),
        teacher=None if teacher is None else teacher.rows_of(pairs.src_digests[rows], pairs.tgt_digests[rows]),
        vocabulary=None if vocabulary is None else torch.from_numpy(vocabulary),
    )


def _as_int64(digests: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(digests).view(np.int64))


def cut_micro_batches(token_counts: np.ndarray, max_tokens: int | None) -> list[np.ndarray]:
    """Cut a step's pairs into runs of at most `max_tokens` tokens.

    Args:
        token_counts: integer (N,), tokens of both sides of each pair, none above `max_tokens`.
        max_tokens: None keeps the step whole.

    Returns:
        Index arrays that cover 0..N-1 in order.
    """
    if max_tokens is None:
        return [np.arange(len(token_counts))]
    cuts, used = [0], 0
    for i, tokens in enumerate(token_counts.tolist()):
        if used + tokens > max_tokens and i > cuts[-1]:
            cuts.append(i)
            used = 0
        used += tokens
    return [np.arange(a, b) for a, b in zip(cuts, [*cuts[1:], len(token_counts)], strict=True)]


def describe_pairs(pairs: TokenPairs, rows: np.ndarray, tokenizer: Tokenizer, languages: list[str]) -> list[str]:
    """Spell pairs out for an error message: `en: Good morning | de: Guten Morgen`."""
    lines = []
    for row in rows.tolist():
        source = pairs.src_tokens[pairs.src_offsets[row] : pairs.src_offsets[row + 1]]
        translation = pairs.tgt_tokens[pairs.tgt_offsets[row] : pairs.tgt_offsets[row + 1]]
        src_lang, tgt_lang = languages[int(pairs.src_langs[row])], languages[int(pairs.tgt_langs[row])]
        decoded = [tokenizer.decode(side.tolist())[:80] for side in (source, translation)]
        lines.append(f"{src_lang}: {decoded[0]} | {tgt_lang}: {decoded[1]}")
    return lines
