"""What a training step of each variant takes, measured in turn with the reference.

Machines drift by more than variants differ, so that runs of different hours cannot be compared. Here two processes, of
the reference and of one variant, take the same steps by turns, and only the ratio within a round counts. A round is a
step, or a whole window of them where pairs are dealt by length: a step of short sentences alone says nothing.
"""

from __future__ import annotations

import logging
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from math import ceil, lcm
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

_WARM_UP = 3  # steps that are not counted, or as many more as fill a window: memory and threads are new
_STEPS = 20  # steps that count, or as many more
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


def _round(own: Worker, reference: Worker, window: int) -> float:
    """Have both take the steps of a window by turns and return the ratio of their seconds."""
    taken = [(own.do(_STEP), reference.do(_STEP)) for _ in range(window)]
    return float(sum(one for one, _ in taken) / sum(other for _, other in taken))


def in_turn(own: Worker, reference: Worker, steps: int, window: int = 1) -> float:
    """Return the median ratio of the seconds of two processes that take steps by turns.

    Args:
        own: whose seconds are divided.
        reference: by whose.
        steps: that count, at least.
        window: steps of a round.
    """
    ratios = [_round(own, reference, window) for _ in range(ceil(_WARM_UP / window) + ceil(steps / window))]
    return float(statistics.median(ratios[ceil(_WARM_UP / window) :]))


def _ratio(variant: Variant, reference: Variant, overrides: Sequence[str], device: Device, steps: int) -> float:
    workers = []
    window = lcm(variant.config.batching.length_window, reference.config.batching.length_window)
    try:
        for each in (variant, reference):
            workers.append(Worker(_prepare, each.path, tuple(overrides), device))
        return in_turn(workers[0], workers[1], steps, window)
    except RuntimeError as error:
        raise RunError(f"{variant.path} and {reference.path} could not be measured in turn: {error}") from None
    finally:
        for worker in workers:
            worker.close()


def check_measurable(variants: Iterable[Variant]) -> None:
    """Refuse what cannot be measured in turn, before anything is computed.

    Raises:
        InputError: a config has `batching.max_tokens: auto`, which would count on the memory that the other needs.
    """
    for variant in variants:
        if variant.config.batching.max_tokens == "auto":
            raise InputError(
                f"{variant.path}: batching.max_tokens: auto cannot be measured beside another run, as equal seconds "
                "have to be; give a number of tokens that leaves memory for two"
            )


def seconds_of_a_step(
    variants: Sequence[Variant],
    reference: Variant,
    overrides: Sequence[str],
    device: Device,
    *,
    steps: int = _STEPS,
) -> dict[str, float]:
    """Measure the steps of variants against those of the reference.

    Two runs at a time share the device, so that both have to fit.

    Args:
        variants: which `check_measurable` accepts; the reference may be among them.
        reference: whose step counts as 1.
        overrides: of all configs.
        device: where the processes run, as runs do.
        steps: that count of each, at least.

    Returns:
        For each variant, and the reference, the time of its step over that of the reference: median over rounds.

    Raises:
        RunError: a run could not be started, or a step failed.
    """
    ratios = {reference.name: 1.0}
    for variant in variants:
        if variant.name != reference.name:
            ratios[variant.name] = _ratio(variant, reference, overrides, device, steps)
            logger.info("a step of %s takes %.3f of one of %s", variant.name, ratios[variant.name], reference.name)
    return ratios
