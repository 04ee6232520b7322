"""What a training step of each variant takes, measured in turn with the reference.

Machines drift by more than variants differ, so that runs of different hours cannot be compared. Here two processes, of
the reference and of one variant, take the same steps by turns, and only the ratio within a round counts.
"""

from __future__ import annotations

import logging
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ems.benchmark.measure import seconds
from ems.benchmark.worker import Worker
from ems.config import load_config
from ems.data.preparation import prepare_corpus
from ems.errors import InputError, RunError
from ems.experiments.runner import Device
from ems.experiments.variants import Variant
from ems.training.trainer import Trainer

logger = logging.getLogger(__name__)

_WARM_UP = 3  # steps that are not counted: memory and threads are new
_ROUNDS = 20
_STEP = "step"
_ENDLESS = ("training.schedule=constant",)  # others end at max_steps, which may be fewer than are measured


def _prepare(path: Path, overrides: Sequence[str], device: Device) -> Callable[[object], float]:
    """Return what takes the next step of an unfinished run, whose folder is not touched, and its seconds."""
    os.environ.update(device.environment)  # says which GPU; it is not in use yet
    if device.cores:
        torch.set_num_threads(int(device.environment["OMP_NUM_THREADS"]))  # which torch has read already
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, device.cores)
    config = load_config(path, [*overrides, *_ENDLESS])
    trainer = Trainer(config, prepare_corpus(config), Path(config.run.folder))
    steps = iter(trainer.loader())

    def take_step(_: object) -> float:
        return seconds(lambda: trainer.take_step(next(steps)))

    return take_step


def in_turn(own: Worker, reference: Worker, rounds: int) -> float:
    """Have both take a step in each round and return the median ratio of their seconds, without that of the first."""
    taken = [(own.do(_STEP), reference.do(_STEP)) for _ in range(_WARM_UP + rounds)][_WARM_UP:]
    return float(statistics.median(one / other for one, other in taken))


def _ratio(variant: Variant, reference: Variant, overrides: Sequence[str], device: Device, rounds: int) -> float:
    workers = []
    try:
        for each in (variant, reference):
            workers.append(Worker(_prepare, each.path, tuple(overrides), device))
        return in_turn(workers[0], workers[1], rounds)
    except RuntimeError as error:
        raise RunError(f"{variant.path} and {reference.path} could not be measured in turn: {error}") from None
    finally:
        for worker in workers:
            worker.close()


def seconds_of_a_step(
    variants: Sequence[Variant],
    reference: Variant,
    overrides: Sequence[str],
    device: Device,
    *,
    rounds: int = _ROUNDS,
) -> dict[str, float]:
    """Measure the steps of variants against those of the reference.

    Two runs at a time share the device, so that both have to fit.

    Args:
        variants: the reference may be among them.
        reference: whose step counts as 1.
        overrides: of all configs.
        device: where the processes run, as runs do.
        rounds: steps that count, of each.

    Returns:
        For each variant, and the reference, the time of its step over that of the reference: median over rounds.

    Raises:
        InputError: a config has `batching.max_tokens: auto`, which would count on the memory that the other needs.
        RunError: a run could not be started, or a step failed.
    """
    for variant in [reference, *variants]:
        if variant.config.batching.max_tokens == "auto":
            raise InputError(
                f"{variant.path}: batching.max_tokens: auto cannot be measured beside another run, as equal seconds "
                "have to be; give a number of tokens that leaves memory for two"
            )
    ratios = {reference.name: 1.0}
    for variant in variants:
        if variant.name != reference.name:
            ratios[variant.name] = _ratio(variant, reference, overrides, device, rounds)
            logger.info("a step of %s takes %.3f of one of %s", variant.name, ratios[variant.name], reference.name)
    return ratios
