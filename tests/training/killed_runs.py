"""Kill training runs before lines of code chosen by chance, go on each time, and compare with an unbroken run.

Called by `test_kills.py` in a process of its own, `python -m tests.training.killed_runs FOLDER SEED KILLS`. An attempt
is a fork that kills itself (SIGKILL), so that what the files hold is all that the next one knows.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import matplotlib.pyplot  # noqa: F401  (a run imports these late; the forks need not do it one after the other)
import torch._dynamo  # noqa: F401

from ems.data.loader import StepBatches
from ems.training.tracking import read_metrics
from ems.training.trainer import Trainer, train
from tests.tiny import tiny_config, write_corpus

OVERRIDES = ("training.max_steps=8", "training.checkpoint_every_steps=2", "validation.pairs_per_language_pair=6")
# Every attempt begins in one of these and ends in one that is chosen by chance; within it, the line is chosen.
ROOMS = {
    "preparation": ("ems/data/preparation.py", "ems/data/shard_writer.py", "ems/data/shard_manifest.py"),
    "the run folder": ("ems/training/run_folder.py", "ems/training/finish.py", "ems/training/report.py"),
    "a checkpoint": ("ems/training/checkpoint.py", "ems/weights.py"),
    "a file or folder being replaced": ("ems/files.py",),
    "a step": ("ems/training/trainer.py", "ems/training/update.py", "ems/training/step.py", "ems/training/tracking.py"),
    "the order of the data": (
        "ems/data/holdout.py",
        "ems/data/loader.py",
        "ems/data/stream.py",
        "ems/data/collate.py",
        "ems/data/shards.py",
    ),
    "validation": ("ems/training/validation.py", "ems/training/scoring.py", "ems/inference.py"),
    "the model folder": ("ems/model/folder.py", "ems/model/card.py"),
}
ROOM_OF = {file: room for room, files in ROOMS.items() for file in files}

Tracer = Callable[[FrameType, str, Any], Any]


def room_of(frame: FrameType) -> str | None:
    """Name the room of a frame's file; None for a file that is not watched."""
    return ROOM_OF.get("/".join(Path(frame.f_code.co_filename).parts[-3:])) or ROOM_OF.get(
        "/".join(Path(frame.f_code.co_filename).parts[-2:])
    )


def counting(lines: Counter[str], last: tuple[str, int] | None) -> Tracer:
    """Count the lines executed in each room, and kill this process before line `last[1]` of room `last[0]`."""
    rooms: dict[Any, str | None] = {}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        room = rooms.setdefault(frame.f_code, room_of(frame))
        if room is None:
            return None
        if event == "line":
            lines[room] += 1
            if last == (room, lines[room]):
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def newest_checkpoint(run: Path) -> int:
    """Return the step that a run has to go on behind: 0 where it has no checkpoint."""
    return max((int(path.name[5:]) for path in run.glob("checkpoints/step-*")), default=0)


def noting_first_step(note: Path) -> None:
    """Let this process write down how many steps had been taken before its first one."""
    take_step = Trainer.take_step

    def noted(self: Trainer, loaded: StepBatches) -> dict[str, float]:
        if not note.exists():
            note.write_text(str(loaded.step))
        return take_step(self, loaded)

    Trainer.take_step = noted  # type: ignore[method-assign]


@contextmanager
def going_on(folder: Path, run: Path) -> Iterator[Path]:
    """Check that what is done meanwhile goes on behind the newest checkpoint; yields where to note its first step."""
    expected, note = newest_checkpoint(run), folder / "first step"
    note.unlink(missing_ok=True)
    yield note
    noted = note.read_text() if note.exists() else ""  # empty: killed by a line of another thread just then
    assert noted in ("", str(expected)), (run, noted, expected)


def attempt(folder: Path, last: tuple[str, int] | None) -> int:
    """Start or continue the run of a folder in a forked process: its wait status. Counts go to folder/lines.json."""
    with going_on(folder, folder / "run") as note:
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1]
    status = 1
    try:
        noting_first_step(note)
        lines: Counter[str] = Counter()
        threading.settrace(counting(lines, last))  # the thread that reads ahead
        sys.settrace(counting(lines, last))
        train(tiny_config(folder, *OVERRIDES), resume=True)
        sys.settrace(None)
        (folder / "lines.json").write_text(json.dumps(lines))
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def content(run: Path) -> dict[str, Any]:
    """Everything that a run leaves, without times and places."""
    files = {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    kept: dict[str, Any] = {
        name: data
        for name, data in files.items()
        if name.startswith(("model/", "prepared/", "checkpoints/")) or name == "scores.json"
    }
    # These hold the time stamps of the text.
    kept = {name: data for name, data in kept.items() if Path(name).name not in ("shard.json", "manifest.json")}
    for name in [name for name in kept if name.endswith("state.json")]:
        state = json.loads(kept[name])["state"]
        del state["progress"]["train_seconds"]
        kept[name] = state
    kept["metrics.jsonl"] = [
        {key: value for key, value in line.items() if not key.startswith("time/")}
        for line in read_metrics(run / "metrics.jsonl")
    ]
    kept["other files"] = sorted(files.keys() - kept.keys())
    return kept


def differences(run: Path, whole: Path) -> list[str]:
    """Name what differs between two runs."""
    found, expected = content(run), content(whole)
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def main(folder: Path, seed: int, kills: int) -> None:
    """Kill runs until there were so many kills, then finish the last; print the kills by room as JSON."""
    generator = random.Random(seed)
    whole = folder / "whole"
    write_corpus(whole / "text")
    assert attempt(whole, None) == 0
    lines = json.loads((whole / "lines.json").read_text())
    done: Counter[str] = Counter()
    trial = 0
    while done.total() < kills:
        own = folder / f"trial{trial}"
        write_corpus(own / "text")
        rooms = generator.sample(sorted(ROOMS), 4)  # then the run is let finish
        for room in rooms:
            status = attempt(own, (room, generator.randint(1, lines[room])))
            if status == signal.SIGKILL:
                done[room] += 1
            else:
                assert status == 0, own  # this time it did not come to that line any more
                break
        assert attempt(own, None) == 0, own
        assert not differences(own / "run", whole / "run"), (own, differences(own / "run", whole / "run"))
        trial += 1
    print(json.dumps({"runs": trial, "kills": done}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
