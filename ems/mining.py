"""Find translations between two sets of sentence embeddings by margin score.

In here: the three margins and the four mining strategies; the neighbours they need are found by `ems.search.exact`. The
metrics of `ems.eval` rest on the same. Not in here: text, files, thresholds (see `ems.eval.bitext`).

Source: Artetxe and Schwenk, "Margin-based Parallel Corpus Mining with Multilingual Sentence Embeddings", ACL 2019.
Differences: equal rows always get equal scores; k larger than a side is clamped to it.

Shape letters: N source sentences, M target sentences, D dimension, K neighbours.

Example:
    >>> import numpy as np
    >>> from ems.mining import mine_bitext
    >>> german, english = np.eye(3), np.eye(3)[[2, 0, 1]]
    >>> scores, german_rows, english_rows = mine_bitext(german, english, margin="absolute")
    >>> german_rows.tolist(), english_rows.tolist()
    ([0, 1, 2], [1, 2, 0])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ems.errors import nearest
from ems.search.exact import Neighbours, checked_k, mutual_neighbours
from ems.search.unit_rows import Floats, Index, UnitRows, plain_array, unit_rows

__all__ = [
    "MARGINS",
    "STRATEGIES",
    "Candidates",
    "Floats",
    "Index",
    "Neighbours",
    "Scores",
    "UnitRows",
    "choose_pairs",
    "margin_score",
    "mine_bitext",
    "mutual_neighbours",
    "score_candidates",
    "unit_rows",
]

Scores = NDArray[np.float64]

MARGINS = ("ratio", "distance", "absolute")
STRATEGIES = ("max", "intersect", "fwd", "bwd")


def _known(value: str, what: str, choices: Sequence[str]) -> str:
    if value in choices:
        return value
    near = nearest(value, choices)
    raise ValueError(f"unknown {what} {value!r}; did you mean {near!r}? There are {', '.join(choices)}")


def margin_score(cosine: Floats, mean: Floats, margin: str) -> Scores:
    """Score cosines against the mean cosine of both neighbourhoods; higher is more surely a translation.

    Args:
        cosine: float32, any shape.
        mean: float32, same shape: half of (mean cosine of the source row to its neighbours + the target row's).
        margin: "ratio" (cosine / mean), "distance" (cosine - mean) or "absolute" (cosine).

    Returns:
        float64 of the same shape, computed in float32. A ratio is negative or huge where the mean is negative or
        nearly zero, as in unrelated text; 0 / 0, which only rows without direction give, is 0.

    Raises:
        ValueError: unknown margin, or masked arrays.
    """
    cosine, mean = plain_array(cosine, "cosine"), plain_array(mean, "mean")
    if _known(margin, "margin", MARGINS) == "absolute":
        return cosine.astype(np.float64)
    if margin == "distance":
        return (cosine - mean).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = cosine / mean
    return np.where((cosine == 0) & (mean == 0), np.float32(0), ratio).astype(np.float64)


@dataclass(frozen=True)
class Candidates:
    """The neighbours of each row with their margin scores, in the neighbours' order.

    Attributes:
        score: float64 (N, K).
        index: int64 (N, K).
    """

    score: Scores
    index: Index

    def best(self) -> tuple[Scores, Index]:
        """Return score (N,) and index (N,) of the best-scored candidate, of equal ones the first listed."""
        winner = self.score.argmax(axis=1)[:, None]
        return np.take_along_axis(self.score, winner, 1)[:, 0], np.take_along_axis(self.index, winner, 1)[:, 0]


def score_candidates(forward: Neighbours, backward: Neighbours, margin: str) -> tuple[Candidates, Candidates]:
    """Score all neighbours by margin.

    Args:
        forward: the nearest targets of every source.
        backward: the nearest sources of every target, found with the same k.
        margin: "ratio", "distance" or "absolute".

    Returns:
        candidates of the source rows and of the target rows, shaped like the neighbours.

    Raises:
        ValueError: unknown margin.
    """
    source_mean, target_mean = forward.similarity.mean(axis=1), backward.similarity.mean(axis=1)
    forward_mean = (source_mean[:, None] + target_mean[forward.index]) / 2
    backward_mean = (source_mean[backward.index] + target_mean[:, None]) / 2
    return (
        Candidates(margin_score(forward.similarity, forward_mean, margin), forward.index),
        Candidates(margin_score(backward.similarity, backward_mean, margin), backward.index),
    )


def _greedy(scores: Scores, sources: Index, targets: Index, threshold: float) -> Index:
    """Return which of the pairs to write, best first, so that no row is used twice."""
    order = np.argsort(-scores, kind="stable")
    used_sources: set[int] = set()
    used_targets: set[int] = set()
    written = []
    for pair, i, j in zip(order.tolist(), sources[order].tolist(), targets[order].tolist(), strict=True):
        if i in used_sources or j in used_targets:
            continue
        used_sources.add(i)
        used_targets.add(j)
        if scores[pair] > threshold:
            written.append(pair)
    return np.array(written, dtype=np.int64)


def choose_pairs(
    forward: Candidates, backward: Candidates, *, strategy: str, threshold: float = 0.0
) -> tuple[Scores, Index, Index]:
    """Choose among the scored neighbours of both sides those that are probably translations of each other.

    Args:
        forward: scored targets of every source.
        backward: scored sources of every target.
        strategy: see `mine_bitext`.
        threshold: see `mine_bitext`.

    Returns:
        scores float64 (P,), source rows int64 (P,) and target rows int64 (P,).

    Raises:
        ValueError: unknown strategy.
    """
    _known(strategy, "strategy", STRATEGIES)
    forward_score, forward_target = forward.best()
    backward_score, backward_source = backward.best()
    every_source, every_target = np.arange(len(forward_score)), np.arange(len(backward_score))
    if strategy == "fwd":
        return forward_score, every_source, forward_target
    if strategy == "bwd":
        return backward_score, backward_source, every_target
    if strategy == "intersect":
        agreed = np.flatnonzero(backward_source[forward_target] == every_source)
        return forward_score[agreed], agreed, forward_target[agreed]
    scores = np.concatenate([forward_score, backward_score])
    sources = np.concatenate([every_source, backward_source])
    targets = np.concatenate([forward_target, every_target])
    written = _greedy(scores, sources, targets, threshold)
    return scores[written], sources[written], targets[written]


def mine_bitext(
    source: ArrayLike,
    target: ArrayLike,
    *,
    margin: str = "ratio",
    strategy: str = "max",
    k: int = 4,
    threshold: float = 0.0,
) -> tuple[Scores, Index, Index]:
    """Return the pairs of rows that are probably translations of each other, with their margin scores.

    Args:
        source: numbers (N, D), also a tensor; need not be normalised. A zero row is like nothing.
        target: numbers (M, D).
        margin: "ratio", "distance" or "absolute"; see `margin_score`.
        strategy: "max": the best pairs such that no row is used twice, best first. "fwd": the best target of every
            source, in source order. "bwd": the best source of every target, in target order. "intersect": the pairs
            that "fwd" and "bwd" agree on, in source order.
        k: neighbours of a row that are scored, and over which its mean is taken. Clamped to the rows there are.
        threshold: a score that a pair must exceed to be returned; acts on "max" only. A pair that does not still uses
            up both its rows. With the distance margin the default drops negative scores.

    Returns:
        scores float64 (P,), source rows int64 (P,) and target rows int64 (P,).

    Raises:
        ValueError: an argument is not one of the above, is empty, masked or not finite, or the dimensions differ.
    """
    _known(margin, "margin", MARGINS)
    _known(strategy, "strategy", STRATEGIES)
    k = checked_k(k)
    if math.isnan(threshold):
        raise ValueError("threshold must be a number, not nan")
    neighbours = mutual_neighbours(unit_rows(source, "source"), unit_rows(target, "target"), k)
    return choose_pairs(*score_candidates(*neighbours, margin), strategy=strategy, threshold=threshold)
