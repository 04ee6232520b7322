"""Measure training steps: ours, the plain reading of the paper, and sentence-transformers, in turn on the same batches.

Machines drift, so every round measures the rate of matrix products and one step of each implementation, one after the
other; ratios are taken within a round, and their median is given. Peak memory is measured in a process of its own.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ems.benchmark.case import Case
from ems.benchmark.flops import step_flops
from ems.benchmark.measure import in_own_process, matmul_rate, peak_bytes, print_case, seconds
from ems.benchmark.plain import PlainTrainer
from ems.benchmark.workload import Workload, describe
from ems.config import Config
from ems.data.collate import PackedBatch, collate, cut_micro_batches
from ems.data.prefetch import prefetch
from ems.data.shards import TokenPairs
from ems.inference import choose_device
from ems.model.dual_encoder import DualEncoder
from ems.training.device import choose_autocast
from ems.training.stages import stage, stopwatch
from ems.training.trainer import build_model
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


def _batches(workload: Workload, config: Config) -> Iterator[list[PackedBatch]]:
    for pairs in workload.steps:
        lengths = _lengths(pairs, config.model.max_tokens).reshape(2, -1).sum(axis=0)
        yield [
            collate(pairs, rows, max_tokens=config.model.max_tokens, target=config.objective.target)
            for rows in cut_micro_batches(lengths, config.batching.max_tokens)
        ]


def _our_steps(model: Any, workload: Workload, config: Config) -> Callable[[int], object]:
    """Return what takes step `i`, as the trainer does: batches are made ahead by a thread."""
    update = Update(model, config)
    ahead = prefetch(_batches(workload, config), depth=2)

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


def _model(config: Config, workload: Workload) -> DualEncoder:
    device = choose_device(None if config.run.device == "auto" else config.run.device)
    return build_model(config, workload.vocab_size, workload.num_languages).to(device)


def measure_memory(case: Case, name: str) -> int:
    """Take two steps with one implementation and return the peak memory of this process in bytes.

    On a GPU it is the memory that PyTorch allocated there, else the resident memory of the process.
    """
    config, workload = case.open(2)
    take_step = _steps_of(name, _model(config, workload), workload, config)
    for step in range(2):
        take_step(step)
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else peak_bytes()


def _stage_shares(take_step: Callable[[int], object], steps: range) -> dict[str, float]:
    """Time the stages of some steps and return the share of each."""
    with stopwatch() as spent:
        for step in steps:
            take_step(step)
    total = sum(spent.values())
    return {name: round(value / total, 3) for name, value in spent.items()}


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
        taken), "peak_bytes", ours with "ratio_to_..." and "stages": shares of the time.
    """
    names = ["ems", *baselines]
    rounds = range(WARM_UP, WARM_UP + case.rounds)
    config, workload = case.open(rounds.stop + STAGED)
    model = _model(config, workload)
    step_of = {name: _steps_of(name, copy.deepcopy(model), workload, config) for name in names}
    device, dtype = next(model.parameters()).device, torch.float32
    dtype = choose_autocast(config.run.precision, device) or dtype
    taken: dict[str, list[float]] = {name: [] for name in names}
    rates = []
    for step in range(rounds.stop):
        rates.append(matmul_rate(MATRIX, repeats=3, device=device, dtype=dtype))
        for name in names:
            taken[name].append(seconds(partial(step_of[name], step)))
    counted = {name: times[WARM_UP:] for name, times in taken.items()}
    stages = _stage_shares(step_of["ems"], range(rounds.stop, rounds.stop + STAGED))
    del step_of, model
    lengths = [_lengths(workload.steps[step], config.model.max_tokens) for step in rounds]
    flops = [step_flops(row, config.model, workload.vocab_size) for row in lengths]
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
                "peak_bytes": in_own_process("ems.benchmark.training", case.to_json(), name)["peak_bytes"],
                **_ratios(name, counted),
                **({"stages": stages} if name == "ems" else {}),
                **(_void(case, config, fraction) if name == "plain" else {}),
                "text": describe(workload, config.model.max_tokens),
            }
        )
        print_case(records[-1])
    return records


if __name__ == "__main__":
    print(json.dumps({"peak_bytes": measure_memory(Case.from_json(sys.argv[1]), sys.argv[2])}))
