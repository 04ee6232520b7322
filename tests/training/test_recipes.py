"""Runs with objectives and heads other than the paper's: they train, resume to the same bits, leave whole models."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import ems
from ems.config import Config
from ems.data.grammar import training_pairs
from ems.errors import InputError
from ems.model.folder import load_dual_encoder
from ems.training.tracking import read_metrics
from ems.training.trainer import Trainer, train
from tests.tiny import LINES, tiny_config, write_corpus

RECIPES = {
    "no contrastive loss": ["objective.contrastive_weight=0"],
    "no reconstruction loss, tied": ["objective.reconstruction_weight=0", "model.tied_output=true"],
    "muon": ["training.optimizer=muon"],
    "reconstruction among the step's tokens": ["objective.vocabulary=step"],
    "bare heads": ["model.language_size=0", "model.projection_size=0", "model.reconstruction_hidden=false"],
    "ranking with margin": [
        "objective.reconstruction_weight=0",
        "model.projection_size=0",
        "objective.margin=0.3",
        "objective.both_directions=false",
    ],
}


def losses_of(folder: Path) -> list[float]:
    return [line["train/loss"] for line in read_metrics(folder / "metrics.jsonl") if "train/loss" in line]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_a_stopped_run_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: list[str]
) -> None:
    write_corpus(tmp_path / "text")
    whole = tiny_config(tmp_path, *recipe)
    train(whole)
    broken = tiny_config(tmp_path, *recipe, f"run.folder={tmp_path / 'broken'}")
    original = Trainer.take_step

    def take_step(self, loaded):  # type: ignore[no-untyped-def]
        record = original(self, loaded)
        if loaded.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return record

    monkeypatch.setattr(Trainer, "take_step", take_step)
    with pytest.raises(ems.errors.Interrupted):
        train(broken)
    monkeypatch.undo()
    train(broken, resume=True)
    assert losses_of(tmp_path / "broken") == losses_of(tmp_path / "run")
    ours, theirs = (load_dual_encoder(tmp_path / name / "model") for name in ("run", "broken"))
    assert ours.head_sizes == theirs.head_sizes
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, theirs.state_dict()[name]), name


def teach(folder: Path, size: int) -> list[str]:
    """Write random vectors of all English sentences and return the overrides that distil from them."""
    english = sorted({source for pairs in training_pairs(pairs_per_language=LINES).values() for source, _ in pairs})
    (folder / "english.txt").write_text("\n".join(english) + "\n", encoding="utf-8")
    np.save(folder / "english.npy", np.random.default_rng(0).normal(size=(len(english), size)).astype(np.float32))
    teacher = f"{{sentences: {folder / 'english.txt'}, vectors: {folder / 'english.npy'}}}"
    return [
        "objective.reconstruction_weight=0",
        "objective.contrastive_weight=0",
        "objective.distillation_weight=1",
        f"objective.teacher={teacher}",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 48], ids=["as wide as the student", "wider"])
def test_distillation_comes_closer_to_the_teacher(tmp_path: Path, size: int) -> None:
    write_corpus(tmp_path / "text")
    config = tiny_config(tmp_path, *teach(tmp_path, size), "training.max_steps=40", "training.validate_every_steps=40")
    train(config)
    losses = losses_of(tmp_path / "run")
    assert losses[-1] < 0.9 * losses[0]
    assert (load_dual_encoder(tmp_path / "run" / "model").teacher is None) == (size == 32)


def refusal(config: Config, **how: bool) -> str:
    with pytest.raises(InputError) as raised:
        train(config, **how)
    return str(raised.value)


def test_a_teacher_without_a_sentence_of_the_corpus_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "text")
    config = tiny_config(tmp_path, *teach(tmp_path, 32))
    lines = (tmp_path / "english.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "english.txt").write_text("".join(f"q{i} x{i} z{i}\n" for i in range(len(lines))), encoding="utf-8")
    assert "holds no sentence of the corpus" in refusal(config)


@pytest.mark.slow
def test_resume_with_another_teacher_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "text")
    config = tiny_config(tmp_path, *teach(tmp_path, 32))
    train(config)
    (tmp_path / "run" / "scores.json").unlink()
    vectors = np.load(tmp_path / "english.npy")
    np.save(tmp_path / "english.npy", vectors + 1)
    assert "the teacher is not the one that the run in" in refusal(config, resume=True)
