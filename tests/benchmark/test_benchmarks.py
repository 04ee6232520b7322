"""The benchmarks measure what they say, on the smallest sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ems.benchmark import transfer
from ems.benchmark.mining import SIMILARITY, benchmark_mining, planted_pairs
from ems.benchmark.scoring import benchmark_scoring
from ems.cli import main
from ems.errors import InputError
from tests.eval.test_flores import write_split


def test_half_of_the_random_sentences_have_a_translation_at_the_stated_cosine():
    source, target, target_of = planted_pairs(400, 256)
    planted = np.flatnonzero(target_of >= 0)
    assert len(planted) == 200
    assert len(set(target_of[planted].tolist())) == 200
    cosines = np.einsum("nd,nd->n", source[planted], target[target_of[planted]])
    norms = np.linalg.norm(target[target_of[planted]], axis=1)
    # The noise is random, not orthogonal: its cosine with the source deviates by 1 / sqrt(256).
    np.testing.assert_allclose(cosines / norms, SIMILARITY, atol=0.2)
    assert abs(float((cosines / norms).mean()) - SIMILARITY) < 0.02


@pytest.mark.slow
def test_both_searches_find_the_planted_translations_and_growth_is_fitted(capsys):
    cases = benchmark_mining([300, 600], 64, ["exact", "approximate"])
    assert [(case["case"], case["sentences"]) for case in cases] == [
        ("mine exact", 300),
        ("mine exact", 600),
        ("mine approximate", 300),
        ("mine approximate", 600),
    ]
    for case in cases:
        assert case["recall"] > 0.9
        assert case["seconds"] > 0
        assert case["peak_bytes"] > case["vector_bytes"] == 2 * case["sentences"] * 64 * 4
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["case"] for line in printed if "growth" in line["case"]] == [
        "mine exact, growth",
        "mine approximate, growth",
    ]


def test_unusable_sizes_and_searches_are_refused():
    with pytest.raises(InputError, match="unknown search 'fast'"):
        benchmark_mining([10], 4, ["fast"])
    with pytest.raises(InputError, match="at least 2"):
        benchmark_mining([1], 4, ["exact"])
    with pytest.raises(InputError, match="--sizes: the values must differ, not 5 5"):
        benchmark_mining([5, 5], 4, ["exact"])


def test_scoring_counts_the_language_pairs_of_both_test_sets(tmp_path, capsys):
    write_split(tmp_path / "flores" / "devtest")  # four languages: 3 with English, 6 pairs
    (tmp_path / "tatoeba").mkdir()
    for side in ("deu", "eng"):
        lines = "".join(f"{side} {row}\n" for row in range(20))
        (tmp_path / "tatoeba" / f"tatoeba.deu-eng.{side}").write_text(lines)
    (case,) = benchmark_scoring(tmp_path, [8], repeats=1)
    assert case["language_pairs"] == 1 + 3 + 6
    assert case["ratio_to_products"] == pytest.approx(case["seconds"] / case["product_seconds"])
    assert json.loads(capsys.readouterr().out)["dimension"] == 8


def test_transfer_trains_all_languages_and_seeds(monkeypatch, capsys):
    monkeypatch.setattr(transfer, "ROWS", 24)
    monkeypatch.setattr(transfer, "train_mlps", lambda sets, num_classes: [len(sets), num_classes])
    (case,) = transfer.benchmark_transfer([4])
    assert (case["models"], case["epochs"], case["dimension"]) == (40, 500, 4)
    assert json.loads(capsys.readouterr().out)["case"] == "transfer"


def test_the_command_refuses_what_it_does_not_know(capsys):
    assert main(["benchmark", "mine", "--sizes", "10", "--search", "fast"]) == 2
    assert "unknown search 'fast'" in capsys.readouterr().err
