"""A whole run: what it writes, how it stops, and that a resumed one ends like one that was never stopped."""

from __future__ import annotations

import json
import math
import pickle
import signal
from pathlib import Path

import pytest
import torch

import ems
from ems.config import load_config
from ems.errors import InputError, Interrupted, RunError
from ems.training import token_budget
from ems.training import trainer as trainer_module
from ems.training.checkpoint import load_latest_checkpoint
from ems.training.tracking import read_metrics
from ems.training.trainer import Trainer, train
from ems.training.update import Update
from tests.tiny import tiny_config, write_corpus


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "text")
    return tmp_path


def without_times(metrics: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in read_metrics(metrics)]


def interrupt_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    original = Trainer.take_step

    def take_step(self, loaded):
        record = original(self, loaded)
        if loaded.step + 1 == step:
            signal.raise_signal(number)
        return record

    monkeypatch.setattr(Trainer, "take_step", take_step)


def test_a_run_leaves_config_metrics_checkpoints_model_report_and_scores(tiny_run):
    names = {path.name for path in tiny_run.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "checkpoints", "model", "report.md", "scores.json", "prepared"} <= names
    assert sorted(p.name for p in (tiny_run / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
    assert not [name for name in names if name.endswith(".tmp")]


def test_every_step_has_one_line_of_finite_numbers(tiny_run):
    lines = [line for line in read_metrics(tiny_run / "metrics.jsonl") if "train/loss" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    first = lines[0]
    assert first["train/loss"] == pytest.approx(first["train/loss_xtr"] + 2 * first["train/loss_contrastive"], rel=1e-5)
    assert first["train/pairs_seen"] == 16
    # A uniform guess over 300 pieces costs at most log(300) nats in each of the two directions.
    assert 0 < first["train/loss_xtr"] < 2 * math.log(300)


def test_scores_name_trained_pairs_and_candidates(tiny_run):
    scores = json.loads((tiny_run / "scores.json").read_text())
    assert set(scores["retrieval_accuracy"]) == {"en-de", "en-es"}
    assert scores["mean_trained_pairs"] == pytest.approx(sum(scores["retrieval_accuracy"].values()) / 2)
    assert scores["mean_unseen_pairs"] is None
    assert scores["candidates"] == 10


def test_the_model_card_holds_languages_training_digest_and_measured_scores(tiny_run):
    card = (tiny_run / "model" / "README.md").read_text()
    digest = json.loads((tiny_run / "model" / "ems.json").read_text())["training"]["corpus_digest"]
    assert "German (de)" in card
    assert digest in card
    assert "held_out (also chose the best step): retrieval accuracy" in card
    measured = card.split("## Measured scores")[1]
    scores = json.loads((tiny_run / "scores.json").read_text())
    assert f"| en-de | {100 * scores['retrieval_accuracy']['en-de']:.1f} |" in measured


def test_the_report_shows_curves_and_scores(tiny_run):
    report = (tiny_run / "report.md").read_text()
    assert "![curves](curves.png)" in report
    assert (tiny_run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "| en-de |" in report


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_a_resumed_run_ends_bit_equal_to_an_unbroken_one(tmp_path, monkeypatch, number):
    for name in ("whole", "broken"):
        write_corpus(tmp_path / name / "text")
    train(tiny_config(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3, number)
        with pytest.raises(Interrupted, match="after step 3; continue with --resume"):
            train(tiny_config(tmp_path / "broken"))
    assert load_latest_checkpoint(tmp_path / "broken" / "run" / "checkpoints").step == 3
    train(tiny_config(tmp_path / "broken"), resume=True)
    whole, broken = tmp_path / "whole" / "run", tmp_path / "broken" / "run"
    assert without_times(whole / "metrics.jsonl") == without_times(broken / "metrics.jsonl")
    for path in (
        "model/model.safetensors",
        "model/heads.safetensors",
        "checkpoints/step-00000006/optimizer.safetensors",
    ):
        assert (whole / path).read_bytes() == (broken / path).read_bytes(), path
    assert (whole / "scores.json").read_bytes() == (broken / "scores.json").read_bytes()


def test_micro_batches_see_the_same_data_and_nearly_the_same_loss(folder):
    train(tiny_config(folder, f"run.folder={folder / 'whole'}"))
    train(tiny_config(folder, f"run.folder={folder / 'cut'}", "batching.max_tokens=96"))
    whole, cut = (without_times(folder / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert [line.get("train/loss") for line in cut] == [
        pytest.approx(line["train/loss"], rel=1e-4) if "train/loss" in line else None for line in whole
    ]


def test_a_run_finds_its_token_budget_and_goes_on_with_the_same(folder, monkeypatch):
    auto = tiny_config(folder, "batching.max_tokens=auto")
    # Memory for some of the 16 pairs is left beside the weights.
    monkeypatch.setattr(token_budget, "_LIBRARIES", 0)
    monkeypatch.setattr(token_budget, "free_bytes", lambda device: 1_700_000)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(Interrupted):
            train(auto)
    found = load_config(folder / "run" / "config.yaml").batching.max_tokens
    assert 96 <= found < 300
    monkeypatch.setattr(token_budget, "free_bytes", lambda device: 1 << 40)
    train(auto, resume=True)
    assert load_config(folder / "run" / "config.yaml").batching.max_tokens == found
    train(tiny_config(folder, f"run.folder={folder / 'given'}", f"batching.max_tokens={found}"))
    assert without_times(folder / "run" / "metrics.jsonl") == without_times(folder / "given" / "metrics.jsonl")


def test_a_step_without_memory_for_it_ends_the_run_and_says_what_helps(folder, monkeypatch):
    monkeypatch.setattr(Update, "gradients", lambda self, *_: torch.empty(1 << 52))
    with pytest.raises(RunError, match=r"out of memory in step 1, .* go on with --resume and batching.max_tokens=auto"):
        train(tiny_config(folder))
    monkeypatch.undo()
    monkeypatch.setattr(Update, "apply", lambda self, step: torch.empty(1 << 52))
    with pytest.raises(RunError, match=r"go on with --resume and a batching.max_tokens below 200"):
        train(tiny_config(folder, "batching.max_tokens=200"), resume=True)
    monkeypatch.undo()
    train(tiny_config(folder, "batching.max_tokens=100"), resume=True)
    assert (folder / "run" / "scores.json").exists()


def test_resume_without_a_checkpoint_starts_from_the_beginning(folder):
    train(tiny_config(folder, "training.max_steps=2", "training.warmup_steps=1"), resume=True)
    assert (folder / "run" / "scores.json").exists()


def test_resuming_a_finished_run_changes_nothing(folder):
    config = tiny_config(folder, "training.max_steps=2", "training.warmup_steps=1")
    train(config)
    before = {p: p.stat().st_mtime_ns for p in (folder / "run").rglob("*") if p.is_file() and p.name != "config.yaml"}
    train(config, resume=True)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_resume_refuses_another_recipe_by_name(folder):
    train(tiny_config(folder, "training.max_steps=2", "training.warmup_steps=1"))
    with pytest.raises(InputError, match=r"training.learning_rate is 0.5, but the run .* was started with 0.002"):
        train(tiny_config(folder, "training.max_steps=2", "training.learning_rate=0.5"), resume=True)


def test_resume_on_changed_text_is_refused(folder, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(Interrupted):
            train(tiny_config(folder))
    with open(folder / "text" / "en-de.tsv", "a", encoding="utf-8") as file:
        file.write("One more sentence.\tNoch ein Satz.\n")
    with pytest.raises(InputError, match="--resume: the corpus is not the one"):
        train(tiny_config(folder), resume=True)


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_hostile_checkpoint_is_refused_and_no_code_runs(folder, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(Interrupted):
            train(tiny_config(folder, "training.keep_checkpoints=1"))
    (checkpoint,) = (folder / "run" / "checkpoints").iterdir()
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        (checkpoint / name).write_bytes(pickle.dumps(_Payload(folder / "ran")))
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole"):
        train(tiny_config(folder, "training.keep_checkpoints=1"), resume=True)
    assert not (folder / "ran").exists()


def test_a_folder_that_holds_a_run_is_refused(folder):
    config = tiny_config(folder, "training.max_steps=2")
    train(config)
    with pytest.raises(InputError, match="already holds a run"):
        train(config)


def test_a_non_finite_loss_stops_with_step_languages_and_pairs_and_keeps_the_checkpoint(folder, monkeypatch):
    original = Trainer.take_step

    def poison(self, loaded):
        if loaded.step == 4:
            token = int(loaded.pairs.src_tokens[0])
            with torch.no_grad():
                self.model.encoder.embeddings.token.weight[token] = math.nan
        return original(self, loaded)

    monkeypatch.setattr(Trainer, "take_step", poison)
    with pytest.raises(RunError, match=r"step 5 is not finite .*; languages .*en-.*non-finite outputs: en: ") as caught:
        train(tiny_config(folder))
    assert "\n" not in str(caught.value)
    assert load_latest_checkpoint(folder / "run" / "checkpoints").step == 4


def test_patience_stops_a_run_that_no_longer_gains(folder, monkeypatch):
    monkeypatch.setattr(trainer_module.Validator, "__call__", lambda self, encoder: {"validation/held_out": 0.5})
    train(tiny_config(folder, "training.max_steps=50", "training.validate_every_steps=1", "training.patience=2"))
    steps = [line["step"] for line in read_metrics(folder / "run" / "metrics.jsonl") if "train/loss" in line]
    assert steps[-1] == 3  # best at step 1, then two without a gain


def test_the_best_model_is_kept_not_the_last(folder, monkeypatch):
    values = iter([0.9, 0.1, 0.2])
    monkeypatch.setattr(
        trainer_module.Validator, "__call__", lambda self, encoder: {"validation/held_out": next(values)}
    )
    train(tiny_config(folder, "training.validate_every_steps=2"))
    assert json.loads((folder / "run" / "model" / "ems.json").read_text())["training"]["steps"] == 2


def test_a_full_disk_at_a_checkpoint_fails_with_the_old_checkpoint_whole(folder, monkeypatch):
    original = trainer_module.save_checkpoint

    def full(root, step, *rest, **named):
        if step == 4:
            raise OSError(28, "No space left on device")
        original(root, step, *rest, **named)

    monkeypatch.setattr(trainer_module, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        train(tiny_config(folder))
    assert load_latest_checkpoint(folder / "run" / "checkpoints").step == 2


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_on_cpu_when_asked_for(folder, precision):
    model = train(tiny_config(folder, f"run.precision={precision}", "training.max_steps=2", "training.warmup_steps=1"))
    assert ems.load(model).encode("Good morning").dtype == "float32"


def tamper(checkpoint, change):
    """Change a checkpoint's tensors or state, and make its digests right again, as somebody who means harm would."""
    from safetensors.torch import load_file, save_file

    from ems.training.checkpoint import _digest, _json_digest

    moments = load_file(checkpoint / "optimizer.safetensors")
    content = json.loads((checkpoint / "state.json").read_text())
    change(moments, content["state"])
    save_file(moments, checkpoint / "optimizer.safetensors")
    content["digests"]["optimizer.safetensors"] = _digest(checkpoint / "optimizer.safetensors")
    content["own_digest"] = _json_digest(content)
    (checkpoint / "state.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda moments, state: moments.update({"0.exp_avg": torch.zeros(1)}),
        lambda moments, state: moments.pop("0.exp_avg"),
        lambda moments, state: moments.update({"abc.exp_avg": torch.zeros(1)}),
        lambda moments, state: moments.update({"0.step": torch.zeros((), dtype=torch.int64)}),
        lambda moments, state: state.pop("progress"),
        lambda moments, state: state.update(environment=[]),
        lambda moments, state: state["progress"].update(step="x"),
        lambda moments, state: state["progress"].update(step=1000),
        lambda moments, state: state["progress"].update(best_metric="high"),
        lambda moments, state: state["progress"]["stream"].update(drawn="x"),
    ],
)
def test_a_checkpoint_that_was_tampered_with_is_refused_by_name(folder, monkeypatch, change):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            train(tiny_config(folder))
    tamper(folder / "run" / "checkpoints" / "step-00000002", change)
    with pytest.raises(InputError, match=r"optimizer.safetensors|state.json cannot be used"):
        train(tiny_config(folder), resume=True)


def test_a_second_run_in_one_folder_is_refused_while_the_first_goes_on(folder):
    from ems.training.run_folder import run_lock

    with run_lock(folder / "run"), pytest.raises(InputError, match=r"another process is using run.folder"):
        train(tiny_config(folder))


@pytest.mark.parametrize("name", ["model", "checkpoints", "metrics.jsonl"])
def test_a_folder_with_parts_of_a_run_but_no_config_is_refused(folder, name):
    (folder / "run" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=f"holds {name} but no config.yaml"):
        train(tiny_config(folder))
