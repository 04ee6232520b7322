"""A whole experiment with real runs: what it leaves, that it skips what is done, and how it goes on."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ems.data.preparation import prepare_corpus
from ems.errors import InputError, RunError
from ems.experiments import runner
from ems.experiments.command import run_experiment
from ems.experiments.outcomes import group_languages
from ems.experiments.runner import find_devices
from tests.tiny import ROOT, tiny_config, tiny_overrides, write_corpus

QUICKSTART = ROOT / "configs" / "quickstart.yaml"


def write_variants(folder: Path, **texts: str) -> list[Path]:
    write_corpus(folder / "text", ("de", "es", "ja"))
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.yaml"
        path.write_text(f"# It is {name}.\nextends: {os.path.relpath(QUICKSTART, folder)}\n{text}", encoding="utf-8")
        paths.append(path)
    return paths


def shared(folder: Path, *extra: str) -> list[str]:
    return [*tiny_overrides(folder), f"corpus.prepared={folder / 'prepared'}", *extra]


@pytest.mark.slow
def test_variants_are_trained_and_compared_at_three_budgets_and_not_trained_again(tmp_path: Path) -> None:
    full, light = write_variants(tmp_path, full="", light="objective:\n  reconstruction_weight: 0\n")
    output = tmp_path / "out"

    def run() -> str:
        return run_experiment(
            [light, full],
            output,
            seeds=(0,),
            budgets=("steps", "seconds", "flops"),
            overrides=shared(tmp_path, "training.max_steps=30"),
            jobs=min(2, len(os.sched_getaffinity(0))),
        )

    text = run()
    assert text == (output / "table.md").read_text(encoding="utf-8")
    for budget in ("steps", "seconds", "flops"):
        assert f"Equal {budget}:" in text
        assert (output / f"{budget}.png").stat().st_size > 1000
    assert "**full**: It is full |" in text
    assert text.index("**full**") < text.index("**light**")  # the reference comes first
    planned = json.loads((output / "plan.json").read_text())["steps"]
    assert planned["flops"]["full"] == planned["seconds"]["full"] == 30
    assert planned["flops"]["light"] > 30  # no reconstruction: cheaper
    before = {path: path.stat().st_mtime_ns for path in output.rglob("scores.json")}
    trained = {("full", 30), ("light", 30), *(("light", planned[budget]["light"]) for budget in ("seconds", "flops"))}
    # One run for all budgets at which a variant takes the same steps: the reference has one.
    assert {path.parent for path in before} == {output / name / f"{n}-steps" / "seed-0" for name, n in trained}
    assert run() == text
    assert {path: path.stat().st_mtime_ns for path in output.rglob("scores.json")} == before


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_the_middle_of_a_run(folder: Path) -> tuple[subprocess.Popen[str], list[str], Path]:
    """Start an experiment of one run and return its process, its command and the run's metrics."""
    (path,) = write_variants(folder, full="")
    command = [sys.executable, "scripts/experiment.py", "--configs", str(path), "--output", str(folder / "out")]
    steps = "training.max_steps=60", "training.validate_every_steps=30"
    command += ["--seeds", "0", "--set", *shared(folder, *steps)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = folder / "out" / "full" / "60-steps" / "seed-0" / "metrics.jsonl"
    wait_until(lambda: process.poll() is not None or (metrics.exists() and metrics.stat().st_size > 2000))
    assert process.poll() is None, process.communicate()
    return process, command, metrics


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_a_run_ends_when_its_experiment_is_killed(tmp_path: Path) -> None:
    process, _, metrics = in_the_middle_of_a_run(tmp_path)
    process.kill()
    log = metrics.parent.parent / "seed-0.log"
    wait_until(lambda: re.search(r"ems train: (stopped by SIGTERM|interrupted)", log.read_text()) is not None)
    process.communicate()


@pytest.mark.slow
def test_a_signal_stops_the_runs_and_the_same_command_goes_on(tmp_path: Path) -> None:
    process, command, metrics = in_the_middle_of_a_run(tmp_path)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 3, errors
    assert errors.splitlines()[-1] == "ems experiment: stopped; the same command goes on"
    log = metrics.parent.parent / "seed-0.log"  # the run has ended when the experiment has
    steps = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert f"stopped by SIGTERM after step {steps}" in log.read_text()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=200)
    assert f"going on after step {steps} of 60" in log.read_text()


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    good, bad = write_variants(tmp_path, full="", hot="objective:\n  reconstruction_weight: 1.0e+39\n")
    with pytest.raises(RunError, match=r"1 runs failed, all others are done: .*hot/6-steps/seed-0"):
        run_experiment([good, bad], tmp_path / "out", seeds=(0,), overrides=shared(tmp_path))
    assert (tmp_path / "out" / "full" / "6-steps" / "seed-0" / "scores.json").exists()
    assert "not finite" in (tmp_path / "out" / "hot" / "6-steps" / "seed-0.log").read_text()


