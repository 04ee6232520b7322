"""What a training step of each variant takes, measured in turn with the reference.

Machines drift by more than variants differ, so that runs of different hours cannot be compared. Here two processes, of
the reference and of one variant, take their steps by turns, and only the ratio within a round counts.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from ems.benchmark.measure import seconds
from ems.benchmark.worker import Worker
from ems.config import load_config
from ems.data.preparation import prepare_corpus
from ems.experiments.runner import Device
from ems.experiments.variants import Variant
from ems.training.trainer import Trainer

_WARM_UP = 3  # steps that are not counted: memory and threads are new
_ROUNDS = 20
_STEP = "step"


def _prepare(path: Path, overrides: Sequence[str], device: Device) -> Callable[[object], float]:
    """Return what takes the next step of an unfinished run, whose folder is not touched, and its seconds."""
    os.environ.update(device.environment)
    if device.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, device.cores)
    import torch

    if device.cores:
        torch.set_num_threads(len(device.cores))
    config = load_config(path, list(overrides))
    trainer = Trainer(config, prepare_corpus(config), Path(config.run.folder))
    steps = iter(trainer.loader())

    def take_step(_: object) -> float:
        return seconds(lambda: trainer.take_step(next(steps)))

    return take_step


def _ratio(worker: Worker, reference: Worker, rounds: int) -> float:
    taken = [(worker.do(_STEP), reference.do(_STEP)) for _ in range(_WARM_UP + rounds)][_WARM_UP:]
    return float(statistics.median(own / theirs for own, theirs in taken))


def seconds_of_a_step(
    variants: Sequence[Variant],
    reference: Variant,
    overrides: Sequence[str],
    device: Device,
    *,
    rounds: int = _ROUNDS,
) -> dict[str, float]:
    """Measure the steps of variants against those of the reference, two processes at a time.

    Args:
        variants: the reference may be among them.
        reference: whose step counts as 1.
        overrides: of all configs.
        device: where the processes run, as runs do.
        rounds: steps that count, of each.

    Returns:
        For each variant, and the reference, the time of its step over that of the reference: median over rounds.

    Raises:
        InputError: a run could not be started.
        RuntimeError: a step failed.
    """
    measured = Worker(_prepare, reference.path, tuple(overrides), device)
    ratios = {reference.name: 1.0}
    try:
        for variant in variants:
            if variant.name != reference.name:
                worker = Worker(_prepare, variant.path, tuple(overrides), device)
                try:
                    ratios[variant.name] = _ratio(worker, measured, rounds)
                finally:
                    worker.close()
    finally:
        measured.close()
    return ratios
