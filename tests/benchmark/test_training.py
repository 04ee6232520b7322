"""The benchmark of training measures all implementations on the same steps and says what it found."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from ems.benchmark import training
from ems.benchmark.case import Case
from ems.cli import main
from ems.config import load_config
from ems.training.stages import STAGES
from tests.tiny import ROOT, tiny_overrides, write_corpus

CONFIG = str(ROOT / "configs" / "quickstart.yaml")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(training, "MATRIX", 64)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_each_implementation_gets_a_line_and_ours_the_ratios_and_stages(tmp_path, capsys):
    write_corpus(tmp_path / "text")
    text = (str(tmp_path / "text" / "en-de.tsv"),)
    case = Case(CONFIG, tuple(tiny_overrides(tmp_path, "tokenizer.vocab_size=200")), text, rounds=2)
    ours, plain, theirs = training.measure_training(case, ["plain", "sentence-transformers"])
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["case"] for line in printed] == ["train ems", "train plain", "train sentence-transformers"]
    for record in (ours, plain, theirs):
        assert record["pairs_per_second"] == pytest.approx(16 / record["seconds"], rel=1e-6)
        assert record["tokens_per_second"] > record["pairs_per_second"]
        assert 0 < record["matmul_fraction"] < 1
        assert record["peak_bytes"] > 1e8
        assert "en-de.tsv; mean" in record["text"]
    assert ours["ratio_to_plain"] > 0
    assert ours["ratio_to_sentence_transformers"] > 0
    assert sum(ours["stages"].values()) == pytest.approx(1, abs=0.01)
    assert ours["stages"].keys() == {*STAGES, "other"}
    assert min(ours["stages"][name] for name in ("encoder", "backward", "optimizer")) > 0


def test_among_the_tokens_of_the_step_so_many_rows_of_the_output_matrix_count(tmp_path):
    _, workload = Case(CONFIG, tuple(tiny_overrides(tmp_path))).open(2)
    longest = load_config(CONFIG, tiny_overrides(tmp_path)).model.max_tokens
    for number, pairs in enumerate(workload.steps):
        sides = ((pairs.src_tokens, pairs.src_offsets), (pairs.tgt_tokens, pairs.tgt_offsets))
        read = {token for ids, cuts in sides for a, b in pairwise(cuts) for token in ids[a:b][:longest].tolist()}
        for kind, size in {"step": len(read), "all": workload.vocab_size}.items():
            config = load_config(CONFIG, tiny_overrides(tmp_path, f"objective.vocabulary={kind}"))
            assert training._vocabulary_size(workload, number, config) == size
    assert len(read) < workload.vocab_size


def test_a_baseline_that_was_written_badly_makes_ratios_void(monkeypatch, tmp_path):
    case = Case(CONFIG, tuple(tiny_overrides(tmp_path)))
    config, _ = case.open(1)
    assert training._void(case, config, 0.0) == {}
    monkeypatch.setattr(training, "PAPER_WIDTH", 32)
    assert training._void(case, config, 0.24) == {}
    assert "below 0.23" in training._void(case, config, 0.22)["void"]
    assert "below 0.45" in training._void(Case(CONFIG, case.overrides, length=9), config, 0.24)["void"]


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_growth_is_given_from_each_value_to_the_next(tmp_path, capsys):
    grown = ["--grow", "length", "4", "8", "16", "--rounds", "1"]
    assert main(["benchmark", "train", "--config", CONFIG, "--set", *tiny_overrides(tmp_path), *grown]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["case"] == "train, growth with length"
    assert len(lines[-1]["time_exponents"]) == 2
    assert ["4.0 and 4.0" in line["text"] for line in lines[:-1]] == [True, False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grow", "batching.pair", "8", "16"], "unknown key 'pair' in batching; did you mean 'pairs'?"),
        (["--grow", "length", "8"], "name at least two values"),
        (["--grow", "length", "8", "8"], "--grow length: the values must differ, not 8 8"),
        (["--grow", "training.schedule", "linear", "cosine"], "'linear' is not a positive whole number"),
        (["--grow", "length", "8", "x"], "'x' is not a positive whole number"),
        (["--text", "no/such/en-de.tsv"], "--text no/such/en-de.tsv: no such file"),
        (["--text", "."], "--text .: a folder; name the files in it"),
        (["--text", "en-de.tsv", "--length", "5"], "--length is for random ids"),
        (["--text", "en-de.tsv", "--languages", "5"], "--languages is for random ids"),
        (["--text", "en-de.tsv", "--grow", "languages", "2", "3"], "--languages is for random ids"),
        (["--length", "49"], "--length 49 is above model.max_tokens 48"),
        (["--grow", "length", "8", "99"], "--length 99 is above model.max_tokens 48"),
        (["--grow", "model.num_heads", "2", "3"], "num_heads 3 does not divide hidden_size 32"),
        (["--baseline", "sentence-transformers"], "give --text FILE"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(arguments, message, tmp_path, capsys):
    assert main(["benchmark", "train", "--config", CONFIG, "--set", *tiny_overrides(tmp_path), *arguments]) == 2
    told = capsys.readouterr()
    error = told.err.strip().splitlines()
    assert not told.out  # nothing was measured before
    assert message in error[-1]
