"""Several processes train like one: real processes, started by torchrun, that talk over gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from ems.config import ObjectiveConfig
from ems.errors import InputError
from ems.ranks import Ranks
from ems.training.token_budget import check_ranks
from ems.training.tracking import read_metrics
from ems.training.trainer import train
from ems.weights import read_weights
from tests.processes import torchrun
from tests.tiny import tiny_config, tiny_overrides, write_corpus
from tests.training.test_step import WHOLE, assert_close, make_model, run

# Pairs of each rank, in micro-batches: one has several at once, one a single pair, one cuts its part into three.
PARTS = [[[0, 1, 2, 3]], [[4]], [[5], [6, 7], [8]]]
# Whether the output matrix is tied, and the objective.
OBJECTIVES: dict[str, tuple[bool, dict[str, Any]]] = {
    "both losses": (False, {"reconstruction_weight": 0.7, "contrastive_weight": 3.0}),
    "both losses, tied output": (True, {"reconstruction_weight": 0.7, "contrastive_weight": 3.0}),
    "no contrastive loss": (False, {"contrastive_weight": 0.0}),
    "no reconstruction loss": (False, {"reconstruction_weight": 0.0}),
    "no reconstruction loss, tied output": (True, {"reconstruction_weight": 0.0}),
    "margin, and reconstruction among the tokens of the step": (False, {"margin": 0.3, "vocabulary": "step"}),
}


GRADIENTS = """
import json, sys, torch
from ems.config import ObjectiveConfig
from ems.ranks import joined_ranks
from ems.training.build import freeze_unused
from ems.training.step import GradientStep
from tests.training.test_step import make_batches, make_model
parts, objectives, out = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
with joined_ranks("cpu", "") as ranks:
    counts = [sum(map(len, part)) for part in parts]
    results = {}
    for name, (tied, values) in objectives.items():
        model, objective = make_model(tied=tied), ObjectiveConfig(**values)
        freeze_unused(model, objective)
        own = make_batches(parts[ranks.rank], vocabulary=objective.vocabulary)
        step = GradientStep(model, objective, None, ranks)
        for repeat in range(2):  # the second time over what the first has left behind
            model.zero_grad()
            losses = step(own, range(len(own)), rank_pairs=counts)
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results[name] = {"losses": losses, "gradients": gradients}
    torch.save(results, f"{out}/{ranks.rank}.pt")
"""


def test_gradients_are_those_of_one_process_with_the_whole_step(tmp_path: Path) -> None:
    """Among the nine pairs are two that share an English sentence, and two of which one side is a side of the other."""
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    arguments = (script, json.dumps(PARTS), json.dumps(OBJECTIVES), tmp_path)
    process = torchrun(len(PARTS), *arguments)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(len(PARTS))]
    for name, (tied, values) in OBJECTIVES.items():
        losses, gradients = run(make_model(tied=tied), ObjectiveConfig(**values), WHOLE)
        for rank in found:
            assert {key: value.item() for key, value in rank[name]["losses"].items()} == pytest.approx(
                losses, rel=1e-12
            )
            assert_close(rank[name]["gradients"], gradients, 1e-10)
            for weight, gradient in rank[name]["gradients"].items():
                assert torch.equal(gradient, found[0][name]["gradients"][weight])


SHARED = ("model.dropout=0.0", "objective.mask_token=true")  # each of several processes draws dropout of its own


def start(size: int, folder: Path, *overrides: str, resume: bool = False) -> subprocess.Popen[str]:
    settings = tiny_overrides(folder, *SHARED, *overrides)
    more = ["--resume"] if resume else []
    return torchrun(size, "scripts/train.py", "--config", "configs/quickstart.yaml", "--set", *settings, *more)


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for a run that has to succeed: its output and its messages."""
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return out, errors


def untimed(folder: Path) -> list[dict[str, float]]:
    return [
        {key: value for key, value in line.items() if not key.startswith("time/")}
        for line in read_metrics(folder / "run" / "metrics.jsonl")
    ]


