"""What a run is scored on while it trains: its held-out pairs, and named sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ems.config import ValidationConfig
from ems.data.holdout import HoldOut
from ems.data.preparation import PreparedCorpus
from ems.errors import InputError
from ems.inference import WINDOW, SentenceEncoder
from ems.mining import UnitRows, unit_rows
from ems.training.scoring import SetScore, open_sets, score_pairs


def _groups(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Join language pairs with at least two held-out pairs into groups of which one side fills the encoder's window."""
    group: list[int] = []
    filled = 0
    for pair_index, size in enumerate(sizes):
        if group and filled + size > WINDOW:
            yield group
            group, filled = [], 0
        if size >= 2:
            group.append(pair_index)
            filled += size
    if group:
        yield group


def score_held_out(encoder: SentenceEncoder, corpus: PreparedCorpus, holdout: HoldOut) -> SetScore:
    """Rank each language pair's held-out pairs among themselves, in both directions."""
    vectors: dict[tuple[str, str], tuple[UnitRows, UnitRows]] = {}
    sizes = list(map(len, holdout.validation))
    for group in _groups(sizes):
        ends = np.cumsum([sizes[pair_index] for pair_index in group])
        rows = np.concatenate([holdout.validation[pair_index] for pair_index in group])
        pairs = corpus.shards.fetch(np.repeat(group, np.diff(ends, prepend=0)), rows)
        sides = (pairs.src_tokens, pairs.src_offsets), (pairs.tgt_tokens, pairs.tgt_offsets)
        source, target = (encoder.encode_tokens(tokens, np.diff(offsets)).numpy() for tokens, offsets in sides)
        for pair_index, end in zip(group, ends.tolist(), strict=True):
            own = slice(end - sizes[pair_index], end)
            vectors[corpus.shards.language_pairs[pair_index]] = unit_rows(source[own]), unit_rows(target[own])
    return score_pairs(vectors)


class Validator:
    """Score a model on everything that the validation section names.

    Raises:
        InputError: a named set is not there, or the metric has nothing to rank.
    """

    def __init__(self, config: ValidationConfig, corpus: PreparedCorpus, holdout: HoldOut) -> None:
        self.corpus = corpus
        self.holdout = holdout
        self.sets = open_sets(config, "validation", corpus.registry, corpus.languages)
        held_out = max((len(rows) for rows in holdout.validation), default=0)
        self.has_held_out = held_out >= 2
        if config.metric == "held_out" and not self.has_held_out:
            raise InputError(
                "validation.metric is 'held_out', but no language pair is large enough to hold two pairs out; "
                "name a set in validation.sets and as validation.metric"
            )

    def __call__(self, encoder: SentenceEncoder) -> dict[str, float]:
        """Score the model: `validation/<set>` is a mean, `validation/<set>/<language pair>` one pair's accuracy."""
        scores = {name: score(encoder) for name, score in self.sets.items()}
        if self.has_held_out:
            scores["held_out"] = score_held_out(encoder, self.corpus, self.holdout)
        record = {}
        for name, score in scores.items():
            record[f"validation/{name}"] = score.mean
            record |= {f"validation/{name}/{pair}": value for pair, value in score.by_pair.items()}
        return record
