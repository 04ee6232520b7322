"""Measure time, peak memory and growth, and print a case as one JSON line."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ems.errors import InputError


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def seconds(action: Callable[[], object]) -> float:
    """Return the wall time of one call; a GPU's work is waited for."""
    _wait()
    begun = time.perf_counter()
    action()
    _wait()
    return time.perf_counter() - begun


def matmul_rate(
    dimension: int,
    *,
    rows: int = 2048,
    repeats: int = 5,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> float:
    """Return floating-point operations a second of (rows, dimension) x (dimension, rows), the median of the repeats."""
    left, right = (torch.randn(rows, dimension, device=device, dtype=dtype) for _ in range(2))
    product = torch.empty(rows, rows, device=device, dtype=dtype)
    taken = [seconds(lambda: torch.mm(left, right.T, out=product)) for _ in range(repeats + 1)][1:]
    return 2 * rows * rows * dimension / statistics.median(taken)


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts the process that started this one, up to the moment of the start
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def check_sizes(sizes: Sequence[float], name: str) -> None:
    """Make sure that growth over these sizes can be told, before any of them is measured.

    Raises:
        InputError: a size occurs twice; `name` is the argument that gave them.
    """
    if len(set(sizes)) < len(sizes):
        raise InputError(f"{name}: the values must differ, not {' '.join(f'{size:g}' for size in sizes)}")


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of log(value) over log(size): 1 for linear growth, 2 for quadratic; needs two sizes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def print_case(case: Mapping[str, Any]) -> None:
    """Print one JSON line; times to four digits."""
    rounded = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in case.items()}
    print(json.dumps(rounded), flush=True)


def in_own_process(module: str, *arguments: object) -> dict[str, Any]:
    """Run `python -m module arguments` and return the JSON object it prints: peak memory belongs to a process.

    Raises:
        RuntimeError: it failed; its error output goes to ours.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
