"""Train on disks that are too small, enlarge each, go on, and compare with a run that had room.

Called by `test_full_disks.py` as root of its own mounts, `unshare -rm python -m tests.training.full_disks FOLDER N`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import matplotlib.pyplot  # noqa: F401  (a run imports these late; the forks need not do it one after the other)
import torch._dynamo  # noqa: F401

from ems.cli import main as ems
from tests.tiny import ROOT, tiny_overrides, write_corpus
from tests.training.killed_runs import OVERRIDES, differences, going_on, noting_first_step


def train(folder: Path, run: Path) -> tuple[int, str]:
    """Start or continue a run in a forked process: exit status, and what it said last."""
    settings = tiny_overrides(folder, *OVERRIDES, f"run.folder={run}")
    arguments = ["train", "--config", str(ROOT / "configs" / "quickstart.yaml"), "--resume", "--set", *settings]
    said = folder / "said"
    with going_on(folder, run) as note:
        child = os.fork()
        if child:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            lines = said.read_text(encoding="utf-8").splitlines()
            assert sum(line.startswith("ems train: ") for line in lines) == (status != 0), lines
            return status, lines[-1]
    noting_first_step(note)
    with open(said, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
        os.dup2(file.fileno(), sys.stdout.fileno())
        os._exit(ems(arguments))


def mount(place: Path, kilobytes: int, *, again: bool = False) -> None:
    """Mount a disk in memory, or change the size of one."""
    options = f"{'remount,' if again else ''}size={kilobytes}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)


def main(folder: Path, disks: int) -> None:
    """Try disks from a twentieth of the size that is needed up to all but it; print where they were full as JSON."""
    write_corpus(folder / "text")
    whole, place = folder / "whole", folder / "small"
    assert train(folder, whole)[0] == 0
    place.mkdir()
    needed = sum(path.stat().st_blocks for path in whole.rglob("*")) // 2
    full_at: Counter[str] = Counter()
    for number in range(disks):
        mount(place, int(needed * (0.05 + 0.9 * number / (disks - 1))))
        run = place / "run"
        status, said = train(folder, run)
        assert status in (1, 2), (number, status, said)
        assert said.startswith("ems train: "), said
        assert re.search(r"No space left|os error 28|\(os error 28\)", said), said
        full_at[next((part for part in ("checkpoints", "model", "prepared") if f"/{part}" in said), "other")] += 1
        mount(place, 10 * needed, again=True)
        status, said = train(folder, run)
        assert status == 0, (number, said)
        assert not differences(run, whole), (number, differences(run, whole))
        shutil.rmtree(run)
        subprocess.run(["umount", str(place)], check=True)
    print(json.dumps(full_at))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
