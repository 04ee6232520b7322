"""Transfer: classifiers that choose on the development set, and how their predictions are scored."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import f1_score

from ems.eval.record import outcome_arrays
from ems.eval.transfer import (
    C_GRID,
    Labelled,
    Predictions,
    accuracy_and_macro_f1,
    mean_over_tests,
    score_predictions,
    train_logistic_regression,
    train_mlp,
)

NUM_CLASSES = 3


def labelled(rows, seed, *, signal=1.0, dimension=5):
    generator = np.random.default_rng(seed)
    labels = generator.integers(NUM_CLASSES, size=rows)
    vectors = generator.standard_normal((rows, dimension)) + signal * np.eye(NUM_CLASSES, dimension)[labels]
    return Labelled(vectors.astype(np.float32), labels.astype(np.int64))


def slow_regression(train, strength, shift, scale):
    """Minimise the stated objective from its definition; returns a function from vectors to logits."""
    vectors = (train.vectors.astype(np.float64) - shift) / scale
    count, dimension = vectors.shape

    def objective(flat):
        weights, biases = flat[:-NUM_CLASSES].reshape(dimension, NUM_CLASSES), flat[-NUM_CLASSES:]
        logits = vectors @ weights + biases
        log_sum = np.log(np.exp(logits).sum(axis=1))
        return strength * (log_sum - logits[np.arange(count), train.labels]).sum() + 0.5 * (weights**2).sum()

    flat = minimize(objective, np.zeros((dimension + 1) * NUM_CLASSES), method="BFGS", options={"gtol": 1e-4}).x
    weights, biases = flat[:-NUM_CLASSES].reshape(dimension, NUM_CLASSES), flat[-NUM_CLASSES:]
    return lambda given: (given.astype(np.float64) - shift) / scale @ weights + biases


def test_logistic_regression_equals_a_slow_reading_and_the_smallest_best_c_is_chosen():
    train, dev, test = (labelled(rows, seed, signal=2.0) for rows, seed in ((40, 1), (10, 2), (50, 3)))
    shift = train.vectors.astype(np.float64).mean(axis=0)
    scale = math.sqrt(((train.vectors - shift) ** 2).sum(axis=1).mean())
    models = {strength: slow_regression(train, strength, shift, scale) for strength in C_GRID}
    accuracies = {
        strength: float((model(dev.vectors).argmax(axis=1) == dev.labels).mean()) for strength, model in models.items()
    }
    best = min(C_GRID, key=lambda strength: (-accuracies[strength], strength))
    assert list(accuracies.values()).count(accuracies[best]) > 1  # else the rule for ties was not put to the test
    found = train_logistic_regression(train, dev, {"test": test.vectors}, num_classes=NUM_CLASSES)
    assert found.selected == [best]
    assert found.dev_accuracy == [pytest.approx(accuracies[best])]
    logits = models[best](test.vectors)
    top = np.sort(logits, axis=1)
    clear = top[:, -1] - top[:, -2] > 0.05
    assert clear.sum() > 40
    np.testing.assert_array_equal(found.predicted["test"][0][clear], logits.argmax(axis=1)[clear])


def test_logistic_regression_does_not_depend_on_the_scale_or_place_of_the_vectors():
    train, dev, test = labelled(40, 1), labelled(30, 2), labelled(50, 3)

    def moved(part):
        return Labelled(part.vectors * 64 + 1000, part.labels)

    plain = train_logistic_regression(train, dev, {"t": test.vectors}, num_classes=NUM_CLASSES)
    other = train_logistic_regression(moved(train), moved(dev), {"t": moved(test).vectors}, num_classes=NUM_CLASSES)
    assert plain.selected == other.selected
    assert (plain.predicted["t"] == other.predicted["t"]).mean() >= 0.98


def test_a_class_without_training_rows_keeps_the_numbers_of_the_others():
    train = Labelled(np.eye(2, 4, dtype=np.float32), np.array([0, 2]))
    found = train_logistic_regression(train, train, {"t": train.vectors}, num_classes=3)
    assert found.predicted["t"].tolist() == [[0, 2]]
    assert found.predicted["t"].dtype == np.int64


def test_logistic_regression_refuses_one_class_only():
    one = Labelled(np.eye(2, dtype=np.float32), np.array([1, 1]))
    with pytest.raises(ValueError, match="of one class"):
        train_logistic_regression(one, one, {}, num_classes=2)


@pytest.mark.parametrize("train_classifier", [train_mlp, train_logistic_regression])
@pytest.mark.parametrize(
    ("vectors", "message"),
    [(np.zeros((2, 4), dtype=np.float32), "have 5 values"), (np.full((2, 5), np.inf, dtype=np.float32), "not finite")],
)
def test_test_sets_are_checked_before_training(train_classifier, vectors, message):
    with pytest.raises(ValueError, match=f"x set: .*{message}"):
        train_classifier(labelled(9, 1), labelled(9, 2), {"x": vectors}, num_classes=NUM_CLASSES)


def test_perceptrons_predict_every_test_set_with_every_seed():
    train, dev = labelled(40, 1, signal=5.0), labelled(20, 2, signal=5.0)
    tests = {name: labelled(rows, rows, signal=5.0).vectors for name, rows in (("de", 11), ("fr", 13))}
    found = train_mlp(train, dev, tests, num_classes=NUM_CLASSES, seeds=(1, 2), epochs=3)
    assert {name: predicted.shape for name, predicted in found.predicted.items()} == {"de": (2, 11), "fr": (2, 13)}
    assert len(found.selected) == len(found.dev_accuracy) == 2
    assert set(found.selected) <= {1, 2, 3}


@settings(deadline=None)
@given(st.integers(2, 6), st.data())
def test_scores_equal_those_of_scikit_learn(num_classes, data):
    size = data.draw(st.integers(1, 30))
    labels = st.lists(st.integers(0, num_classes - 1), min_size=size, max_size=size)
    gold, predicted = np.array(data.draw(labels)), np.array(data.draw(labels))
    accuracy, macro_f1 = accuracy_and_macro_f1(gold, predicted, num_classes)
    assert accuracy == pytest.approx(np.mean([a == b for a, b in zip(gold, predicted, strict=True)]))
    assert macro_f1 == pytest.approx(f1_score(gold, predicted, average="macro", zero_division=0))


def test_macro_f1_counts_the_classes_that_occur_in_either():
    # Class 0: P 1/2, R 1, F1 2/3; class 1: P 0, R 0; class 2 is predicted only: F1 0; class 3 does not count.
    assert accuracy_and_macro_f1(np.array([0, 1, 1]), np.array([0, 0, 2]), 4) == pytest.approx((1 / 3, 2 / 9))


@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [([0, 1], [0], "one length"), ([], [], "one length"), ([0], [2], "from 2 to 2"), ([-1], [0], "from -1")],
)
def test_labels_that_cannot_be_scored_are_refused(gold, predicted, message):
    with pytest.raises(ValueError, match=message):
        accuracy_and_macro_f1(np.array(gold, dtype=np.int64), np.array(predicted, dtype=np.int64), 2)


GOLD = {"de": np.array([0, 1, 1, 0]), "fr": np.array([1, 1])}
TWO_SEEDS = Predictions(
    {"de": np.array([[0, 1, 0, 0], [0, 0, 0, 0]]), "fr": np.array([[0, 1], [1, 1]])}, [3, 4], [0.5, 0.6]
)


def test_scores_are_means_over_seeds_and_outcomes_add_up_to_them():
    scores, outcomes = score_predictions(GOLD, TWO_SEEDS, 2)
    assert scores["de"]["accuracy"] == pytest.approx((0.75 + 0.5) / 2)
    assert scores["de"]["accuracy_sd"] == pytest.approx(np.std([0.75, 0.5], ddof=1))
    seeds = [accuracy_and_macro_f1(GOLD["de"], row, 2)[1] for row in TWO_SEEDS.predicted["de"]]
    assert scores["de"]["macro_f1"] == pytest.approx(np.mean(seeds))
    assert scores["de"]["n"] == 4
    assert outcomes["de"] == {"accuracy": {"score": "2102", "of": 2}}
    for name, row in scores.items():
        score, of = outcome_arrays(outcomes[name]["accuracy"])
        assert score.sum() / of.sum() == pytest.approx(row["accuracy"])


def test_one_seed_has_no_deviation():
    one = Predictions({"fr": np.array([[0, 1]])}, [1.0], [0.5])
    scores, outcomes = score_predictions({"fr": GOLD["fr"]}, one, 2)
    assert "accuracy_sd" not in scores["fr"]
    assert outcomes["fr"]["accuracy"] == {"score": "01", "of": 1}
    assert "accuracy_sd" not in mean_over_tests(["fr"], GOLD, one, scores, 1)


def test_the_deviation_of_a_mean_is_that_of_the_seeds_means():
    scores, _ = score_predictions(GOLD, TWO_SEEDS, 2)
    mean = mean_over_tests(["de", "fr"], GOLD, TWO_SEEDS, scores, 7)
    by_seed = [(0.75 + 0.5) / 2, (0.5 + 1.0) / 2]
    assert mean["accuracy"] == pytest.approx(np.mean(by_seed))
    assert mean["accuracy_sd"] == pytest.approx(np.std(by_seed, ddof=1))
    assert (mean["languages"], mean["of"]) == (2, 7)


def test_more_seeds_than_a_digit_can_count_and_missing_predictions_are_refused():
    ten = Predictions({"fr": np.zeros((10, 2), dtype=np.int64)}, [1] * 10, [0.5] * 10)
    with pytest.raises(ValueError, match="at most 9 seeds"):
        score_predictions({"fr": GOLD["fr"]}, ten, 2)
    with pytest.raises(ValueError, match="no predictions for test set 'it'"):
        score_predictions({"it": GOLD["fr"]}, TWO_SEEDS, 2)
