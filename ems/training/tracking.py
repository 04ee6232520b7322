"""What a run reports while it runs: the progress bar, metrics.jsonl, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import logging
import math
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ems.errors import InputError
from ems.files import atomic_write

logger = logging.getLogger(__name__)


def cut_metrics(path: Path, step: int) -> None:
    """Drop the lines after step `step` (and a half-written last one), so that a resumed run continues the file.

    Where a line before that is damaged or missing, those after it are dropped, too, with a warning.
    """
    kept: list[bytes] = []
    last = 0
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            break
        whole = line.endswith(b"\n") and isinstance(record, dict) and isinstance(record.get("step"), int)
        if not whole or record["step"] > step:
            break
        kept.append(line)
        last = record["step"]
    if last < step:
        logger.warning("%s has no whole records of steps %d to %d any more", path, last + 1, step)
    if not lines:
        return
    with atomic_write(path) as file:
        file.writelines(kept)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl back: one flat dict a line.

    Raises:
        InputError: the file cannot be read, or a line of it is no record.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise InputError(f"{path}, line {number}: no record of a step")
        records.append(record)
    return records


def memory_bytes(device: torch.device) -> int:
    """Peak memory of this process: on the GPU for a CUDA device, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


_SHOWN_LOSSES = (
    ("xtr", "train/loss_xtr"),
    ("con", "train/loss_contrastive"),
    ("teacher", "train/loss_distillation"),
)


class Tracker:
    """Write one flat record a step to every place that a person or program looks at.

    Keys are `train/…`, `validation/…` and `time/…`; only the `time/` fields differ between two runs of one config.

    Args:
        folder: run folder; metrics.jsonl is appended to.
        first_step: steps already taken.
        max_steps: steps of the whole run.
        device: whose memory is shown.
    """

    def __init__(self, folder: Path, *, first_step: int, max_steps: int, device: torch.device) -> None:
        self.device = device
        self._file = open(folder / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115  (open for the whole run)
        self._bar = tqdm(
            total=max_steps,
            initial=first_step,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 30,  # a log file need not show it move
            file=sys.stderr,
        )
        self._board = _tensorboard(folder, first_step)

    def log(self, step: int, record: dict[str, float]) -> None:
        """Record numbers of a step; those that are not finite (a gradient that overflowed in fp16) become null."""
        line = {name: value if math.isfinite(value) else None for name, value in record.items()}
        self._file.write(json.dumps({"step": step, **line}, allow_nan=False) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in record.items():
                self._board.add_scalar(name, value, step)

    def show(self, record: dict[str, float]) -> None:
        """Move the progress bar by a step."""
        shown = {
            "loss": f"{record['train/loss']:.3f}",
            **{name: f"{record[key]:.3f}" for name, key in _SHOWN_LOSSES if key in record},
            "pairs/s": f"{record['time/pairs_per_second']:.0f}",
            "tok/s": f"{record['time/tokens_per_second']:.0f}",
            "mem": f"{memory_bytes(self.device) / 2**30:.1f}G",
        }
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def say(self, message: str) -> None:
        """Print a line above the progress bar."""
        self._bar.write(message, file=sys.stderr)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    # What a resumed run did after its checkpoint is done again, so the events of those steps are dropped.
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)
