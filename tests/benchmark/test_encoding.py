"""The benchmark of encoding embeds the same sentences with every implementation."""

from __future__ import annotations

import numpy as np
import pytest

from ems.benchmark import encoding
from ems.benchmark.case import Case
from ems.cli import main
from tests.tiny import ROOT, tiny_overrides, write_corpus

CONFIG = str(ROOT / "configs" / "quickstart.yaml")


@pytest.fixture
def case(tmp_path):
    write_corpus(tmp_path / "text")
    return Case(
        CONFIG,
        tuple(tiny_overrides(tmp_path, "tokenizer.vocab_size=200")),
        (str(tmp_path / "text" / "en-de.tsv"),),
        rounds=1,
    )


@pytest.mark.slow
def test_all_implementations_give_the_same_vectors(case):
    config, workload, sentences = encoding._open(case, 100)
    model = case.model(config, workload).eval()
    ours, plain, theirs = (
        np.asarray(encoding._encode_with(name, model, workload, sentences)())
        for name in ("ems", "plain", "sentence-transformers")
    )
    assert len(ours) == len(sentences) == 100
    np.testing.assert_allclose(plain, ours, atol=1e-5)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.slow
def test_each_implementation_gets_a_line_and_ours_the_ratio(case, monkeypatch):
    monkeypatch.setattr(encoding, "MATRIX", 64)
    ours, plain = encoding.measure_encoding(case, 50, ["plain"])
    assert (ours["case"], plain["case"]) == ("encode ems", "encode plain")
    assert ours["ratio_to_plain"] == pytest.approx(plain["seconds"] / ours["seconds"])
    for record in (ours, plain):
        assert record["sentences_per_second"] == pytest.approx(50 / record["seconds"])
        assert record["peak_bytes"] > 1e8


def test_without_text_there_is_nothing_to_encode(tmp_path, capsys):
    assert main(["benchmark", "encode", "--config", CONFIG, "--set", *tiny_overrides(tmp_path)]) == 2
    assert "give --text FILE" in capsys.readouterr().err
