"""Assemble the batches of each training step in the background, in the order that the stream fixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ems.config import Config
from ems.data.collate import PackedBatch, collate, cut_micro_batches, step_vocabulary
from ems.data.holdout import HoldOut
from ems.data.prefetch import prefetch
from ems.data.shards import ShardFolder, TokenPairs
from ems.data.stream import PairStream, deal_by_length, split_ranks
from ems.data.teacher import TeacherVectors

STEPS_AHEAD = 2


@dataclass(frozen=True)
class StepBatches:
    """Everything that one rank reads in one optimizer step.

    Attributes:
        step: steps taken before this one.
        batches: micro-batches, on the CPU.
        pairs: this rank's pairs of the step, to name the guilty ones.
        rank_pairs: pairs that each rank has of the step.
        stream_state: what a checkpoint after this step has to hold to go on with the next.
        num_tokens: real tokens of both sides, of all ranks.
        num_truncated: sentences that were cut, of all ranks.
    """

    step: int
    batches: list[PackedBatch]
    pairs: TokenPairs
    rank_pairs: tuple[int, ...]
    stream_state: dict[str, Any]
    num_tokens: int
    num_truncated: int


def chooses_among_the_step(config: Config) -> bool:
    """Say whether there is a reconstruction loss that chooses among the tokens of the step only."""
    return config.objective.vocabulary == "step" and config.objective.reconstruction_weight > 0


def vocabulary_of(pairs: TokenPairs, config: Config) -> np.ndarray | None:
    """Find the tokens that reconstruction chooses among in a step.

    Args:
        pairs: all pairs of the step, of all ranks.
        config: complete.

    Returns:
        int64 (C,), ascending ids; None for all that there are, and where nothing is reconstructed.
    """
    if not chooses_among_the_step(config):
        return None
    return step_vocabulary(pairs, max_tokens=config.model.max_tokens, mask=config.objective.mask_token)


class StepLoader:
    """Iterate over training steps; what it yields depends on the config, the corpus and the stream's state only.

    Every rank draws the whole step and reads its own part of it.

    Args:
        shards: the corpus.
        holdout: which of its pairs are not trained on.
        stream: says which pairs come next.
        config: complete, batching.max_tokens a number or None.
        rank: whose part.
        size: number of ranks.
        device: that will compute; batches stay on the CPU, where it can copy them from best.
        teacher: what distillation aims at, or None.
    """

    def __init__(
        self,
        shards: ShardFolder,
        holdout: HoldOut,
        stream: PairStream,
        config: Config,
        *,
        rank: int = 0,
        size: int = 1,
        device: torch.device | str = "cpu",
        teacher: TeacherVectors | None = None,
    ) -> None:
        self.shards = shards
        self.holdout = holdout
        self.stream = stream
        self.config = config
        self.rank = rank
        self.size = size
        self.device = torch.device(device)
        self.teacher = teacher

    def __iter__(self) -> Iterator[StepBatches]:
        """Yield the steps that follow the stream's state, computed ahead by a thread."""
        return prefetch(self._steps(), STEPS_AHEAD)

    def _steps(self) -> Iterator[StepBatches]:
        while True:
            first = self.stream.step
            start = first - first % self.config.batching.length_window
            for pair_index, rows in self._window(start)[first - start :]:
                step = self.stream.step
                self.stream.next()  # drawn with the window; the state that a checkpoint holds goes on step by step
                yield self._assemble(step, pair_index, rows)

    def _window(self, start: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Draw the steps of a window and deal their pairs by length; the stream stays where it is."""
        size, now = self.config.batching.length_window, self.stream.step
        self.stream.rewind(start)
        drawn = [self.stream.next() for _ in range(size)]
        self.stream.rewind(now)
        steps = [(pair_index, self.holdout.training_rows(pair_index, draws)) for pair_index, draws in drawn]
        if size == 1:
            return steps
        pair_index, rows = (np.concatenate(part) for part in zip(*steps, strict=True))
        lengths = np.minimum(np.stack(self.shards.lengths(pair_index, rows)), self.config.model.max_tokens)
        dealt = deal_by_length(lengths.sum(axis=0), size, seed=self.config.run.seed, window=start // size)
        return [(pair_index[chosen], rows[chosen]) for chosen in dealt]

    def _assemble(self, step: int, pair_index: np.ndarray, rows: np.ndarray) -> StepBatches:
        config, longest = self.config, self.config.model.max_tokens
        lengths = np.stack(self.shards.lengths(pair_index, rows))
        counts = np.minimum(lengths, longest).sum(axis=0)
        parts = split_ranks(counts, self.size)
        own = parts[self.rank]
        pairs = self.shards.fetch(pair_index[own], rows[own])
        vocabulary = self._vocabulary(pair_index, rows, pairs)
        batches = [
            collate(
                pairs,
                chosen,
                max_tokens=longest,
                target=config.objective.target,
                mask_seed=config.run.seed if config.objective.mask_token else None,
                positions=step * config.batching.pairs + own[chosen],
                teacher=self.teacher,
                vocabulary=vocabulary,
            )
            for chosen in cut_micro_batches(counts[own], self._budget())
        ]
        return StepBatches(
            step=step,
            batches=[batch.pinned_for(self.device) for batch in batches],
            pairs=pairs,
            rank_pairs=tuple(map(len, parts)),
            stream_state=self.stream.state(),
            num_tokens=int(counts.sum()),
            num_truncated=int((lengths > longest).sum()),
        )

    def _vocabulary(self, pair_index: np.ndarray, rows: np.ndarray, own: TokenPairs) -> np.ndarray | None:
        others = self.size > 1 and chooses_among_the_step(self.config)
        return vocabulary_of(self.shards.fetch(pair_index, rows) if others else own, self.config)

    def _budget(self) -> int | None:
        budget = self.config.batching.max_tokens
        if budget == "auto":
            raise ValueError("batching.max_tokens: auto has to be replaced by a number first")
        return budget
