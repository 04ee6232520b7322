"""The config of 62 languages at its full width takes steps on a CPU, on little text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ems.config import load_config
from ems.training.trainer import train
from tests.tiny import ROOT, write_corpus


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["massive", "massive-small"])
def test_it_takes_a_few_steps_and_leaves_a_model(tmp_path: Path, name: str) -> None:
    write_corpus(tmp_path / "text")
    overrides = [
        f"run.folder={tmp_path / 'run'}",
        f"corpus.folder={tmp_path / 'text'}",
        f"corpus.prepared={tmp_path / 'prepared'}",
        "corpus.files=['*.tsv']",
        "corpus.workers=0",
        "tokenizer.vocab_size=400",
        "batching.pairs=4",
        "model.num_layers=1",
        "training.max_steps=2",
        "training.warmup_steps=1",
        "validation.sets=[]",
        "validation.metric=held_out",
        "evaluation.sets=[]",
        "run.device=cpu",
    ]
    config = load_config(ROOT / "configs" / f"{name}.yaml", overrides)
    model = train(config)
    sizes = json.loads((model / "ems.json").read_text(encoding="utf-8"))["architecture"]["encoder"]
    assert sizes["architecture"] == "modern"
    assert (sizes["num_layers"], sizes["hidden_size"]) == (1, config.model.hidden_size)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "train/loss" in record] == [1, 2]
