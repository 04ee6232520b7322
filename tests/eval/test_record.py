"""Records: outcomes that give back the scores, means, and the evidence for a retrieval score."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.eval.record import (
    CONFUSIONS_PER_LANGUAGE,
    NUM_BINS,
    RetrievalEvidence,
    both_outcomes,
    both_ways,
    make_record,
    mean_over,
    outcome,
    outcome_arrays,
)
from ems.mining import mutual_neighbours, unit_rows

digits = st.lists(st.integers(0, 9), min_size=1, max_size=30)


@given(digits, st.integers(1, 9))
def test_outcomes_come_back_as_they_were_given(score, of):
    entry = outcome(score, of)
    assert entry == {"score": "".join(map(str, score)), "of": of}
    numerator, denominator = outcome_arrays(json.loads(json.dumps(entry)))
    assert numerator.tolist() == score
    assert denominator.tolist() == [of] * len(score)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_denominators_may_differ_by_row(rows):
    score, of = map(list, zip(*rows, strict=True))
    numerator, denominator = outcome_arrays(outcome(score, of))
    assert (numerator.tolist(), denominator.tolist()) == (score, of)


@pytest.mark.parametrize("score", [[0, 10], [-1, 2]])
def test_an_outcome_that_is_no_digit_is_refused(score):
    with pytest.raises(ValueError, match="an outcome must be a digit"):
        outcome(score)
    with pytest.raises(ValueError, match="an outcome must be a digit"):
        outcome([1, 1], score)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_outcomes_of_both_directions_sum_to_their_accuracies(rows):
    to_english, from_english = np.array(rows).T
    scores, outcomes = both_ways(to_english, from_english), both_outcomes(to_english, from_english)
    assert list(scores) == list(outcomes) == ["x->en", "en->x", "mean"]
    assert scores["x->en"] == to_english.mean()
    for column, entry in outcomes.items():
        numerator, denominator = outcome_arrays(entry)
        assert numerator.sum() / denominator.sum() == pytest.approx(scores[column], abs=1e-12)


def test_a_mean_is_plain_and_says_how_many_languages_were_asked_for():
    scores = {"de": {"a": 0.5, "errors": 3}, "fr": {"a": 0.25, "errors": 0}, "it": {"a": 1.0, "errors": 9}}
    assert mean_over(["de", "fr"], scores, ["a"], 5) == {"languages": 2, "of": 5, "a": 0.375}
    json.dumps(mean_over(scores, scores, ["a"], 3))


def record_of(**options):
    defaults = {
        "split": "test", "direction": "x->en", "language_set": "chosen", "n": 4, "data_digest": "0" * 16,
        "columns": ["x->en"], "scores": {"de": {"x->en": 0.5}, "fr": {"x->en": 1.0}},
    }  # fmt: skip
    return make_record("task", "protocol", **{**defaults, **options})


def test_a_record_averages_what_it_holds_unless_told():
    assert record_of()["means"] == {"chosen": {"languages": 2, "of": 2, "x->en": 0.75}}
    assert record_of(of=3)["means"] == {"chosen": {"languages": 2, "of": 3, "x->en": 0.75}}
    assert record_of(means={"own": {"x->en": 0.1}})["means"] == {"own": {"x->en": 0.1}}
    assert record_of(scores={})["means"] == {}


def test_a_record_is_json_with_the_entries_that_its_module_lists():
    record = record_of(skipped=[{"language": "it", "reason": "missing"}], thresholds={"de": 1.1})
    assert json.loads(json.dumps(record)) == record
    assert list(record) == [
        "task", "protocol", "split", "direction", "language_set", "margin", "k", "averaging", "higher_is_better", "n",
        "data_digest", "columns", "scores", "means", "skipped", "outcomes", "thresholds",
    ]  # fmt: skip
    assert (record["margin"], record["k"], record["averaging"], record["outcomes"]) == (None, None, "macro", {})


def test_a_record_keeps_no_hold_of_what_it_was_given():
    scores, skipped = {"de": {"x->en": 0.5}}, [{"language": "it", "reason": "missing"}]
    record = record_of(scores=scores, skipped=skipped)
    scores["de"]["x->en"] = 0.0
    skipped[0]["reason"] = "changed"
    assert record["scores"] == {"de": {"x->en": 0.5}}
    assert record["skipped"] == [{"language": "it", "reason": "missing"}]


def evidence_of(source, target, found=None):
    """Add one language "de" whose sentences are named by row."""
    queries, candidates = unit_rows(source), unit_rows(target)
    if found is None:
        found = mutual_neighbours(queries, candidates, 1)[0].nearest()
    evidence = RetrievalEvidence()
    texts = [f"de {row}" for row in range(len(source))], [f"en {row}" for row in range(len(target))]
    evidence.add("de", found, queries, candidates, *texts)
    return evidence


def slow_bins(cosines):
    edges = np.linspace(-1, 1, NUM_BINS + 1)
    return [sum(low <= c < high or (high == 1 and c >= 1) for c in cosines) for low, high in itertools.pairwise(edges)]


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_cosines_are_counted_for_translations_and_for_the_row_half_way_round(n):
    generator = np.random.default_rng(n)
    source, target = generator.standard_normal((2, n, 6))
    evidence = evidence_of(source, target)
    right = [cosine(source[row], target[row]) for row in range(n)]
    others = [cosine(source[row], target[(row + n // 2) % n]) for row in range(n)] if n > 1 else []
    assert evidence.cosines == {"edges": [-1.0, 1.0], "translations": slow_bins(right), "others": slow_bins(others)}


def test_cosines_at_the_ends_have_a_bin():
    evidence = evidence_of([[3.0, 4.0], [1.0, 0.0]], [[3.0, 4.0], [-1.0, 0.0]])
    counts = evidence.cosines["translations"]
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 2)


def test_confusions_are_the_clearest_errors_first():
    generator = np.random.default_rng(0)
    source, target = generator.standard_normal((2, 30, 5))
    evidence = evidence_of(source, target)
    cosines = np.array([[cosine(a, b) for b in target] for a in source])
    gaps = {row: cosines[row].max() - cosines[row, row] for row in range(30) if cosines[row].argmax() != row}
    clearest = sorted(gaps, key=gaps.get, reverse=True)[:CONFUSIONS_PER_LANGUAGE]
    assert [entry["row"] for entry in evidence.confusions] == clearest
    for entry in evidence.confusions:
        row, found = entry["row"], int(cosines[entry["row"]].argmax())
        assert (entry["language"], entry["query"]) == ("de", f"de {row}")
        assert (entry["expected"], entry["found"]) == (f"en {row}", f"en {found}")
        assert entry["cosine_expected"] == pytest.approx(cosines[row, row], abs=1e-4)
        assert entry["cosine_found"] == pytest.approx(cosines[row, found], abs=1e-4)


def test_there_may_be_more_targets_than_sources_and_repeated_ones():
    source = np.eye(3)
    target = np.concatenate([np.eye(3), np.eye(3)[:2] * 2, [[0.0, 1.0, 1.0]]])
    evidence = evidence_of(source, target, found=np.array([0, 1, 5]))
    assert evidence.cosines["translations"][-1] == 3
    assert [(entry["row"], entry["found"]) for entry in evidence.confusions] == [(2, "en 5")]
    assert evidence.confusions[0]["cosine_found"] == pytest.approx(0.7071)


def test_without_errors_there_are_no_confusions_and_languages_add_up():
    evidence = evidence_of(np.eye(4), np.eye(4))
    rows = unit_rows(np.eye(4))
    evidence.add("fr", np.arange(4), rows, rows, list("abcd"), list("efgh"))
    assert evidence.confusions == []
    assert sum(evidence.cosines["translations"]) == 8
    json.dumps(record_of(evidence=evidence)["cosines"])


def test_a_record_shows_its_evidence_only_where_there_is_some():
    assert "cosines" not in record_of()
    record = record_of(evidence=evidence_of(np.eye(3), np.eye(3)[[1, 0, 2]]))
    assert [entry["row"] for entry in record["confusions"]] == [0, 1]
    assert json.loads(json.dumps(record)) == record
