"""A token budget that was found for the memory keeps a step within it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from ems.config import Config, load_config, with_max_tokens
from ems.errors import InputError, ToldElsewhere
from ems.ranks import Ranks
from ems.training import token_budget
from ems.training.build import build_model
from ems.training.token_budget import free_bytes, kept_bytes, with_token_budget

MINIMAL = "run: {folder: r}\ncorpus: {files: ['embedded:grammar']}\ntraining: {max_steps: 1}\n"
SMALL = ["model.num_layers=2", "model.hidden_size=64", "model.num_heads=4", "model.feed_forward_size=256"]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL)
    return load_config(path, [*SMALL, "model.max_tokens=32", "batching.pairs=512", "batching.max_tokens=auto"])


def test_a_number_and_null_are_left_alone(config: Config) -> None:
    model = build_model(config, 100, 2)
    for given in (500, None):
        chosen = with_max_tokens(config, given)
        assert with_token_budget(chosen, model) is chosen


def test_with_memory_for_all_a_step_is_not_cut(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "free_bytes", lambda device: 1 << 40)
    assert with_token_budget(config, build_model(config, 100, 2)).batching.max_tokens == 512 * 2 * 32


def test_twice_the_memory_above_what_is_fixed_gives_twice_the_tokens(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(config, 100, 2)
    found = []
    for free in (200_000_000, 250_000_000, 300_000_000):
        monkeypatch.setattr(token_budget, "free_bytes", lambda device, free=free: free)
        found.append(with_token_budget(config, model).batching.max_tokens)
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], abs=1)
    assert found[0] >= 64


def test_memory_for_not_even_a_pair_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "free_bytes", lambda device: 1 << 20)
    with pytest.raises(InputError, match=r"batching.max_tokens: 0.00 GB are free, .* but weights and losses need"):
        with_token_budget(config, build_model(config, 100, 2))


def test_sentences_that_cannot_even_be_tried_are_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "kept_bytes", lambda *_: torch.empty(1 << 52))
    with pytest.raises(InputError, match=r"a pair of longest sentences more than there is; choose a smaller model"):
        with_token_budget(config, build_model(config, 100, 2))


def test_a_loss_that_is_left_out_needs_no_memory(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "free_bytes", lambda device: 2_000_000_000)
    many = config.model_copy(update={"batching": config.batching.model_copy(update={"pairs": 1 << 14})})
    model = build_model(config, 100, 2)
    with pytest.raises(InputError, match=r"2.00 GB are free"):
        with_token_budget(many, model)
    alone = config.objective.model_copy(update={"contrastive_weight": 0.0})
    assert with_token_budget(many.model_copy(update={"objective": alone}), model).batching.max_tokens != "auto"


def test_a_limit_of_the_address_space_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (used + 50_000_000, resource.RLIM_INFINITY))
    assert free_bytes(torch.device("cpu")) == pytest.approx(50_000_000, abs=5_000_000)


def test_processes_on_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "_address_space_bytes", lambda: None)
    alone = free_bytes(torch.device("cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_bytes(torch.device("cpu")) == pytest.approx(alone / 4, rel=0.1)


def test_a_rank_with_too_little_memory_stops_all_and_the_first_says_why(config: Config, monkeypatch: Any) -> None:
    """The other rank's complaint arrives at one that has memory enough itself."""
    monkeypatch.setattr(token_budget, "free_bytes", lambda device: 1 << 40)
    for rank, expected in ((0, InputError), (1, ToldElsewhere)):
        ranks = Ranks(rank, 2)
        monkeypatch.setattr(ranks, "choose", lambda good, value: "0.1 GB are free")
        with pytest.raises(expected, match=r"0\.1 GB are free"):
            with_token_budget(config, build_model(config, 100, 2), ranks)


def test_what_a_token_keeps_is_what_the_layers_have_to_keep(config: Config) -> None:
    """Count by hand for a model without dropout: float32 tensors that each operation needs for its backward pass."""
    model = build_model(config.model_copy(update={"model": config.model.model_copy(update={"dropout": 0.0})}), 100, 2)
    hidden, inner = 64, 256
    # Inputs of qkv, output, up, down (its input is inner wide) and both norms; query, key, value and the mixture;
    # up's result for swish. Each norm keeps a mean and a deviation, attention a number for each head.
    layer = 4 * (hidden + 3 * hidden + hidden + hidden + hidden + inner + inner + hidden) + 4 * (2 * 2 + 4)
    per_token, fixed = kept_bytes(model, None)
    assert per_token == pytest.approx(2 * layer, rel=0.15)
    assert 0 <= fixed < 20 * per_token


