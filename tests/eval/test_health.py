"""Alignment, uniformity, hubs and the language probe against slow readings of their definitions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ems.errors import InputError
from ems.eval.benchmarks.health import evaluate_health
from ems.eval.health import alignment, language_identity, occurrences, uniformity
from ems.eval.results_file import read_results
from ems.eval.suite import run_suite

RNG = np.random.default_rng(0)


def units(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_alignment_is_the_mean_squared_distance_of_unit_vectors() -> None:
    source, target = RNG.normal(size=(7, 4)), RNG.normal(size=(7, 4))
    slow = np.mean([sum((a - b) ** 2) for a, b in zip(units(source), units(target), strict=True)])
    assert alignment(source, 3 * target) == pytest.approx(slow, rel=1e-6)
    assert alignment(source, source) == pytest.approx(0, abs=1e-12)
    assert alignment(source, -source) == pytest.approx(4, rel=1e-6)


def test_uniformity_is_the_log_mean_kernel_over_pairs_of_different_rows() -> None:
    rows = RNG.normal(size=(9, 5))
    sphere = units(rows)
    kernels = [math.exp(-2 * float(((sphere[i] - sphere[j]) ** 2).sum())) for i in range(9) for j in range(9) if i != j]
    assert uniformity(rows) == pytest.approx(math.log(np.mean(kernels)), rel=1e-5)
    assert uniformity(np.ones((4, 3))) == pytest.approx(0, abs=1e-6)
    assert uniformity(RNG.normal(size=(500, 300))) == pytest.approx(-4, abs=0.05)


def test_occurrences_count_how_often_a_target_is_among_the_nearest() -> None:
    source, target = RNG.normal(size=(30, 4)), RNG.normal(size=(20, 4))
    slow = np.zeros(20, dtype=int)
    for query in units(source):
        slow[np.argsort(-(units(target) @ query))[:3]] += 1
    assert occurrences(source, target, k=3).tolist() == slow.tolist()
    assert occurrences(source, target[:2], k=10).tolist() == [30, 30]


def test_a_hub_is_found_by_all_and_leaves_the_others_unfound() -> None:
    source = np.abs(RNG.normal(size=(50, 6)))
    target = np.vstack([np.ones((1, 6)), -np.abs(RNG.normal(size=(9, 6)))])
    counts = occurrences(source, target, k=1)
    assert counts[0] == 50
    assert not counts[1:].any()


def test_the_probe_knows_languages_that_lie_apart_and_guesses_where_they_do_not() -> None:
    meaning = RNG.normal(size=(400, 16))
    noise = {name: meaning + 0.01 * RNG.normal(size=(400, 16)) for name in "abcd"}
    assert np.mean([*language_identity(noise).values()]) < 0.35
    shifted = {name: rows + 3 * np.eye(16)[i] for i, (name, rows) in enumerate(noise.items())}
    assert min(language_identity(shifted).values()) > 0.8


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda: alignment(np.ones((2, 3)), np.ones((3, 3))), "must have one shape"),
        (lambda: uniformity(np.ones((1, 3))), "at least two rows"),
        (lambda: language_identity({"a": np.ones((4, 3))}), "at least two languages"),
        (lambda: language_identity({"a": np.ones((1, 3)), "b": np.ones((4, 3))}), "at least two languages"),
        (lambda: uniformity(np.full((3, 3), np.nan)), "finite"),
    ],
)
def test_arrays_that_cannot_be_judged_are_refused(call, wanted: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=wanted):
        call()


class Shifted:
    """The same random vector for a row in every language, moved by language."""

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def encode(self, sentences: list[str]) -> np.ndarray:
        rows = []
        for sentence in sentences:
            language, number = sentence.split()
            vector = np.random.default_rng(int(number)).normal(size=24)
            vector[len(language) % 3] += self.shift * 4
            rows.append(vector)
        return np.array(rows, dtype=np.float32)


def write_flores(data_folder: Path) -> None:
    folder = data_folder / "flores" / "devtest"
    folder.mkdir(parents=True)
    for code, name in (("eng_Latn", "e"), ("deu_Latn", "dd"), ("fra_Latn", "fff")):
        (folder / f"{code}.devtest").write_text("".join(f"{name} {i}\n" for i in range(60)), encoding="utf-8")


def test_the_benchmark_scores_each_language_against_english(tmp_path: Path) -> None:
    write_flores(tmp_path)
    (same,), (apart,) = (evaluate_health(Shifted(shift), tmp_path, languages=["de", "fr"]) for shift in (0.0, 1.0))
    assert set(same["scores"]) == {"de", "fr"}
    for language in ("de", "fr"):
        assert same["scores"][language]["alignment"] == pytest.approx(0, abs=1e-9)
        assert same["scores"][language]["hubs"] < 0.1
        assert apart["scores"][language]["alignment"] > 0.3
        assert apart["scores"][language]["language identity"] > same["scores"][language]["language identity"]
    with pytest.raises(InputError, match="no FLORES files"):
        evaluate_health(Shifted(0.0), tmp_path / "flores" / "nowhere")


def test_tokens_over_english_are_reported_of_encoders_that_count_them(tmp_path: Path) -> None:
    class Spelling(Shifted):
        def count_tokens(self, sentences: list[str]) -> list[int]:
            return [len(sentence.split()[0]) for sentence in sentences]  # e, dd, fff

    write_flores(tmp_path)
    (plain,) = evaluate_health(Shifted(0.0), tmp_path, languages=["de", "fr"])
    (counted,) = evaluate_health(Spelling(0.0), tmp_path, languages=["de", "fr"])
    assert "tokens" not in plain["columns"]
    assert counted["columns"][-1] == "tokens"
    assert {language: row["tokens"] for language, row in counted["scores"].items()} == {"de": 2.0, "fr": 3.0}
    assert counted["means"]["chosen"]["tokens"] == 2.5


def test_results_with_a_negative_uniformity_are_read_back_and_compared(tmp_path: Path) -> None:
    write_flores(tmp_path)
    results = [run_suite(Shifted(0.0), tmp_path, ["health"], output=tmp_path / name) for name in ("old", "new")]
    assert results[0]["encoders"][0]["records"][0]["scores"]["de"]["uniformity"] < 0
    assert read_results(tmp_path / "old" / "results.json") == results[0]


def test_a_single_sentence_is_no_space_to_judge(tmp_path: Path) -> None:
    folder = tmp_path / "flores" / "devtest"
    folder.mkdir(parents=True)
    for code in ("eng_Latn", "deu_Latn"):
        (folder / f"{code}.devtest").write_text("e 1\n")
    with pytest.raises(InputError, match="devtest: needs at least two sentences a language"):
        evaluate_health(Shifted(0.0), tmp_path)
