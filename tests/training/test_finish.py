"""What the scores of a finished run are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ems.training.trainer import train
from tests.tiny import tiny_config, write_corpus


@pytest.mark.parametrize(
    ("chooses", "name"),
    [("held_out", "held_out (also chose the best step)"), ("embedded:grammar", "held_out")],
)
def test_held_out_scores_say_whether_they_chose_the_best_step(tmp_path: Path, chooses: str, name: str) -> None:
    write_corpus(tmp_path / "text")
    steps = "training.max_steps=2", "training.warmup_steps=1"
    train(tiny_config(tmp_path, *steps, "validation.sets=[embedded:grammar]", f"validation.metric={chooses}"))
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["set"] == name
