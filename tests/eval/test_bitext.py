"""The threshold scan and BUCC's handling of duplicates, on the protocol's worked examples."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.eval.bitext import (
    bucc_candidates,
    highest_scores,
    pair_counts,
    scan_threshold,
    score_at_threshold,
    unambiguous_ids,
    unify,
)
from tests.eval.bucc_corpora import SCANS_BY_HAND


def parsed(candidates):
    """'a1:1.3 b2:1.2' -> [(1.3, 'a', 1), ...]"""
    return [(float(score), pair[0], int(pair[1])) for pair, score in (c.split(":") for c in candidates.split())]


def gold_pairs(pairs):
    return {(pair[0], int(pair[1])) for pair in pairs.split()}


@pytest.mark.parametrize(
    ("candidates", "gold", "threshold", "precision", "recall", "f1"),
    [*SCANS_BY_HAND, ("e5:1.0 a1:1.3 d9:1.05 b2:1.2 f8:0.9 c3:1.1", "a1 b2 c3 e5 g7", 0.95, 0.8, 0.8, 0.8)],
)
def test_scan_worked_by_hand(candidates, gold, threshold, precision, recall, f1):
    found = scan_threshold(parsed(candidates), gold_pairs(gold))
    assert (found.threshold, found.precision, found.recall, found.f1) == pytest.approx(
        (threshold, precision, recall, f1)
    )
    assert not found.at_last_candidate


def test_best_at_the_last_candidate_takes_its_score_and_says_so():
    found = scan_threshold(parsed("a1:1.3 b2:1.1"), gold_pairs("a1 b2"))
    assert (found.threshold, found.f1, found.at_last_candidate) == (1.1, 1.0, True)
    alone = scan_threshold(parsed("a1:-0.5"), gold_pairs("a1"))
    assert (alone.threshold, alone.f1, alone.at_last_candidate) == (-0.5, 1.0, True)


def test_a_pair_seen_twice_counts_once_with_its_highest_score():
    candidates = parsed("a1:1.0 b9:1.2 a1:1.3 b9:0.1 c8:0.5")
    assert list(highest_scores(candidates).items()) == [(("a", 1), 1.3), (("b", 9), 1.2), (("c", 8), 0.5)]
    found = scan_threshold(candidates, gold_pairs("a1"))
    assert (found.threshold, found.precision, found.recall) == (1.25, 1, 1)


def test_of_equal_scores_the_order_given_decides_what_the_scan_sees_first():
    gold = gold_pairs("a1")
    right_first = scan_threshold(parsed("a1:1.0 b9:1.0 c9:0.5"), gold)
    wrong_first = scan_threshold(parsed("b9:1.0 a1:1.0 c9:0.5"), gold)
    assert (right_first.threshold, wrong_first.threshold) == (1.0, 0.75)
    assert right_first.f1 == wrong_first.f1 == pytest.approx(2 / 3)  # recomputed on both candidates


def test_of_equal_f1_the_higher_threshold_stays_whatever_the_rounding():
    # F1 is 2/3 after five candidates (2 * 3 / (5 + 4)) and again after eight (2 * 4 / (8 + 4)).
    candidates = parsed("a3:1.3 a1:1.2 a2:1.1 b2:1.0 b3:0.9 c1:0.8 c2:0.7 b1:0.6")
    found = scan_threshold(candidates, gold_pairs("a1 a2 b1 b3"))
    assert (found.threshold, found.at_last_candidate) == (pytest.approx(0.85), False)
    assert (found.precision, found.recall, found.f1) == pytest.approx((0.6, 0.75, 2 / 3))


def test_nothing_to_find_gives_zeros():
    for candidates, gold in (("", "a1"), ("a1:1.0", ""), ("", "")):
        found = scan_threshold(parsed(candidates), gold_pairs(gold))
        assert (found.threshold, found.precision, found.recall, found.f1) == (0, 0, 0, 0)


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="the score of 'a' and 1 is not a number"):
        scan_threshold(parsed("a1:nan"), gold_pairs("a1"))


def test_a_threshold_from_elsewhere_is_applied_unchanged():
    candidates = parsed("a1:1.3 b2:1.2 c9:1.1")
    found = score_at_threshold(candidates, gold_pairs("a1 b2 d4"), 1.2)
    assert (found.threshold, found.precision, found.recall) == (1.2, 1, pytest.approx(2 / 3))
    assert score_at_threshold(candidates, gold_pairs("a1"), 9.0).f1 == 0


scored = st.lists(st.tuples(st.integers(-3, 3).map(float), st.sampled_from("abc"), st.integers(1, 3)), max_size=12)


@given(scored, st.sets(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), max_size=6))
def test_scan_equals_exhaustive_search_in_fractions(candidates, gold):
    best: dict = {}
    for score, *pair in candidates:
        best[tuple(pair)] = max(score, best.get(tuple(pair), score))
    ranked = sorted(best.items(), key=lambda item: -item[1])
    top, threshold = Fraction(0), 0.0
    for taken in range(1, len(ranked) + 1):
        correct = len({pair for pair, _ in ranked[:taken]} & gold)
        # 2 P R / (P + R) with P = correct / taken and R = correct / |gold|
        f1 = Fraction(2 * correct, taken + len(gold)) if correct else Fraction(0)
        if f1 > top:
            top = f1
            threshold = (ranked[taken - 1][1] + ranked[taken][1]) / 2 if taken < len(ranked) else ranked[-1][1]
    taken_pairs = {pair for pair, score in ranked if score >= threshold}
    correct = len(taken_pairs & gold) if top else 0
    found = scan_threshold(candidates, gold)
    assert found.threshold == threshold
    assert found.precision == pytest.approx(correct / len(taken_pairs) if correct else 0)
    assert found.recall == pytest.approx(correct / len(gold) if correct else 0)
    assert found.f1 == pytest.approx(2 * correct / (len(taken_pairs) + len(gold)) if correct else 0)


@given(
    scored, st.sets(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), min_size=1, max_size=6), st.integers(-3, 3)
)
def test_counts_by_sentence_add_up_to_the_scores(candidates, gold, threshold):
    right, wrong, missed = pair_counts(candidates, gold, threshold, "zabc")
    found = score_at_threshold(candidates, gold, threshold)
    taken = {(source, target) for score, source, target in candidates if score >= threshold}
    assert (right.sum(), wrong.sum(), missed.sum()) == (len(taken & gold), len(taken - gold), len(gold - taken))
    assert 2 * right.sum() / (2 * right.sum() + wrong.sum() + missed.sum()) == pytest.approx(found.f1)
    for row, source in enumerate("zabc"):
        assert missed[row] == len([pair for pair in gold - taken if pair[0] == source])
        assert wrong[row] == len([pair for pair in taken - gold if pair[0] == source])


def test_unify_keeps_the_first_place_and_the_last_row():
    assert unify(["b", "a", "b", "a ", "b"]).tolist() == [4, 1, 3]
    assert unify([]).tolist() == []


def test_sentences_that_occur_twice_have_no_id():
    names = unambiguous_ids(["de-1", "de-2", "de-3", "de-4"], ["eins", "zwei ", " zwei", "drei"])
    assert names == {"eins": "de-1", "drei": "de-4"}
    with pytest.raises(ValueError, match="longer"):
        unambiguous_ids(["de-1"], ["eins", "zwei"])


def test_bucc_candidates_unify_duplicates_and_cannot_name_them():
    axes = np.eye(5)
    found = bucc_candidates(
        np.stack([axes[0], axes[4], axes[2], axes[1]]),
        axes[:3],
        source_ids=["s1", "s2", "s3", "s4"],
        source_sentences=["eins", "zwei", "drei", "zwei"],  # "zwei" has the embedding of row 3
        target_ids=["t1", "t2", "t3"],
        target_sentences=["one", "two", "three"],
        margin="absolute",
        threshold=0.5,
    )
    assert found == [(1.0, "s1", "t1"), (1.0, "s3", "t3")]


def test_bucc_candidates_refuse_missing_sentences():
    with pytest.raises(ValueError, match="2 target embeddings, but 1 target sentences"):
        bucc_candidates(
            np.eye(2),
            np.eye(2),
            source_ids=["s1", "s2"],
            source_sentences=["a", "b"],
            target_ids=["t1"],
            target_sentences=["a"],
        )


@pytest.mark.data
def test_scan_equals_the_field_s_program(golden_folder):
    for case in json.loads((golden_folder / "eval" / "threshold_cases.json").read_text("utf-8")):
        candidates = [(score, *pair.split("|")) for pair, score in case["candidates"]]
        found = scan_threshold(candidates, {tuple(pair.split("|")) for pair in case["gold"]})
        assert found.at_last_candidate == ("error" in case)
        if "error" not in case:
            for name in ("threshold", "precision", "recall", "f1"):
                assert getattr(found, name) == pytest.approx(case[name], abs=1e-12), case["name"]


@pytest.mark.data
def test_bucc_scores_equal_the_field_s_program(golden_folder):
    arrays = np.load(golden_folder / "eval" / "mining_clean.npz")
    record = json.loads((golden_folder / "eval" / "mining_clean.json").read_text("utf-8"))
    gold = {tuple(line.split("\t")) for line in record["gold"]}
    for name, expected in record["bucc"].items():
        margin, strategy = name.split("/")
        candidates = bucc_candidates(
            arrays["src"],
            arrays["tgt"],
            source_ids=record["src_id"],
            source_sentences=record["src_text"],
            target_ids=record["tgt_id"],
            target_sentences=record["tgt_text"],
            margin=margin,
            strategy=strategy,
        )
        found = scan_threshold(candidates, gold)
        assert found.threshold == pytest.approx(expected["threshold"], abs=2e-6)
        for score in ("precision", "recall", "f1"):
            assert 100 * getattr(found, score) == pytest.approx(expected[score], abs=1e-9), name
