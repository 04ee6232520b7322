"""The benchmark of preparing grows a corpus and times preparing it and starting on it."""

from __future__ import annotations

import json

import pytest

from ems.benchmark.preparation import benchmark_preparation
from ems.errors import InputError
from tests.tiny import ROOT


@pytest.mark.slow
def test_sizes_are_prepared_and_started_on_and_growth_is_fitted(capsys):
    shrunk = [
        "corpus.workers=0",
        "tokenizer.vocab_size=200",
        "batching.pairs=8",
        "model.num_layers=1",
        "model.hidden_size=32",
        "model.num_heads=2",
    ]
    small, large = benchmark_preparation(str(ROOT / "configs" / "quickstart.yaml"), shrunk, [400, 1200])
    assert (small["pairs"], large["pairs"]) == (400, 1200)
    for case in (small, large):
        assert case["pairs_per_second"] == pytest.approx(case["pairs"] / case["seconds"])
        assert 0 < case["tokenizer_fraction"] < 2
        assert case["seconds_to_first_step"] > 0
        assert case["pairs_per_second_of_steps"] > 0
        assert 1e8 < case["peak_bytes_of_run"] < 1e10
    growth = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert growth["case"] == "prepare, growth"
    assert growth["pairs"] == "400 to 1200"


def test_a_corpus_that_the_disk_cannot_hold_is_refused_before_it_is_written():
    with pytest.raises(InputError, match=r"--sizes: 99999999999999 pairs need some .* GB, .* has .* GB free"):
        benchmark_preparation(str(ROOT / "configs" / "quickstart.yaml"), [], [300, 99999999999999])
