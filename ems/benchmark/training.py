"""Measure training steps: ours, the plain reading of the paper, and sentence-transformers, in turn on the same batches.

Machines drift, so every round measures the rate of matrix products and one step of each implementation, one after the
other; ratios are taken within a round, and their median is given.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ems.benchmark.case import Case
from ems.benchmark.flops import step_flops
from ems.benchmark.measure import matmul_rate, print_case, seconds
from ems.benchmark.plain import PlainTrainer
from ems.benchmark.worker import workers
from ems.benchmark.workload import Workload, describe
from ems.config import Config
from ems.data.collate import PackedBatch, collate, cut_micro_batches
from ems.data.loader import vocabulary_of
from ems.data.prefetch import prefetch
from ems.data.shards import TokenPairs
from ems.errors import InputError
from ems.heap import keep_freed_memory
from ems.training.device import choose_autocast
from ems.training.stages import stage, stopwatch
from ems.training.token_budget import with_token_budget
from ems.training.update import Update

WARM_UP = 2  # rounds that are not counted: allocators, caches, the optimizer's moments
STAGED = 3  # steps whose stages are timed, after the others
MATRIX = 2048  # rows, columns and depth of the products whose rate is measured
# A plain baseline below this share of the rate was written badly, and a ratio to it says nothing: on real lengths, and
# where all are equal; at the paper's width. The authors' own code reaches 0.27 and 0.52.
PLAIN_FLOOR, PLAIN_FLOOR_EQUAL, PAPER_WIDTH = 0.23, 0.45, 1024


def _lengths(pairs: TokenPairs, longest: int) -> np.ndarray:
    """Return the lengths of both sides: int64 (2B,)."""
    sides = np.concatenate([np.diff(pairs.src_offsets), np.diff(pairs.tgt_offsets)])
    return np.asarray(np.minimum(sides, longest))


def _batches(workload: Workload, config: Config, device: torch.device) -> Iterator[list[PackedBatch]]:
    budget = config.batching.max_tokens
    assert budget != "auto"
    for pairs in workload.steps:
        lengths = _lengths(pairs, config.model.max_tokens).reshape(2, -1).sum(axis=0)
        yield [
            collate(
                pairs,
                rows,
                max_tokens=config.model.max_tokens,
                target=config.objective.target,
                vocabulary=vocabulary_of(pairs, config),
            ).pinned_for(device)
            for rows in cut_micro_batches(lengths, budget)
        ]


def _vocabulary_size(workload: Workload, step: int, config: Config) -> int:
    vocabulary = vocabulary_of(workload.steps[step], config)
    return workload.vocab_size if vocabulary is None else len(vocabulary)


def _our_steps(model: Any, workload: Workload, config: Config) -> Callable[[int], object]:
    """Return what takes step `i`, as the trainer does: batches are made ahead by a thread."""
    if config.objective.distillation_weight:
        raise InputError("objective.distillation_weight: a teacher's vectors are of a corpus; the benchmark has none")
    config = with_token_budget(config, model)
    update = Update(model, config)
    ahead = prefetch(_batches(workload, config, update.device), depth=2)

    def take_step(step: int) -> object:
        with stage("data"):
            batches = next(ahead)
        record = update.gradients(batches, step)
        values = torch.stack(list(record.values())).tolist()
        update.apply(step)
        return values

    return take_step


def _plain_steps(model: Any, workload: Workload, config: Config) -> Callable[[int], object]:
    trainer = PlainTrainer(model, config, workload.tokenizer)
    return lambda step: trainer.take_step(
        workload.steps[step], workload.texts[step] if workload.texts is not None else None, step
    )


def _steps_of(name: str, model: Any, workload: Workload, config: Config) -> Callable[[int], object]:
    if name == "ems":
        return _our_steps(model, workload, config)
    if name == "plain":
        return _plain_steps(model, workload, config)
    from ems.benchmark.sentence_transformers_baseline import ranking_steps

    return ranking_steps(model, workload, config)


def _stage_shares(take_step: Callable[[int], object], steps: range) -> dict[str, float]:
    """Time the stages of some steps and return the share of each."""
    with stopwatch() as spent:
        for step in steps:
            take_step(step)
    total = sum(spent.values())
    return {name: round(value / total, 3) for name, value in spent.items()}


def _prepare(name: str, case: Case, steps: int) -> Callable[[range], Any]:
    """Return what takes the steps of a range: seconds of one step, or the shares of the stages of several."""
    config, workload = case.open(steps)
    if name == "ems" and case.device(config).type == "cpu":
        keep_freed_memory()  # as training does
    take_step = _steps_of(name, case.model(config, workload), workload, config)

    def work(chosen: range) -> Any:
        if len(chosen) == 1:
            return seconds(partial(take_step, chosen.start))
        return _stage_shares(take_step, chosen)

    return work


def _ratios(name: str, taken: dict[str, list[float]]) -> dict[str, float]:
    """Return by how much ours is faster than each baseline, for the line of ours."""
    if name != "ems":
        return {}
    return {
        f"ratio_to_{other.replace('-', '_')}": statistics.median(
            b / a for a, b in zip(taken["ems"], times, strict=True)
        )
        for other, times in taken.items()
        if other != "ems"
    }


def _void(case: Case, config: Config, fraction: float) -> dict[str, str]:
    floor = PLAIN_FLOOR if case.length is None else PLAIN_FLOOR_EQUAL
    if config.model.hidden_size < PAPER_WIDTH or fraction >= floor:
        return {}
    return {"void": f"the plain baseline reaches {fraction:.2f} of the matmul rate, below {floor}: no ratio counts"}


def measure_training(case: Case, baselines: Sequence[str]) -> list[dict[str, Any]]:
    """Measure ours and the baselines named, in turn.

    Returns:
        One record for each, ours first: "pairs_per_second", "tokens_per_second" (real tokens of both sides),
        "matmul_fraction" (operations for real tokens, `ems.benchmark.flops`, at the machine's rate, over the time
        taken), "matmul_gflops" (that rate, in 10^9 operations a second), "time_in_matmul_gflop" (how many of them the
        time of a step was enough for), "peak_bytes"; ours also with "ratio_to_..." and "stages": shares of the time.

    Raises:
        InputError: a baseline cannot be run on this case.
    """
    if "sentence-transformers" in baselines and not case.text:
        raise InputError("--baseline sentence-transformers reads text; give --text FILE")
    names = ["ems", *baselines]
    rounds = range(WARM_UP, WARM_UP + case.rounds)
    steps = rounds.stop + STAGED
    with case.with_tokenizer() as case:
        config, workload = case.open(steps)
        device = case.device(config)
        dtype = choose_autocast(config.run.precision, device) or torch.float32
        taken: dict[str, list[float]] = {name: [] for name in names}
        rates = []
        with workers(names, _prepare, case, steps) as running:
            for step in range(rounds.stop):
                rates.append(matmul_rate(MATRIX, repeats=3, device=device, dtype=dtype))
                for name in names:
                    taken[name].append(running[name].do(range(step, step + 1)))
            peaks = {name: worker.peak() for name, worker in running.items()}
            stages = running["ems"].do(range(rounds.stop, steps))
    counted = {name: times[WARM_UP:] for name, times in taken.items()}
    lengths = [_lengths(workload.steps[step], config.model.max_tokens) for step in rounds]
    flops = [
        step_flops(row, config.model, _vocabulary_size(workload, step, config), config.objective)
        for step, row in zip(rounds, lengths, strict=True)
    ]
    records = []
    for name in names:
        times = counted[name]
        floors = [work / rate for work, rate in zip(flops, rates[WARM_UP:], strict=True)]
        fraction = statistics.median(floor / time for floor, time in zip(floors, times, strict=True))
        records.append(
            {
                "case": f"train {name}",
                "pairs": config.batching.pairs,
                "pairs_per_second": config.batching.pairs / statistics.median(times),
                "tokens_per_second": statistics.median(row.sum() / t for row, t in zip(lengths, times, strict=True)),
                "seconds": statistics.median(times),
                "matmul_fraction": fraction,
                "matmul_gflops": statistics.median(rates[WARM_UP:]) / 1e9,
                "time_in_matmul_gflop": statistics.median(a * b for a, b in zip(times, rates[WARM_UP:], strict=True))
                / 1e9,
                "peak_bytes": peaks[name],
                **_ratios(name, counted),
                **({"stages": stages} if name == "ems" else {}),
                **(_void(case, config, fraction) if name == "plain" else {}),
                "text": describe(workload, config.model.max_tokens),
            }
        )
        print_case(records[-1])
    return records
