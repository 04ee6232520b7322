"""Where the time of a training step goes: its stages by name, and the stopwatch that a benchmark starts.

Without a stopwatch a stage costs nothing. With one the device is waited for at both ends of every stage, so that each
pays for its own work; the step as a whole is then slower than it is without.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

STAGES = ("data", "encoder", "heads", "losses", "backward", "optimizer")

_running: defaultdict[str, float] | None = None


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the time of a block as that of a stage, one of `STAGES`; stages do not nest."""
    if _running is None:
        yield
        return
    begun = _now()
    try:
        yield
    finally:
        _running[name] += _now() - begun


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Yield the seconds of each stage so far; "other" is filled in at the end: what lies between the stages."""
    global _running
    seconds: defaultdict[str, float] = defaultdict(float, dict.fromkeys(STAGES, 0.0))
    _running, begun = seconds, _now()
    try:
        yield seconds
    finally:
        _running = None
        seconds["other"] = _now() - begun - sum(seconds.values())
