"""Assemble the batches of each training step in the background, in the order that the stream fixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class DrawnStep(NamedTuple):
    """Which pairs make a step, of all ranks.

    Attributes:
        step: steps before this one.
        pair_index: int64 (N,), language pair of each pair.
        rows: int64 (N,), its row of the language pair.
        state: of the stream, to go on with the next step.
    """

    step: int
    pair_index: np.ndarray
    rows: np.ndarray
    state: dict[str, Any]


def _grouped_by_length(steps: list[DrawnStep], shards: ShardFolder, config: Config) -> list[DrawnStep]:
    """Give each step of a window pairs of about one length, from those that all of them drew."""
    pair_index = np.concatenate([step.pair_index for step in steps])
    rows = np.concatenate([step.rows for step in steps])
    lengths = np.minimum(np.stack(shards.lengths(pair_index, rows)), config.model.max_tokens)
    window = steps[0].step // len(steps)
    dealt = deal_by_length(lengths.sum(axis=0), len(steps), seed=config.run.seed, window=window)
    pairs = [(pair_index[chosen], rows[chosen]) for chosen in dealt]
    return [step._replace(pair_index=p, rows=r) for step, (p, r) in zip(steps, pairs, strict=True)]


def drawn_steps(shards: ShardFolder, holdout: HoldOut, stream: PairStream, config: Config) -> Iterator[DrawnStep]:
    """Draw the steps that follow the stream's state.

    Args:
        shards: the corpus.
        holdout: which of its pairs are not trained on.
        stream: says which pairs come next. Windows of batching.length_window steps are drawn from it whole: one that
            stands within a window goes back to its start, and is afterwards at the end of the window last drawn.
        config: complete.

    Yields:
        Step after step, endlessly, each with the state to go on behind it.
    """
    size = config.batching.length_window
    while True:
        first = stream.step
        stream.rewind(first - first % size)
        steps = []
        for step in range(stream.step, stream.step + size):
            pair_index, draws = stream.next()
            steps.append(DrawnStep(step, pair_index, holdout.training_rows(pair_index, draws), stream.state()))
        yield from (steps if size == 1 else _grouped_by_length(steps, shards, config))[first % size :]


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
        return map(self._assemble, drawn_steps(self.shards, self.holdout, self.stream, self.config))

    def _assemble(self, drawn: DrawnStep) -> StepBatches:
        config, longest = self.config, self.config.model.max_tokens
        step, pair_index, rows, state = drawn
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
            stream_state=state,
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