def test_half_precision_keeps_less_a_token_and_copies_of_the_weights(config: Config) -> None:
    model = build_model(config, 100, 2)
    (full, _), (half, copies) = kept_bytes(model, None), kept_bytes(model, torch.bfloat16)
    assert 0.4 * full < half < 0.8 * full
    matrices = sum(p.numel() for p in model.encoder.layers.parameters() if p.dim() == 2)
    assert copies == pytest.approx(2 * matrices, rel=0.2)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_the_number_of_sentences_that_are_tried_does_not_matter(
    config: Config, monkeypatch: pytest.MonkeyPatch, autocast: torch.dtype | None
) -> None:
    model = build_model(config, 100, 2)
    few, _ = kept_bytes(model, autocast)
    monkeypatch.setattr(token_budget, "_PROBES", (4, 8))
    assert kept_bytes(model, autocast)[0] == pytest.approx(few, rel=0.02)


def test_what_was_tried_is_freed(config: Config) -> None:
    """Only weak references: whatever still holds a tensor of the forward pass keeps it alive."""
    model, alive = build_model(config, 100, 2), []
    attend = model.encoder.layers[0].attention.forward

    def remember(hidden: torch.Tensor, sentences: object) -> torch.Tensor:
        mixed = attend(hidden, sentences)
        alive.extend([weakref.ref(hidden), weakref.ref(mixed)])
        return mixed  # type: ignore[no-any-return]

    model.encoder.layers[0].attention.forward = remember  # type: ignore[method-assign]
    kept_bytes(model, None)
    assert len(alive) == 4
    assert not [one for one in alive if one() is not None]


@pytest.mark.parametrize(("limit", "granted"), [("max", None), ("1000000", 400_000 + 50_000), ("500000", 0)])
def test_a_control_group_grants_what_is_not_used_or_only_cached(
    tmp_path: Path, limit: str, granted: int | None
) -> None:
    for name, content in (
        ("memory.max", limit),
        ("memory.current", "600000"),
        ("memory.stat", "anon 1\ninactive_file 50000\n"),
    ):
        (tmp_path / name).write_text(content + "\n")
    assert token_budget._cgroup_bytes(tmp_path) == granted
    assert token_budget._cgroup_bytes(tmp_path / "none") is None


def test_the_model_is_left_as_it_was(config: Config) -> None:
    model = build_model(config, 100, 2).eval()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    kept_bytes(model, None)
    assert not model.training
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_free_memory_is_what_the_system_says() -> None:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    assert 0 < free_bytes(torch.device("cpu")) <= int(line.split()[1]) * 1024 * 1.05


MEASURE = """
import json, sys
from ems.benchmark.measure import peak_bytes
from ems.benchmark.workload import random_workload
from ems.config import load_config
from ems.data.collate import collate, cut_micro_batches
from ems.heap import keep_freed_memory
from ems.training import token_budget
from ems.ranks import Ranks
from ems.training.build import build_model
from ems.training.update import Update
import numpy as np
keep_freed_memory()
config = load_config(sys.argv[1], json.loads(sys.argv[2]))
free = int(sys.argv[3])
token_budget.free_bytes = lambda device: free
pairs = random_workload(config, 1, length=config.model.max_tokens).steps[0]
model = build_model(config, config.tokenizer.vocab_size, 2)
before = peak_bytes()
config = token_budget.with_token_budget(config, model)
update = Update(model, config)
counts = np.full(config.batching.pairs, 2 * config.model.max_tokens)
cut = cut_micro_batches(counts, config.batching.max_tokens)
for step in range(2):
    update.gradients([collate(pairs, rows, max_tokens=config.model.max_tokens) for rows in cut], step)
    update.apply(step)
print(json.dumps({"grown": peak_bytes() - before, "cuts": len(cut)}))
"""


@pytest.mark.parametrize("free", [400_000_000, 600_000_000])
def test_a_step_stays_within_the_memory_and_uses_most_of_it(config: Config, tmp_path: Path, free: int) -> None:
    overrides = [*SMALL, "tokenizer.vocab_size=2000", "model.max_tokens=32", "model.dropout=0.1"]
    overrides += ["batching.pairs=1024", "batching.max_tokens=auto", "training.warmup_steps=0"]
    arguments = [str(tmp_path / "c.yaml"), json.dumps(overrides), str(free)]
    done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert measured["cuts"] > 1
    assert 0.5 * free < measured["grown"] < free
