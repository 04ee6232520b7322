"""Retrieval metrics against brute force and examples worked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.eval.retrieval import (
    accuracy,
    bitext_f1,
    bitext_metrics,
    check_margin,
    retrieval_accuracy,
    xsim_error_rate,
    xsimpp_error_rate,
)
from ems.mining import MARGINS, mine_bitext


@pytest.mark.parametrize(
    ("gold", "predicted", "precision", "recall", "f1"),
    [
        ([0, 1, 2, 3], [0, 0, 0, 3], 1 / 3, 0.5, 0.375),
        ([0, 1, 2, 3, 4], [7, 8, 2, 2, 4], 0.3, 0.4, 1 / 3),
        ([3, 3, 1, 0], [3, 1, 1, 0], 0.875, 0.75, 0.75),
        ([0, 1, 2], [5, 5, 5], 0, 0, 0),
        ([0, 1, 2], [0, 1, 2], 1, 1, 1),
        ([0], [0], 1, 1, 1),
    ],
)
def test_bitext_metrics_worked_by_hand(gold, predicted, precision, recall, f1):
    assert bitext_metrics(gold, predicted) == pytest.approx(
        {"precision": precision, "recall": recall, "f1": f1, "accuracy": recall}
    )


labels = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=40)


@given(labels)
def test_bitext_metrics_equal_a_sum_over_classes(pairs):
    expected = {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    for c in {label for pair in pairs for label in pair}:
        both = sum(g == p == c for g, p in pairs)
        of_gold, of_predicted = sum(g == c for g, _ in pairs), sum(p == c for _, p in pairs)
        precision = both / of_predicted if of_predicted else 0
        recall = both / of_gold if of_gold else 0
        f1 = 2 * precision * recall / (precision + recall) if both else 0
        for name, value in (("precision", precision), ("recall", recall), ("f1", f1)):
            expected[name] += value * of_gold / len(pairs)
    expected["accuracy"] = sum(g == p for g, p in pairs) / len(pairs)
    gold, predicted = zip(*pairs, strict=True)
    found = bitext_metrics(gold, predicted)
    assert found == pytest.approx(expected)
    assert found["recall"] == pytest.approx(found["accuracy"])


@given(st.lists(st.integers(0, 9), min_size=10, max_size=10))
def test_with_each_gold_row_used_once_f1_is_two_over_one_plus_the_hub_size(predicted):
    gold = range(10)
    expected = sum(2 / (1 + predicted.count(g)) for g, p in zip(gold, predicted, strict=True) if g == p) / 10
    assert bitext_metrics(list(gold), predicted)["f1"] == pytest.approx(expected)


def test_bitext_metrics_refuse_unequal_and_empty_lists():
    for gold, predicted in (([0, 1], [0]), ([], []), ([[0]], [[0]])):
        with pytest.raises(ValueError, match="lists of one length"):
            bitext_metrics(gold, predicted)


@pytest.mark.parametrize("wrong", [[0.0, float("nan")], [0.0, 1.0], ["0", "1"], [None, 1], [True, False]])
def test_bitext_metrics_refuse_what_is_no_integer(wrong):
    with pytest.raises(ValueError, match="predicted must hold integers, not "):
        bitext_metrics([0, 1], wrong)
    with pytest.raises(ValueError, match="gold must hold integers, not "):
        bitext_metrics(wrong, [0, 1])


def test_no_rows_have_no_accuracy():
    assert accuracy(np.array([0, 0])) == 0.5
    with pytest.raises(ValueError, match="accuracy of no rows"):
        accuracy(np.array([], dtype=np.int64))


@pytest.mark.parametrize("entry", [{"errtype": "number"}, {"src": "a"}, {"src": 1, "errtype": "number"}, "number"])
def test_xsimpp_refuses_an_altered_sentence_of_unknown_origin(entry):
    with pytest.raises(ValueError, match="'src', a text, and 'errtype' for every altered sentence, but 'b' has "):
        xsimpp_error_rate(np.eye(2)[:1], np.eye(2), target_texts=["a", "b"], errtypes={"b": entry})


def test_accuracy_has_a_direction():
    hub = np.array([[1.0, 0.0], [1.0, 0.2]])
    spread = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert (retrieval_accuracy(hub, spread), retrieval_accuracy(spread, hub)) == (0.5, 1.0)
    assert bitext_f1(hub, spread) == pytest.approx(1 / 3)  # one right answer, drawn by two queries: 2 / 3 / 2


def test_of_equal_candidates_the_lowest_row_counts():
    rows = np.repeat(np.random.default_rng(0).standard_normal((5, 33)), 2, axis=0)
    assert retrieval_accuracy(rows, rows) == 0.5


def test_scale_of_the_embeddings_does_not_matter():
    generator = np.random.default_rng(0)
    source = generator.standard_normal((40, 6))
    target = source + 0.8 * generator.standard_normal((40, 6))
    scaled = target * generator.uniform(0.1, 10, (40, 1))
    assert retrieval_accuracy(source, scaled) == retrieval_accuracy(source, target)
    assert bitext_f1(source, scaled) == pytest.approx(bitext_f1(source, target))
    assert xsim_error_rate(source, scaled) == xsim_error_rate(source, target)


@pytest.mark.parametrize("margin", MARGINS)
def test_xsim_counts_the_winners_of_forward_mining_that_are_wrong(margin):
    generator = np.random.default_rng(0)
    source = generator.standard_normal((50, 8))
    target = source + 1.2 * generator.standard_normal((50, 8))
    winners = mine_bitext(source, target, margin=margin, strategy="fwd")[2]
    expected = (winners != np.arange(50)).mean()
    assert 0 < expected < 1
    assert xsim_error_rate(source, target, margin=margin) == expected
    assert xsim_error_rate(source, target, margin=margin, target_texts=[f"{i}" for i in range(50)]) == expected


def test_xsim_compares_text_when_given_and_rows_otherwise():
    target = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.7, -0.7]])
    texts = ["same", "other", "same", "same "]
    assert xsim_error_rate(target, target, target_texts=texts) == 0
    assert xsim_error_rate(target, target) == 0.25  # rows 0 and 2 tie, and one of them wins for both
    moved = target[[3, 1, 2, 0]]
    assert xsim_error_rate(moved, target, target_texts=texts) == 0.5  # a space makes another text


def test_xsim_of_fewer_rows_than_k():
    source = np.array([[1.0, 0.1], [0.1, 1.0]])
    for margin in MARGINS:
        assert xsim_error_rate(source, np.eye(2), margin=margin) == 0
        assert xsim_error_rate(source, np.eye(2)[::-1], margin=margin) == 1


def test_xsim_with_the_absolute_margin_is_the_nearest_neighbour_error():
    rows = np.repeat(np.random.default_rng(0).standard_normal((5, 33)), 2, axis=0)
    assert xsim_error_rate(rows, rows, margin="absolute") == 1 - retrieval_accuracy(rows, rows)


ERRTYPES = {
    "He has 4 cats.": {"src": "He has 3 cats.", "errtype": "number_replacement"},
    "She has 3 cats.": {"src": "He has 3 cats.", "errtype": "entity_mention_replacement"},
}


def test_xsimpp_names_what_misled_the_encoder():
    texts = ["He has 3 cats.", "It rains.", "He has 4 cats.\n", "She has 3 cats."]
    target = np.eye(4)
    right = xsimpp_error_rate(target[[0, 1]], target, target_texts=texts, errtypes=ERRTYPES)
    assert (right.error_rate, right.errors, right.by_type) == (0.0, 0, {})
    number = xsimpp_error_rate(target[[2, 1]], target, target_texts=texts, errtypes=ERRTYPES)
    assert (number.error_rate, number.errors, number.by_type) == (0.5, 1, {"number_replacement": 1})
    # An alteration of another sentence, and an original, are misalignments.
    swapped = xsimpp_error_rate(target[[1, 3]], target, target_texts=texts, errtypes=ERRTYPES)
    assert (swapped.error_rate, swapped.by_type) == (1.0, {"Misaligned": 2})


def test_xsimpp_takes_an_altered_line_with_the_original_text_as_right():
    target = np.eye(3)
    result = xsimpp_error_rate(target[[2, 1]], target, target_texts=["a", "b", "a"], errtypes={})
    assert result.errors == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieval_accuracy(np.eye(3), np.eye(3)[:2]), "3 sources and 2 targets"),
        (lambda: bitext_f1(np.eye(3), np.eye(3)[:2]), "3 sources and 2 targets"),
        (lambda: xsim_error_rate(np.eye(3), np.eye(3)[:2]), "3 sources and 2 targets"),
        (lambda: xsim_error_rate(np.eye(3), np.eye(3), target_texts=["a"]), "3 targets, but 1 target texts"),
        (lambda: xsim_error_rate(np.eye(3), np.eye(3), margin="distanse"), "did you mean 'distance'"),
        (lambda: xsim_error_rate(np.eye(3), np.eye(3), margin="absolute", k=0), "k must be at least 1"),
        (lambda: retrieval_accuracy(np.eye(3), np.full((3, 3), np.nan)), "target must be finite"),
        (
            lambda: xsimpp_error_rate(np.eye(3), np.eye(3), target_texts=list("abc"), errtypes={}),
            "3 sources and 3 targets",
        ),
        (
            lambda: xsimpp_error_rate(np.eye(3)[:2], np.eye(3), target_texts=["a"], errtypes={}),
            "3 targets, but 1 target texts",
        ),
    ],
)
def test_unusable_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("margin", "k", "message"), [("ration", 4, "did you mean 'ratio'"), ("ratio", 0, "k must be")])
def test_margin_and_k_are_checked_before_the_embeddings(margin, k, message):
    unusable = np.full((3, 2), np.nan)
    with pytest.raises(ValueError, match=message):
        xsim_error_rate(unusable, unusable, margin=margin, k=k)
    with pytest.raises(ValueError, match=message):
        xsimpp_error_rate(unusable, unusable, target_texts=[], errtypes={}, margin=margin, k=k)
    with pytest.raises(TypeError, match="integer"):
        check_margin("ratio", 4.0)


@pytest.mark.data
def test_metrics_equal_the_field_s_programs(golden_folder):
    for case in json.loads((golden_folder / "eval" / "mteb_metric_only.json").read_text("utf-8")):
        expected = {name: case[name] for name in ("precision", "recall", "f1", "accuracy")}
        assert bitext_metrics(case["labels"], case["predictions"]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.data
def test_parallel_scores_equal_the_field_s_programs(golden_folder):
    arrays = np.load(golden_folder / "eval" / "parallel_clean.npz")
    record = json.loads((golden_folder / "eval" / "parallel_clean.json").read_text("utf-8"))
    sides = {
        "src2tgt": (arrays["src"], arrays["tgt"], record["tgt_text"]),
        "tgt2src": (arrays["tgt"], arrays["src"], record["src_text"]),
    }
    for name, expected in record["xsim"].items():
        direction, _, margin = name.partition("/")
        source, target, texts = sides[direction]
        assert xsim_error_rate(source, target, margin=margin) * 50 == pytest.approx(expected["index_errors"])
        by_text = xsim_error_rate(source, target, margin=margin, target_texts=texts)
        assert by_text * 50 == pytest.approx(expected["text_errors"])
    for direction, (source, target, _) in sides.items():
        found = mine_bitext(source, target, margin="absolute", strategy="fwd")[2]
        np.testing.assert_array_equal(found, arrays[f"mteb_{direction}_nn"])
        metrics = record["mteb"][direction]
        assert bitext_f1(source, target) == pytest.approx(metrics["f1"], abs=1e-9)
        assert retrieval_accuracy(source, target) == pytest.approx(metrics["accuracy"], abs=1e-9)


@pytest.mark.data
def test_xsimpp_equals_the_field_s_program(golden_folder):
    arrays = np.load(golden_folder / "eval" / "xsimpp.npz")
    record = json.loads((golden_folder / "eval" / "xsimpp.json").read_text("utf-8"))
    errtypes = json.loads((golden_folder / "eval" / "xsimpp_errtype.json").read_text("utf-8"))
    for margin, expected in record["xsimpp"].items():
        result = xsimpp_error_rate(
            arrays["src"], arrays["tgt"], target_texts=record["tgt_text"], errtypes=errtypes, margin=margin
        )
        assert (result.errors, result.by_type) == (expected["errors"], expected["by_type"])
        assert result.error_rate * 100 == pytest.approx(expected["error_rate"])
        originals = arrays["tgt"][: len(arrays["src"])]
        plain = xsim_error_rate(arrays["src"], originals, margin=margin)
        assert plain * 30 == pytest.approx(record["xsim_plain"][margin]["errors"])
