"""Steps that must not change the weights stop a run, or are left out up to a limit."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch

from ems.config import TrainingConfig
from ems.errors import RunError
from ems.training import bad_steps
from ems.training.bad_steps import MEAN_OVER, fault_of, with_loss
from ems.training.checkpoint import load_latest_checkpoint
from ems.training.progress import Progress
from ems.training.tracking import read_metrics
from ems.training.trainer import train
from ems.training.update import Update
from tests.tiny import tiny_config, write_corpus

TRAINING = TrainingConfig(max_steps=1, spike_factor=4)
GOOD = {"loss": 2.0, "loss_xtr": 1.0, "loss_contrastive": 0.5, "gradient_norm": 3.0}


def fault(changed: dict[str, float], progress: Progress | None = None, **more: bool) -> str | None:
    return fault_of({**GOOD, **changed}, progress or Progress(), TRAINING, **{"overflow_allowed": False, **more})


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_a_fault(name: str, value: float) -> None:
    assert fault({}) is None
    assert fault({name: value}) == "is not finite"


def test_where_the_loss_scale_may_overflow_only_the_gradient_may_be_infinite() -> None:
    assert fault({"gradient_norm": math.inf}, overflow_allowed=True) is None
    assert fault({"loss": math.inf}, overflow_allowed=True) == "is not finite"


def test_a_spike_is_a_loss_above_so_many_times_the_mean_once_there_is_a_mean() -> None:
    known = Progress(step=MEAN_OVER + 5, skipped_steps=5, mean_loss=2.0)
    assert fault({"loss": 8.0}, known) is None
    assert "more than 4 (training.spike_factor) times the mean" in str(fault({"loss": 8.001}, known))
    assert fault({"loss": 8.001}, Progress(step=MEAN_OVER + 4, skipped_steps=5, mean_loss=2.0)) is None
    unwatched = TrainingConfig(max_steps=1)
    assert fault_of({**GOOD, "loss": 1e9}, known, unwatched, overflow_allowed=False) is None


def test_where_the_mean_loss_is_not_above_zero_nothing_is_a_spike() -> None:
    assert fault({"loss": 1e-9}, Progress(step=200, mean_loss=0.0)) is None
    assert fault({"loss": -0.051}, Progress(step=200, mean_loss=-0.05)) is None


def test_the_mean_loss_is_the_plain_mean_at_first_and_then_fades() -> None:
    progress = Progress()
    for step in range(MEAN_OVER):
        progress.mean_loss = with_loss(progress, float(step))
        progress.step += 1
    assert progress.mean_loss == pytest.approx((MEAN_OVER - 1) / 2)
    assert with_loss(progress, 149.5) == pytest.approx(49.5 + 100 / MEAN_OVER)


def break_gradients(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Let the gradient of some steps (counted from 0) hold a NaN, as a fault of the hardware would."""
    original = Update.gradients

    def gradients(self: Update, batches: list, step: int, rank_pairs: object = None) -> dict[str, torch.Tensor]:
        losses = original(self, batches, step, rank_pairs)
        if step in steps:
            self.model.encoder.embeddings.token.weight.grad[3, 0] = math.nan
            losses |= {"loss": torch.tensor(math.nan), "gradient_norm": torch.tensor(math.nan)}
        return losses

    monkeypatch.setattr(Update, "gradients", gradients)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "text")
    return tmp_path


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_bad_steps_are_left_out_and_counted_up_to_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, precision: str
) -> None:
    break_gradients(monkeypatch, {1, 4})
    # fp16 answers an infinite gradient by itself; a loss scale below 1 has nothing left to answer with.
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=0.5))
    settings = (f"run.precision={precision}", "training.max_skipped_steps=2")
    train(tiny_config(folder, *settings))
    lines = [line for line in read_metrics(folder / "run" / "metrics.jsonl") if "train/loss" in line]
    assert [line["train/skipped_steps"] for line in lines] == [0, 1, 1, 1, 2, 2]
    assert [line["train/gradient_norm"] is None for line in lines] == [False, True, False, False, True, False]
    assert [line["train/learning_rate"] == 0 for line in lines] == [False, True, False, False, True, False]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    told = [record.getMessage() for record in caplog.records if "is left out" in record.getMessage()]
    assert ["step 2 is not finite" in told[0], "step 5 is not finite" in told[1]] == [True, True]
    assert "2 of at most 2" in told[1]


def test_one_bad_step_too_many_stops_the_run_which_goes_on_with_a_higher_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_gradients(monkeypatch, {1, 4})
    with pytest.raises(RunError, match=r"step 2 is not finite.* left out before it: 0;.*max_skipped_steps above 0"):
        train(tiny_config(folder))
    with pytest.raises(RunError, match=r"step 5 is not finite.* left out before it: 1;"):
        train(tiny_config(folder, "training.max_skipped_steps=1"), resume=True)
    checkpoint = load_latest_checkpoint(folder / "run" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.state["progress"]["skipped_steps"] == 1
    train(tiny_config(folder, "training.max_skipped_steps=2"), resume=True)
    whole = folder / "whole"
    train(tiny_config(folder, f"run.folder={whole}", "training.max_skipped_steps=2"))
    resumed = folder / "run" / "model" / "model.safetensors"
    assert resumed.read_bytes() == (whole / "model" / "model.safetensors").read_bytes()


def test_a_limit_lowered_on_resume_below_what_was_left_out_stops_at_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_gradients(monkeypatch, {0, 1, 2, 4})
    with pytest.raises(RunError, match=r"step 3 is not finite.* left out before it: 2;"):
        train(tiny_config(folder, "training.max_skipped_steps=2"))
    with pytest.raises(RunError, match=r"step 3 is not finite.* left out before it: 2;"):
        train(tiny_config(folder, "training.max_skipped_steps=1"), resume=True)


def test_a_spike_is_left_out_like_any_bad_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_steps, "MEAN_OVER", 3)
    original = Update.gradients

    def gradients(self: Update, batches: list, step: int, rank_pairs: object = None) -> dict[str, torch.Tensor]:
        losses = original(self, batches, step, rank_pairs)
        return losses | {"loss": losses["loss"] * (9 if step == 4 else 1)}

    monkeypatch.setattr(Update, "gradients", gradients)
    train(tiny_config(folder, "training.spike_factor=4", "training.max_skipped_steps=1"))
    lines = [line for line in read_metrics(folder / "run" / "metrics.jsonl") if "train/loss" in line]
    assert [line["train/skipped_steps"] for line in lines] == [0, 0, 0, 0, 1, 1]


def test_overflow_in_fp16_lowers_the_loss_scale_and_is_no_bad_step(folder: Path) -> None:
    train(tiny_config(folder, "run.precision=fp16"))
    lines = [line for line in read_metrics(folder / "run" / "metrics.jsonl") if "train/loss" in line]
    overflowed = [line["train/gradient_norm"] is None for line in lines]
    assert overflowed[0]
    assert not overflowed[-1]
    assert lines[-1]["train/skipped_steps"] == 0
    checkpoint = load_latest_checkpoint(folder / "run" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.state["progress"]["scaler"]["scale"] == 65536 / 2 ** sum(overflowed)


def test_a_step_left_out_changes_no_weight(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_gradients(monkeypatch, {1})
    settings = ("training.max_steps=2", "training.warmup_steps=1", "training.checkpoint_every_steps=1")
    train(tiny_config(folder, *settings, "training.max_skipped_steps=1"))
    first, second = (folder / "run" / "checkpoints" / f"step-0000000{step}" for step in (1, 2))
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
