"""Assemble the batches of each training step in the background, in the order that the stream fixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ems.config import Config
from ems.data.collate import PackedBatch, collate, cut_micro_batches
from ems.data.holdout import HoldOut
from ems.data.prefetch import prefetch
from ems.data.shards import ShardFolder, TokenPairs
from ems.data.stream import PairStream

STEPS_AHEAD = 2


@dataclass(frozen=True)
class StepBatches:
    """Everything that one optimizer step reads.

    Attributes:
        step: steps taken before this one.
        batches: micro-batches, on the CPU.
        pairs: the pairs of the step, to name the guilty ones.
        stream_state: what a checkpoint after this step has to hold to go on with the next.
        num_tokens: real tokens of both sides.
        num_truncated: sentences that were cut.
    """

    step: int
    batches: list[PackedBatch]
    pairs: TokenPairs
    stream_state: dict[str, Any]
    num_tokens: int
    num_truncated: int


class StepLoader:
    """Iterate over training steps; what it yields depends on the config, the corpus and the stream's state only.

    Args:
        shards: the corpus.
        holdout: which of its pairs are not trained on.
        stream: says which pairs come next.
        config: complete, batching.max_tokens a number or None.
        pin: put batches where a GPU can copy them from while it computes.
    """

    def __init__(
        self, shards: ShardFolder, holdout: HoldOut, stream: PairStream, config: Config, *, pin: bool = False
    ) -> None:
        self.shards = shards
        self.holdout = holdout
        self.stream = stream
        self.config = config
        self.pin = pin

    def __iter__(self) -> Iterator[StepBatches]:
        """Yield the steps that follow the stream's state, computed ahead by a thread."""
        return prefetch(self._steps(), STEPS_AHEAD)

    def _steps(self) -> Iterator[StepBatches]:
        while True:
            step = self.stream.step
            pair_index, draws = self.stream.next()
            rows = self.holdout.training_rows(pair_index, draws)
            yield self._assemble(step, self.shards.fetch(pair_index, rows))

    def _assemble(self, step: int, pairs: TokenPairs) -> StepBatches:
        config = self.config
        longest, budget = config.model.max_tokens, config.batching.max_tokens
        if budget == "auto":
            raise ValueError("batching.max_tokens: auto has to be replaced by a number first")
        counts = sum(np.minimum(np.diff(offsets), longest) for offsets in (pairs.src_offsets, pairs.tgt_offsets))
        batches = [
            collate(
                pairs,
                rows,
                max_tokens=longest,
                target=config.objective.target,
                mask_seed=config.run.seed if config.objective.mask_token else None,
                first_position=step * config.batching.pairs,
            )
            for rows in cut_micro_batches(np.asarray(counts), budget)
        ]
        if self.pin:
            batches = [batch.each(Tensor.pin_memory) for batch in batches]
        return StepBatches(
            step=step,
            batches=batches,
            pairs=pairs,
            stream_state=self.stream.state(),
            num_tokens=sum(batch.sentences.num_tokens for batch in batches),
            num_truncated=sum(batch.num_truncated for batch in batches),
        )
