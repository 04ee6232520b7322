"""Train small classifiers on frozen sentence embeddings, and score them in other languages than they were trained in.

In here: LASER's multilayer perceptron (`ems.eval.perceptron` trains it), multinomial logistic regression, accuracy and
macro-F1. Arrays only; text and files are the business of `ems.eval.benchmarks`.

Shape letters: S seeds, N rows, D dimension, C classes.

Example:
    >>> import numpy as np
    >>> from ems.eval.transfer import Labelled, train_logistic_regression
    >>> english = Labelled(np.eye(2, dtype=np.float32), np.array([0, 1]))
    >>> german = np.array([[0.1, 0.9], [0.8, 0.2]], dtype=np.float32)
    >>> train_logistic_regression(english, english, {"de": german}, num_classes=2).predicted["de"].tolist()
    [[1, 0]]
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ems.eval.perceptron import EPOCHS, SEEDS, Labelled, Perceptrons, check_sets, check_vectors, train_mlps
from ems.eval.record import Outcome, mean_over, outcome
from ems.mining import Floats, Index

__all__ = [
    "EPOCHS",
    "SEEDS",
    "Labelled",
    "Predictions",
    "accuracy_and_macro_f1",
    "columns_of",
    "mean_over_tests",
    "perceptron_words",
    "predict_tests",
    "score_predictions",
    "train_logistic_regression",
    "train_mlp",
    "train_mlps",
]

logger = logging.getLogger(__name__)

# Of logistic regression: the inverse strength of the penalty, for vectors whose root mean square norm is 1.
C_GRID = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
MAX_ITERATIONS = 5000
TOLERANCE = 1e-7  # of the gradient: with the usual 1e-4 the number of threads changed scores by half a point


@dataclass(frozen=True)
class Predictions:
    """Hold what classifiers made of test sets.

    Attributes:
        predicted: by name of the test set, int64 (S, N): the class each of S seeds gave each row; S is 1 where nothing
            is random.
        selected: for each seed what the development set chose: an epoch (from 1), or C.
        dev_accuracy: for each seed the accuracy on the development set there.
    """

    predicted: dict[str, Index]
    selected: list[int] | list[float]
    dev_accuracy: list[float]


def perceptron_words(num_classes: int, epochs: int, seeds: Sequence[int]) -> str:
    """Return how a protocol names LASER's perceptron, trained with the standard widths."""
    return f"perceptron D-10-8-{num_classes} of {epochs} epochs, mean of {len(seeds)} seeds,"


def predict_tests(perceptrons: Perceptrons, tests: Mapping[str, Floats]) -> Predictions:
    """Classify test sets, by name float32 (N, D), with the perceptrons of one training set.

    Raises:
        ValueError: a test set of another dimension or with a value that is not finite.
    """
    predicted = {name: perceptrons.predict(vectors) for name, vectors in tests.items()}
    return Predictions(predicted, perceptrons.selected, perceptrons.dev_accuracy)


def train_mlp(
    train: Labelled,
    dev: Labelled,
    tests: Mapping[str, Floats],
    *,
    num_classes: int,
    seeds: Sequence[int] = SEEDS,
    epochs: int = EPOCHS,
    device: str | torch.device = "cpu",
) -> Predictions:
    """Train LASER's perceptron on one training set, and classify test sets; for several see `train_mlps`.

    Args:
        train: what to learn from.
        dev: chooses the epoch.
        tests: by name, float32 (N, D).
        num_classes: C; further arguments are those of `train_mlps`.

    Raises:
        ValueError: as `train_mlps`, or a test set of another dimension or with a value that is not finite.
    """
    for name, vectors in tests.items():  # before minutes of training
        check_vectors(name, vectors, train.vectors.shape[1])
    (trained,) = train_mlps([(train, dev)], num_classes=num_classes, seeds=seeds, epochs=epochs, device=device)
    return predict_tests(trained, tests)


