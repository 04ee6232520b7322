"""Score how well row i of one set of embeddings finds row i of another: accuracy, MTEB's F1, xsim and xsim++.

Pure functions of arrays (and of text where a protocol compares text). All rates are fractions in [0, 1]; a name that
ends in `_error_rate` is better when lower, every other one when higher.

Sources: the nearest-neighbour test of Artetxe and Schwenk (Tatoeba, FLORES P@1); the xsim and xsim++ programs of LASER;
the bitext metrics of MTEB. Equal scores are broken as `ems.search.exact` describes.

Example:
    >>> import numpy as np
    >>> from ems.eval.retrieval import retrieval_accuracy
    >>> retrieval_accuracy(np.eye(4), np.eye(4)[[0, 1, 3, 2]])
    0.5
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ems.errors import nearest
from ems.mining import MARGINS, Index, Neighbours, UnitRows, mutual_neighbours, score_candidates, unit_rows

MISALIGNED = "Misaligned"  # the xsim++ program's name for an error that no alteration of the right sentence explains


def _same_length(source: UnitRows, target: UnitRows) -> None:
    if len(source) != len(target):
        raise ValueError(f"row i must translate row i, but there are {len(source)} sources and {len(target)} targets")


def accuracy(found: Index) -> float:
    """Return the share of rows i with `found[i] == i`; `found` is int64 (N,).

    Raises:
        ValueError: there are no rows.
    """
    if len(found) == 0:
        raise ValueError("the accuracy of no rows is not defined")
    return float((found == np.arange(len(found))).mean())


def retrieval_accuracy(source: ArrayLike, target: ArrayLike) -> float:
    """Return the share of source rows whose nearest target row by cosine is their own translation.

    Args:
        source: numbers (N, D), the queries.
        target: numbers (N, D), the candidates; row i translates row i of `source`.

    Returns:
        Accuracy, also called P@1. Of equally near candidates the lowest row counts.

    Raises:
        ValueError: the numbers of rows or the dimensions differ, or the embeddings are empty or not finite.
    """
    queries, candidates = unit_rows(source, "source"), unit_rows(target, "target")
    _same_length(queries, candidates)
    return accuracy(mutual_neighbours(queries, candidates, 1)[0].nearest())


def bitext_metrics(gold: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Return MTEB's bitext metrics: retrieval seen as a classification with one class a candidate.

    Precision, recall and F1 of each class, any 0 / 0 taken as 0, are averaged with the class's share of `gold` as its
    weight. So recall equals accuracy, and a candidate that draws many queries lowers F1 even where it is right.

    Args:
        gold: integers (N,), the right candidate of every query.
        predicted: integers (N,), the candidate found.

    Returns:
        "precision", "recall", "f1" and "accuracy".

    Raises:
        ValueError: not two lists of one length, empty, or of something other than integers.
    """
    gold_N, predicted_N = np.asarray(gold), np.asarray(predicted)
    if gold_N.ndim != 1 or gold_N.shape != predicted_N.shape or gold_N.size == 0:
        raise ValueError(f"gold and predicted must be lists of one length, not {gold_N.shape} and {predicted_N.shape}")
    for name, numbers in (("gold", gold_N), ("predicted", predicted_N)):
        if numbers.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold integers, not {numbers.dtype}")
    _, classes = np.unique(np.concatenate([gold_N, predicted_N]), return_inverse=True)
    of_gold, of_predicted = classes[: len(gold_N)], classes[len(gold_N) :]
    num_classes = int(classes.max()) + 1
    is_gold = np.bincount(of_gold, minlength=num_classes)
    is_predicted = np.bincount(of_predicted, minlength=num_classes)
    right = np.bincount(of_gold[of_gold == of_predicted], minlength=num_classes)
    # A class nobody predicts, or that is never right, has right = 0, so that a divisor of 1 gives the 0 wanted.
    precision = right / np.maximum(is_predicted, 1)
    recall = right / np.maximum(is_gold, 1)
    f1 = 2 * right / (is_gold + is_predicted)
    weight = is_gold / len(gold_N)
    return {
        "precision": float(precision @ weight),
        "recall": float(recall @ weight),
        "f1": float(f1 @ weight),
        "accuracy": float(right.sum() / len(gold_N)),
    }


def bitext_f1(source: ArrayLike, target: ArrayLike) -> float:
    """Return MTEB's main bitext score: the weighted F1 of the nearest target rows by cosine.

    Args:
        source: numbers (N, D), the queries; in MTEB's Tatoeba the foreign side.
        target: numbers (N, D), the candidates; row i translates row i of `source`.

    Raises:
        ValueError: as `retrieval_accuracy`.
    """
    queries, candidates = unit_rows(source, "source"), unit_rows(target, "target")
    _same_length(queries, candidates)
    found = mutual_neighbours(queries, candidates, 1)[0].nearest()
    return bitext_metrics(np.arange(len(found)), found)["f1"]


def check_margin(margin: str, k: int) -> None:
    """Refuse an unknown margin or number of neighbours, before time goes into encoding or searching.

    Raises:
        ValueError: `margin` is none of `ems.mining.MARGINS`, or k < 1.
        TypeError: k is not a whole number.
    """
    if margin not in MARGINS:
        near = nearest(margin, MARGINS)
        raise ValueError(f"unknown margin {margin!r}; did you mean {near!r}? There are {', '.join(MARGINS)}")
    if operator.index(k) < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def margin_winners(forward: Neighbours, backward: Neighbours, margin: str) -> Index:
    """Return int64 (N,): for every source the target with the highest margin score among its k nearest.

    With the absolute margin that is the nearest target, of equal ones the lowest, as in the xsim program, which then
    searches for one neighbour only.

    Args:
        forward: the nearest targets of every source.
        backward: the nearest sources of every target, found with the same k.
        margin: "ratio", "distance" or "absolute".

    Raises:
        ValueError: unknown margin.
    """
    if margin == "absolute":
        return forward.nearest()
    return score_candidates(forward, backward, margin)[0].best()[1]