def test_variants_without_shared_text_are_refused(tmp_path: Path) -> None:
    paths = write_variants(tmp_path, full="")
    with pytest.raises(InputError, match=r"corpus\.prepared is not set"):
        run_experiment(paths, tmp_path / "out", overrides=tiny_overrides(tmp_path))


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    full, wide = write_variants(tmp_path, full="", wide="tokenizer:\n  type: bpe\n")
    with pytest.raises(InputError, match="--seeds names 1 twice"):
        run_experiment([full], tmp_path / "out", seeds=(0, 1, 1), overrides=shared(tmp_path))
    for seed in (-1, 2**32):
        with pytest.raises(InputError, match=f"--seeds {seed}: a seed is a number from 0 to 4294967295"):
            run_experiment([full], tmp_path / "out", seeds=(0, seed), overrides=shared(tmp_path))
    (auto,) = write_variants(tmp_path, auto="batching:\n  max_tokens: auto\n")
    with pytest.raises(InputError, match=r"auto\.yaml: batching\.max_tokens: auto cannot be measured beside another"):
        run_experiment([full, auto], tmp_path / "out", budgets=("steps", "seconds"), overrides=shared(tmp_path))
    assert not (tmp_path / "prepared").exists()
    with pytest.raises(InputError, match="tokenizer"):
        run_experiment([full, wide], tmp_path / "out", overrides=shared(tmp_path))
    (other,) = write_variants(tmp_path, other="corpus:\n  languages: [en, de]\n")
    with pytest.raises(InputError, match=r"other\.yaml: its text has the languages (en, de|de, en), that of"):
        run_experiment([full, other], tmp_path / "out", overrides=shared(tmp_path))
    (tmp_path / "far.yaml").write_text(
        f"extends: {full.name}\nobjective:\n  distillation_weight: 1.0\n"
        "  teacher: {sentences: nowhere.txt, vectors: nowhere.npy}\n"
    )
    with pytest.raises(InputError, match=r"far\.yaml: objective\.teacher\.sentences: there is no nowhere\.txt"):
        run_experiment([full, tmp_path / "far.yaml"], tmp_path / "out", overrides=shared(tmp_path))
    assert not list((tmp_path / "out").iterdir())


def test_a_run_that_cannot_be_started_ends_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    (full,) = write_variants(tmp_path, full="")
    monkeypatch.setattr(runner.subprocess, "Popen", no_room)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        run_experiment([full], tmp_path / "out", seeds=(0,), overrides=shared(tmp_path))


@pytest.mark.slow
def test_a_folder_that_holds_runs_of_another_config_is_refused(tmp_path: Path) -> None:
    paths = write_variants(tmp_path, full="")
    run_experiment(paths, tmp_path / "out", seeds=(0,), overrides=shared(tmp_path))
    with pytest.raises(InputError, match=r"objective\.temperature is 0\.2, but the run in .* was started with 0\.1"):
        run_experiment(paths, tmp_path / "out", seeds=(0,), overrides=shared(tmp_path, "objective.temperature=0.2"))


def test_languages_are_grouped_by_script_and_by_pairs_with_the_hub(tmp_path: Path) -> None:
    write_corpus(tmp_path / "text", ("de", "es", "ja"))
    lines = (tmp_path / "text" / "en-es.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "text" / "en-es.tsv").write_text("".join(lines[:100]), encoding="utf-8")
    groups = group_languages(prepare_corpus(tiny_config(tmp_path)))
    assert groups.hub == "en"
    assert groups.members == {
        "Latin script": ("de", "es"),
        "other script": ("ja",),
        "more data": ("de", "ja"),
        "less data": ("es",),
    }


def test_jobs_share_the_cores_and_more_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (whole,) = find_devices(None, "cpu")
    cores = len(os.sched_getaffinity(0))
    assert whole.environment == {"OMP_NUM_THREADS": str(cores)}
    each = find_devices(cores, "cpu")
    assert [len(device.cores) for device in each] == [1] * cores
    assert len({core for device in each for core in device.cores}) == cores
    with pytest.raises(InputError, match=f"--jobs {cores + 1}, but there are {cores} cores"):
        find_devices(cores + 1, "cpu")


@pytest.mark.parametrize(("wanted", "threads"), [("1", 1), ("100000", None), ("", None), ("0", None), ("many", None)])
def test_fewer_threads_are_taken_where_the_user_says_so(
    monkeypatch: pytest.MonkeyPatch, wanted: str, threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    (whole,) = find_devices(None, "cpu")
    assert whole.environment == {"OMP_NUM_THREADS": str(threads or len(os.sched_getaffinity(0)))}