def train_logistic_regression(
    train: Labelled, dev: Labelled, tests: Mapping[str, Floats], *, num_classes: int
) -> Predictions:
    """Fit multinomial logistic regression, and classify test sets.

    Minimises C * (sum of the rows' cross-entropies) + half the squared norm of the weights, biases not counted. C is
    the one of `C_GRID` with the best accuracy on the development set, the smallest of equally good ones. Vectors are
    first moved and scaled, all by the same vector and number, so that the training mean is 0 and the root mean square
    norm 1; that only gives C the same meaning for every encoder.

    Args:
        train: what to learn from; classes without a row are never predicted.
        dev: chooses C.
        tests: by name, float32 (N, D).
        num_classes: C.

    Raises:
        ValueError: sizes that do not fit, an empty set, a label out of range, a value that is not finite, or training
            rows of one class only.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    check_sets(train, dev, num_classes)
    for name, vectors in tests.items():
        check_vectors(name, vectors, train.vectors.shape[1])
    if len(np.unique(train.labels)) < 2:
        raise ValueError("all training rows are of one class")
    middle = train.vectors.mean(axis=0, dtype=np.float64)
    scale = math.sqrt(np.square(train.vectors - middle).sum(axis=1).mean()) or 1.0

    def moved(vectors: Floats) -> NDArray[np.float64]:
        result: NDArray[np.float64] = (vectors - middle) / scale
        return result

    train_vectors, dev_vectors = moved(train.vectors), moved(dev.vectors)
    best, selected, best_model = -1.0, math.nan, None
    for strength in C_GRID:
        model = LogisticRegression(C=strength, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train_vectors, train.labels)
        if model.n_iter_.max() >= MAX_ITERATIONS:
            logger.warning("logistic regression with C = %g has not converged in %d steps", strength, MAX_ITERATIONS)
        correct = float((model.predict(dev_vectors) == dev.labels).mean())
        if correct > best:
            best, selected, best_model = correct, strength, model
    assert best_model is not None
    predicted = {name: best_model.predict(moved(vectors))[None].astype(np.int64) for name, vectors in tests.items()}
    return Predictions(predicted, [selected], [best])


def accuracy_and_macro_f1(gold: Index, predicted: Index, num_classes: int) -> tuple[float, float]:
    """Return the share of rows that are right, and the plain mean of the classes' F1.

    The mean is over the classes that occur in `gold` or in `predicted`, as scikit-learn's f1_score(average="macro"):
    a class that occurs in neither does not count, one that occurs in one only has F1 0.

    Args:
        gold: int64 (N,), at least one row.
        predicted: int64 (N,).
        num_classes: C; labels are 0 to C - 1.

    Raises:
        ValueError: unequal shapes, no row, or a label out of range.
    """
    if gold.ndim != 1 or gold.shape != predicted.shape or not len(gold):
        raise ValueError(f"gold and predicted must be of one length, not {gold.shape} and {predicted.shape}")
    for labels in (gold, predicted):
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(f"labels reach from {labels.min()} to {labels.max()}, not 0 to {num_classes - 1}")
    hits = np.bincount(gold[gold == predicted], minlength=num_classes)
    # F1 = 2 hits / (rows of the class + rows taken for it), which is 2PR / (P + R) without its divisions by 0.
    occurrences = np.bincount(gold, minlength=num_classes) + np.bincount(predicted, minlength=num_classes)
    occurs = occurrences > 0
    return float((gold == predicted).mean()), float((2 * hits[occurs] / occurrences[occurs]).mean())


def score_predictions(
    gold_by_test: Mapping[str, Index], predictions: Predictions, num_classes: int
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Outcome]]]:
    """Return scores and outcomes of every test set, for a record.

    Args:
        gold_by_test: by name of the test set, int64 (N,).
        predictions: of the same test sets, of 1 to 9 seeds.
        num_classes: C.

    Returns:
        scores: for each test set "n" (rows), "macro_f1" and "accuracy", means over the seeds, and, of several seeds,
            "accuracy_sd", the standard deviation of the accuracy over them (divisor S - 1).
        outcomes: for each test set {"accuracy"}: for each row how many seeds have it right, of S.

    Raises:
        ValueError: a test set without predictions, unequal lengths, or more than 9 seeds.
    """
    scores: dict[str, dict[str, float]] = {}
    outcomes: dict[str, dict[str, Outcome]] = {}
    for name, gold in gold_by_test.items():
        if name not in predictions.predicted:
            raise ValueError(f"no predictions for test set '{name}'; there are {', '.join(predictions.predicted)}")
        predicted = predictions.predicted[name]
        num_seeds = len(predicted)
        if num_seeds > 9:
            raise ValueError(f"outcomes are digits, so at most 9 seeds can be scored, not {num_seeds}")
        by_seed = np.array([accuracy_and_macro_f1(gold, row, num_classes) for row in predicted])
        accuracy, macro_f1 = by_seed.mean(axis=0).tolist()
        scores[name] = {"n": len(gold), "macro_f1": macro_f1, "accuracy": accuracy}
        if num_seeds > 1:
            scores[name]["accuracy_sd"] = float(by_seed[:, 0].std(ddof=1))
        outcomes[name] = {"accuracy": outcome((predicted == gold).sum(axis=0), num_seeds)}
    return scores, outcomes


def columns_of(scores: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """Return the columns of a record of such scores: the deviation over the seeds is one where there are several."""
    several = any("accuracy_sd" in row for row in scores.values())
    return ("macro_f1", "accuracy_sd", "accuracy") if several else ("macro_f1", "accuracy")


def mean_over_tests(
    tests: Sequence[str],
    gold_by_test: Mapping[str, Index],
    predictions: Predictions,
    scores: Mapping[str, Mapping[str, float]],
    of: int,
) -> dict[str, float]:
    """Return a record's entry of `means`: plain means over test sets, with the deviation of the mean over the seeds.

    Args:
        tests: names, at least one.
        gold_by_test: as for `score_predictions`.
        predictions: of these test sets.
        scores: from `score_predictions`.
        of: test sets of the set of languages, with or without scores.

    Returns:
        "languages", "of", "macro_f1", "accuracy", and, of several seeds, "accuracy_sd": the standard deviation over the
        seeds (divisor S - 1) of the mean accuracy over the tests, which is less than the mean of their deviations.
    """
    mean = mean_over(tests, scores, ("macro_f1", "accuracy"), of)
    by_seed = np.mean([(predictions.predicted[name] == gold_by_test[name]).mean(axis=1) for name in tests], axis=0)
    return mean if len(by_seed) == 1 else mean | {"accuracy_sd": float(by_seed.std(ddof=1))}
