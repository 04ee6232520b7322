"""A full disk ends a run with one line, and loses nothing: with more room the run goes on to the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import ROOT

OWN_MOUNTS = ["unshare", "--map-root-user", "--mount"]


def needs_own_mounts() -> None:
    try:
        subprocess.run([*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this user may not mount a small disk: {error}")


@pytest.mark.survival
@pytest.mark.timeout(900)
def test_runs_on_disks_that_fill_up_go_on_when_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_own_mounts()
    command = [*OWN_MOUNTS, sys.executable, "-m", "tests.training.full_disks", str(tmp_path), "24"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    full_at = json.loads(result.stdout)
    assert full_at["checkpoints"] > 0
    with capsys.disabled():
        print(f"\n24 full disks, by what was being written: {full_at}")
