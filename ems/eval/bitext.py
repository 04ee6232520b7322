"""Score mined sentence pairs against a gold list as the BUCC shared task does, with its treatment of duplicates.

In here: choosing the score threshold with the best F1, scoring at a given threshold, counting by sentence, unifying
identical sentences before mining, and naming pairs by the task's sentence ids. Mining itself is `ems.mining`.

Source: Zweigenbaum, Sharoff and Rapp, "Overview of the Third BUCC Shared Task", 2018, as LASER's programs evaluate it.
Difference: where the best F1 falls on the last candidate, those programs stop; see `Threshold.at_last_candidate`.

Example:
    >>> from ems.eval.bitext import scan_threshold
    >>> scan_threshold([(1.3, "a", 1), (1.1, "b", 9), (0.9, "c", 3)], {("a", 1), ("d", 4)}).threshold
    1.2000000000000002
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ems.mining import Index, Scores, mine_bitext

Pair = tuple[Hashable, Hashable]


def highest_scores(candidates: Iterable[tuple[float, Hashable, Hashable]]) -> dict[Pair, float]:
    """Return the score of every distinct pair, in order of first occurrence; of several scores the highest.

    Raises:
        ValueError: a score is not a number.
    """
    scores: dict[Pair, float] = {}
    for score, source_id, target_id in candidates:
        if math.isnan(score):
            raise ValueError(f"the score of {source_id!r} and {target_id!r} is not a number")
        pair = (source_id, target_id)
        scores[pair] = max(float(score), scores.get(pair, -math.inf))
    return scores


@dataclass(frozen=True)
class Threshold:
    """Hold a score threshold and how well the candidates at or above it match the gold pairs.

    Attributes:
        threshold: candidates with `score >= threshold` are taken.
        precision: share of the taken that are gold; 0 when no gold pair is taken.
        recall: share of the gold pairs that are taken.
        f1: their harmonic mean.
        at_last_candidate: a scan that was best with all candidates taken, where the threshold is the last score
            because there is no next one to go half-way to; name it beside the scores.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    at_last_candidate: bool = False


def score_at_threshold(
    candidates: Iterable[tuple[float, Hashable, Hashable]], gold: Collection[Pair], threshold: float
) -> Threshold:
    """Score the candidates at or above a threshold that was chosen elsewhere, such as on a development set.

    Args:
        candidates: (score, source id, target id); a pair that occurs twice counts once, with its highest score.
        gold: the right pairs (source id, target id).
        threshold: lowest score to take.
    """
    return _score_at(highest_scores(candidates), set(gold), threshold, at_last_candidate=False)


def _score_at(scores: dict[Pair, float], gold: set[Pair], threshold: float, *, at_last_candidate: bool) -> Threshold:
    taken = {pair for pair, score in scores.items() if score >= threshold}
    correct = len(taken & gold)
    if correct == 0:
        return Threshold(threshold, 0.0, 0.0, 0.0, at_last_candidate)
    precision, recall = correct / len(taken), correct / len(gold)
    return Threshold(threshold, precision, recall, 2 * precision * recall / (precision + recall), at_last_candidate)


def _half_way(score: float, lower: float) -> float:
    """Return the middle of two scores; of infinite ones, which ratios to a mean of 0 are, a finite number between."""
    largest = sys.float_info.max
    if math.isinf(score) or math.isinf(lower):
        return max(-largest, min(score, largest)) / 2 + max(-largest, min(lower, largest)) / 2
    return (score + lower) / 2


def scan_threshold(candidates: Iterable[tuple[float, Hashable, Hashable]], gold: Collection[Pair]) -> Threshold:
    """Choose the threshold with the best F1 against `gold`, and score the candidates there.

    Candidates are taken one by one from the highest score down. Wherever F1 becomes strictly better than ever before,
    the threshold is half-way to the next candidate's score. Precision, recall and F1 are those of all candidates at or
    above the final threshold; with equal scores at the cut these are more than the scan had taken.

    Args:
        candidates: (score, source id, target id), in any order; a pair that occurs twice counts once, with its highest
            score.
        gold: the right pairs (source id, target id).

    Returns:
        The threshold and its scores; all 0 when no candidate is right.

    Raises:
        ValueError: a score is not a number.
    """
    scores, right = highest_scores(candidates), set(gold)
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    best_f1 = threshold = 0.0
    correct, at_last_candidate = 0, False
    for taken, (pair, score) in enumerate(ranked, 1):
        correct += pair in right
        if correct == 0:
            continue
        # Not by way of precision and recall, whose rounding would make one of two equal F1 look strictly better.
        f1 = 2 * correct / (taken + len(right))
        if f1 > best_f1:
            best_f1, at_last_candidate = f1, taken == len(ranked)
            threshold = score if at_last_candidate else _half_way(score, ranked[taken][1])
    return _score_at(scores, right, threshold, at_last_candidate=at_last_candidate)


