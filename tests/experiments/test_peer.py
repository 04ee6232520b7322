"""The ranking loss of sentence-transformers, trained by that package's code, ends where our trainer ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from ems.errors import InputError
from ems.experiments.peer import check_ranking, train_with_package
from ems.training.tracking import read_metrics
from ems.training.trainer import train
from tests.tiny import tiny_config, write_corpus

RANKING = (
    "objective.reconstruction_weight=0",
    "objective.contrastive_weight=1",
    "objective.temperature=0.05",
    "objective.both_directions=false",
    "objective.mask_duplicates=false",
    "model.projection_size=0",
    "training.max_steps=12",
    "training.validate_every_steps=12",
)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["paper", "modern"])
def test_twelve_steps_have_the_same_losses_and_the_same_scores(tmp_path: Path, architecture: str) -> None:
    pytest.importorskip("sentence_transformers")
    write_corpus(tmp_path / "text")
    config = tiny_config(tmp_path, *RANKING, f"model.architecture={architecture}", f"corpus.prepared={tmp_path / 'p'}")
    train(config)
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    ours = [record["train/loss"] for record in records if "train/loss" in record]
    losses, scores = train_with_package(config)
    assert losses == pytest.approx(ours, rel=2e-3)
    assert ours[-1] < 0.9 * ours[0]
    held_out = next(record["validation/held_out"] for record in records if "validation/held_out" in record)
    assert scores["validation/held_out"] == pytest.approx(held_out, abs=0.051)  # one of ten pairs, in one direction


def test_another_objective_is_refused_by_the_key_that_differs(tmp_path: Path) -> None:
    check_ranking(tiny_config(tmp_path, *RANKING))
    with pytest.raises(InputError, match=r"objective\.mask_duplicates is not as in MultipleNegativesRankingLoss"):
        check_ranking(tiny_config(tmp_path, *RANKING, "objective.mask_duplicates=true"))
    with pytest.raises(InputError, match=r"model\.dropout"):
        check_ranking(tiny_config(tmp_path, *RANKING, "model.dropout=0.1"))