def wrong_rows(winners: Index, target_texts: Sequence[str] | None) -> Index:
    """Return the source rows whose winner is not their translation.

    Args:
        winners: int64 (N,).
        target_texts: at least as many texts as there are targets: a winner with the text of the right row is right
            (text mode). None: only the right row is (index mode).
    """
    found = winners.tolist()
    if target_texts is None:
        wrong = [row for row, winner in enumerate(found) if winner != row]
    else:
        wrong = [row for row, winner in enumerate(found) if target_texts[winner] != target_texts[row]]
    return np.array(wrong, dtype=np.int64)


def _check_texts(target_texts: Sequence[str], target: UnitRows) -> None:
    if len(target_texts) != len(target):
        raise ValueError(f"there are {len(target)} targets, but {len(target_texts)} target texts")


def xsim_error_rate(
    source: ArrayLike,
    target: ArrayLike,
    *,
    margin: str = "ratio",
    k: int = 4,
    target_texts: Sequence[str] | None = None,
) -> float:
    """Return the share of source rows whose best target by margin score is not their translation.

    Args:
        source: numbers (N, D).
        target: numbers (N, D); row i translates row i of `source`.
        margin: "ratio" (the xsim program's default), "distance" (the LASER3 paper's) or "absolute".
        k: neighbours that are scored, and over which means are taken.
        target_texts: N sentences: compare text, so that a duplicate of the right sentence is right (the program's
            default). None: compare row numbers.

    Raises:
        ValueError: unknown margin, k < 1, unequal lengths or dimensions, or embeddings empty or not finite.
    """
    check_margin(margin, k)
    source_rows, target_rows = unit_rows(source, "source"), unit_rows(target, "target")
    _same_length(source_rows, target_rows)
    if target_texts is not None:
        _check_texts(target_texts, target_rows)
    winners = margin_winners(*mutual_neighbours(source_rows, target_rows, k), margin)
    return len(wrong_rows(winners, target_texts)) / len(winners)


def error_kinds(
    wrong: Index, winners: Index, target_texts: Sequence[str], errtypes: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Count the errors of xsim++ by the kind of alteration that misled the encoder.

    Args:
        wrong: int64 (E,), source rows, from `wrong_rows`.
        winners: int64 (N,), the target each source row found.
        target_texts: M sentences: the N translations, followed by altered sentences.
        errtypes: for every altered sentence {"src": the original sentence, "errtype": name of the alteration}; looked
            up by stripped text.

    Returns:
        Errors by kind, most frequent first; "Misaligned" where the winner is not an altered form of the right sentence.
    """
    kinds: Counter[str] = Counter()
    for row in wrong.tolist():
        altered = errtypes.get(target_texts[winners[row]].strip())
        misled = altered is not None and altered["src"] == target_texts[row].strip()
        kinds[str(altered["errtype"]) if altered is not None and misled else MISALIGNED] += 1
    return dict(kinds.most_common())


@dataclass(frozen=True)
class XsimppResult:
    """Hold the outcome of xsim++.

    Attributes:
        error_rate: errors divided by the number of source rows, a fraction.
        errors: source rows whose winner has another text than their translation.
        by_type: errors by kind, as `error_kinds` counts them. Kinds without errors are left out.
    """

    error_rate: float
    errors: int
    by_type: dict[str, int] = field(default_factory=dict)


def _check_errtypes(errtypes: Mapping[str, Mapping[str, Any]]) -> None:
    for altered, entry in errtypes.items():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("src"), str) or "errtype" not in entry:
            raise ValueError(
                f"errtypes must give 'src', a text, and 'errtype' for every altered sentence, but {altered!r:.60} has "
                f"{entry!r:.80}"
            )


def xsimpp_error_rate(
    source: ArrayLike,
    target: ArrayLike,
    *,
    target_texts: Sequence[str],
    errtypes: Mapping[str, Mapping[str, Any]],
    margin: str = "ratio",
    k: int = 4,
) -> XsimppResult:
    """Count the source rows that prefer an altered form of their translation, or another sentence, to it.

    Args:
        source: numbers (N, D).
        target: numbers (M, D), M > N: the N translations followed by altered sentences.
        target_texts: M sentences, compared as they are; stripped to look them up in `errtypes`.
        errtypes: for every altered sentence {"src": the original sentence, "errtype": name of the alteration}.
        margin: "ratio", "distance" or "absolute".
        k: neighbours that are scored, and over which means are taken.

    Raises:
        ValueError: M <= N, a text is missing, an entry of `errtypes` lacks a key, or as `xsim_error_rate`.
    """
    check_margin(margin, k)
    _check_errtypes(errtypes)
    source_rows, target_rows = unit_rows(source, "source"), unit_rows(target, "target")
    if len(source_rows) >= len(target_rows):
        raise ValueError(
            f"targets must be the translations and altered sentences after them, but there are {len(source_rows)} "
            f"sources and {len(target_rows)} targets"
        )
    _check_texts(target_texts, target_rows)
    winners = margin_winners(*mutual_neighbours(source_rows, target_rows, k), margin)
    wrong = wrong_rows(winners, target_texts)
    return XsimppResult(len(wrong) / len(winners), len(wrong), error_kinds(wrong, winners, target_texts, errtypes))