def pair_counts(
    candidates: Iterable[tuple[float, Hashable, Hashable]],
    gold: Collection[Pair],
    threshold: float,
    source_ids: Sequence[Hashable],
) -> tuple[Index, Index, Index]:
    """Return how every source sentence fares at a threshold, which is what resampling sentences needs.

    With the sums R, W and M of the three arrays, precision = R / (R + W), recall = R / (R + M) and
    F1 = 2 R / (2 R + W + M), as `score_at_threshold` gives them.

    Args:
        candidates: (score, source id, target id); a pair that occurs twice counts once, with its highest score.
        gold: the right pairs (source id, target id).
        threshold: lowest score to take.
        source_ids: N ids, each once, among them those of the candidates and of the gold pairs.

    Returns:
        int64 (N,) each: the right pairs taken, the wrong pairs taken, and the gold pairs missed.

    Raises:
        KeyError: a pair has a source that is not among the ids.
    """
    row_of = {name: row for row, name in enumerate(source_ids)}
    taken = {pair for pair, score in highest_scores(candidates).items() if score >= threshold}
    right = set(gold)

    def counts(pairs: set[Pair]) -> Index:
        return np.bincount([row_of[source_id] for source_id, _ in pairs], minlength=len(row_of)).astype(np.int64)

    return counts(taken & right), counts(taken - right), counts(right - taken)


def unify(sentences: Sequence[str]) -> Index:
    """Return int64 (U,): one row for each distinct sentence, in order of first occurrence: the row it occurs in last.

    Mining a text in which each sentence occurs once is what the task's programs do; they keep the last embedding.
    """
    last: dict[str, int] = {}
    for row, sentence in enumerate(sentences):
        last[sentence] = row
    return np.fromiter(last.values(), dtype=np.int64, count=len(last))


def unambiguous_ids(ids: Sequence[str], sentences: Sequence[str]) -> dict[str, str]:
    """Return the id of every stripped sentence that occurs once; others cannot be named, and so never be found.

    Raises:
        ValueError: unequal lengths.
    """
    stripped = [sentence.strip() for sentence in sentences]
    occurrences = Counter(stripped)
    return {text: name for name, text in zip(ids, stripped, strict=True) if occurrences[text] == 1}


def named_pairs(
    scores: Scores,
    source_index: Index,
    target_index: Index,
    *,
    source_ids: Sequence[str],
    source_sentences: Sequence[str],
    target_ids: Sequence[str],
    target_sentences: Sequence[str],
) -> list[tuple[float, str, str]]:
    """Name pairs that were mined between the distinct lines of two texts; pairs that cannot be named are left out.

    Args:
        scores: float64 (P,).
        source_index: int64 (P,), places among the distinct source lines, in order of first occurrence.
        target_index: int64 (P,), likewise.
        source_ids: N ids.
        source_sentences: N lines, with their duplicates.
        target_ids: M ids.
        target_sentences: M lines.

    Returns:
        (score, source id, target id), in the order given.

    Raises:
        ValueError: unequal lengths.
    """
    source_names = unambiguous_ids(source_ids, source_sentences)
    target_names = unambiguous_ids(target_ids, target_sentences)
    sources, targets = list(dict.fromkeys(source_sentences)), list(dict.fromkeys(target_sentences))
    named = (
        (score, source_names.get(sources[i].strip()), target_names.get(targets[j].strip()))
        for score, i, j in zip(scores.tolist(), source_index.tolist(), target_index.tolist(), strict=True)
    )
    return [
        (score, source_id, target_id)
        for score, source_id, target_id in named
        if source_id is not None and target_id is not None
    ]


def bucc_candidates(
    source: ArrayLike,
    target: ArrayLike,
    *,
    source_ids: Sequence[str],
    source_sentences: Sequence[str],
    target_ids: Sequence[str],
    target_sentences: Sequence[str],
    margin: str = "ratio",
    strategy: str = "max",
    k: int = 4,
    threshold: float = 0.0,
) -> list[tuple[float, str, str]]:
    """Mine two texts as the BUCC programs do, and name the pairs found by sentence ids.

    Identical lines are mined once. A sentence that, stripped, occurs more than once on a side has no id, so pairs with
    it are left out, while the gold list keeps them: duplicates cost recall.

    Args:
        source: numbers (N, D), one row for each of the source sentences.
        target: numbers (M, D).
        source_ids: N ids.
        source_sentences: N lines.
        target_ids: M ids.
        target_sentences: M lines.
        margin: as in `ems.mining.mine_bitext`, like `strategy`, `k` and `threshold`.

    Returns:
        (score, source id, target id), in the strategy's order.

    Raises:
        ValueError: unequal lengths, or as `mine_bitext`.
    """
    sources, targets = np.asarray(source), np.asarray(target)
    for what, rows, sentences in (("source", sources, source_sentences), ("target", targets, target_sentences)):
        if len(rows) != len(sentences):
            raise ValueError(f"there are {len(rows)} {what} embeddings, but {len(sentences)} {what} sentences")
    source_rows, target_rows = unify(source_sentences), unify(target_sentences)
    mined = mine_bitext(
        sources[source_rows], targets[target_rows], margin=margin, strategy=strategy, k=k, threshold=threshold
    )
    return named_pairs(
        *mined,
        source_ids=source_ids,
        source_sentences=source_sentences,
        target_ids=target_ids,
        target_sentences=target_sentences,
    )
