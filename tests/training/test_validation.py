"""Held-out pairs are ranked a language pair at a time, however many are encoded together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ems
from ems.data.holdout import hold_out
from ems.data.preparation import prepare_corpus
from ems.eval.retrieval import retrieval_accuracy
from ems.training import validation
from ems.training.validation import score_held_out
from tests.tiny import tiny_config


@pytest.mark.parametrize("window", [1, 10, 15, 10_000])
def test_scores_are_those_of_each_language_pair_alone(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    corpus = prepare_corpus(tiny_config(tiny_run.parent))
    holdout = hold_out(corpus.shards, pairs_per_language_pair=10, seed=0)
    encoder = ems.load(tiny_run / "model", device="cpu")
    monkeypatch.setattr(validation, "WINDOW", window)
    found = score_held_out(encoder, corpus, holdout)
    assert found.candidates == 10
    for pair, (languages, rows) in enumerate(zip(corpus.shards.language_pairs, holdout.validation, strict=True)):
        pairs = corpus.shards.fetch(np.full(len(rows), pair), rows)
        source = encoder.encode_tokens(pairs.src_tokens, np.diff(pairs.src_offsets)).numpy()
        target = encoder.encode_tokens(pairs.tgt_tokens, np.diff(pairs.tgt_offsets)).numpy()
        both = retrieval_accuracy(source, target), retrieval_accuracy(target, source)
        assert found.by_pair["-".join(languages)] == pytest.approx(sum(both) / 2)