def assert_same_run(ours: Path, theirs: Path) -> None:
    for line, wanted in zip(untimed(ours), untimed(theirs), strict=True):
        assert line == pytest.approx(wanted, rel=1e-4)
    found, expected = (read_weights(folder / "run" / "model" / "model.safetensors") for folder in (ours, theirs))
    for name, weight in expected.items():
        if name.endswith("key.bias"):
            continue  # has no gradient but rounding, which Adam blows up
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process, the measure of all others."""
    folder = tmp_path_factory.mktemp("alone")
    write_corpus(folder / "text")
    train(tiny_config(folder, *SHARED))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "text")
    return tmp_path


def test_a_run_of_several_processes_is_that_of_one(alone: Path, folder: Path) -> None:
    out, _ = finished(start(3, folder, "batching.max_tokens=200"))
    assert_same_run(folder, alone)
    assert out.count("model in") == 1
    names = {path.name for path in (folder / "run").iterdir()}
    assert names == {path.name for path in (alone / "run").iterdir()}


@pytest.mark.slow
def test_two_processes_with_muon_margin_and_the_tokens_of_the_step_train_like_one(tmp_path: Path) -> None:
    recipe = ("training.optimizer=muon", "objective.margin=0.3", "objective.vocabulary=step", "model.projection_size=0")
    alone, two = tmp_path / "alone", tmp_path / "two"
    for folder in (alone, two):
        write_corpus(folder / "text")
    train(tiny_config(alone, *SHARED, *recipe))
    finished(start(2, two, *recipe))
    assert_same_run(two, alone)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("corpus.files=['no-such*.tsv']", "no-such*.tsv"),
        pytest.param("model.num_head=2", "did you mean 'num_heads'?", marks=pytest.mark.survival),
    ],
)
def test_what_is_wrong_is_said_once_and_ends_all_processes(folder: Path, override: str, message: str) -> None:
    process = start(2, folder, override)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.count("ems train: ") == 1
    assert message in errors


# Trains as scripts/train.py does, but the second step of one of the processes fails.
FAILING = """
import os, sys
from ems import cli
from ems.training.trainer import Trainer
victim, *sys.argv[1:] = sys.argv[1:]
take_step = Trainer.take_step
def fails(self, loaded):
    if os.environ["RANK"] == victim and loaded.step == 1:
        raise RuntimeError("no such kernel")
    return take_step(self, loaded)
Trainer.take_step = fails
sys.exit(cli.main())
"""


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.survival)])
def test_a_step_that_fails_in_one_process_ends_all_and_says_why_once(folder: Path, victim: int) -> None:
    script = folder / "failing.py"
    script.write_text(FAILING)
    settings = tiny_overrides(folder, *SHARED)
    process = torchrun(2, script, victim, "train", "--config", "configs/quickstart.yaml", "--set", *settings)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.count("no such kernel") == 1


def workers_of(process: subprocess.Popen[str], size: int) -> list[int]:
    """Return the processes of the ranks."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = [int(pid) for pid in children.read_text().split()]
    assert len(found) == size
    return found


def wait_for_step(folder: Path, step: int) -> None:
    metrics, deadline = folder / "run" / "metrics.jsonl", time.monotonic() + 120
    while not metrics.exists() or metrics.read_bytes().count(b'"train/loss"') < step:
        assert time.monotonic() < deadline
        time.sleep(0.02)


LONG = ("training.max_steps=40", "training.checkpoint_every_steps=5", "training.validate_every_steps=40")


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.survival)])
def test_when_a_process_dies_the_others_say_so_and_another_number_of_them_goes_on(folder: Path, victim: int) -> None:
    process = start(2, folder, *LONG)
    wait_for_step(folder, 12)
    os.kill(workers_of(process, 2)[victim], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"rank {1 - victim}: another process of this run ended or does not answer" in errors
    finished(start(3, folder, *LONG, resume=True))
    steps = [line["step"] for line in untimed(folder) if "train/loss" in line]
    assert steps == list(range(1, 41))


def test_a_signal_stops_all_processes_after_the_same_step_and_the_run_goes_on(folder: Path) -> None:
    process = start(2, folder, *LONG)
    wait_for_step(folder, 7)
    workers = workers_of(process, 2)
    process.terminate()  # torchrun, which tells its workers
    _, errors = process.communicate(timeout=60)
    assert errors.count("continue with --resume") == 1
    assert not psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=10)[1]
    last = untimed(folder)[-1]["step"]
    assert (folder / "run" / "checkpoints" / f"step-{int(last):08d}").is_dir()
    train(tiny_config(folder, *SHARED, *LONG), resume=True)
    assert len([line for line in untimed(folder) if "train/loss" in line]) == 40


def test_fewer_pairs_than_processes_are_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "batching.pairs=2")
    check_ranks(config, Ranks(0, 2))
    with pytest.raises(InputError, match=r"batching.pairs 2 is below the number of processes, 3"):
        check_ranks(config, Ranks(0, 3))
