"""Runs that are killed (SIGKILL) at any moment, and go on, end like one that never was: bit for bit on a CPU."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.tiny import ROOT, tiny_overrides, write_corpus
from tests.training.killed_runs import OVERRIDES, ROOMS, differences

SEED = 20_261_121


@pytest.mark.survival
@pytest.mark.timeout(1800)
def test_runs_killed_before_lines_chosen_by_chance_end_like_an_unbroken_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "tests.training.killed_runs", str(tmp_path), str(SEED), "60"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    counted = json.loads(result.stdout)
    assert set(counted["kills"]) == set(ROOMS)
    assert sum(counted["kills"].values()) >= 60
    with capsys.disabled():
        print(f"\nseed {SEED}: {sum(counted['kills'].values())} kills in {counted['runs']} runs: {counted['kills']}")


def start(folder: Path) -> subprocess.Popen[bytes]:
    settings = tiny_overrides(folder, *OVERRIDES, "corpus.workers=1")
    command = [
        sys.executable,
        "scripts/train.py",
        "--config",
        "configs/quickstart.yaml",
        "--resume",
        "--set",
        *settings,
    ]
    with open(folder / "errors", "ab") as errors:
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)


def kill_after(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill a run, and see that its workers end with it. Returns whether it was still running."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        assert not psutil.wait_procs(workers, timeout=10)[1]
        return True
    return False


def runs_of_the_command(folder: Path, seed: int, kills: int) -> int:
    """Kill runs of `scripts/train.py` at random times, and finish each: number of runs."""
    whole = folder / "whole"
    write_corpus(whole / "text")
    started = time.monotonic()
    assert start(whole).wait(120) == 0
    seconds = time.monotonic() - started
    generator, done, runs = random.Random(seed), 0, 0
    while done < kills:
        own = folder / f"trial{runs}"
        write_corpus(own / "text")
        while kill_after(process := start(own), generator.uniform(0, 1.1 * seconds)):
            done += 1
        assert process.returncode == 0, (own / "errors").read_text()
        assert not differences(own / "run", whole / "run"), own
        runs += 1
    return runs


@pytest.mark.survival
@pytest.mark.timeout(1800)
def test_runs_of_the_command_killed_at_random_times_end_like_an_unbroken_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = runs_of_the_command(tmp_path, SEED, 30)
    with capsys.disabled():
        print(f"\nseed {SEED}: 30 kills or more at random times in {runs} runs")
