"""The health of an embedding space, beside what it retrieves: alignment, uniformity, hubs, and a language probe.

Pure functions of arrays. Shape letters: N rows, D dimension, K neighbours, L languages.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ems.mining import Floats, mutual_neighbours, unit_rows

UNIFORMITY_SCALE = 2.0


def _units(vectors: ArrayLike) -> Floats:
    rows = unit_rows(vectors)
    return rows.rows[rows.row_of]


def alignment(source: ArrayLike, target: ArrayLike) -> float:
    """Mean squared distance of translations on the unit sphere: 0 (one place) to 4 (opposite places).

    Source: Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere", 2020 (arXiv 2005.10242), with exponent 2.

    Args:
        source: (N, D), N >= 1.
        target: (N, D), row i translates row i.

    Raises:
        ValueError: shapes differ, or a value is not finite.
    """
    ours, theirs = _units(source), _units(target)
    if ours.shape != theirs.shape:
        raise ValueError(f"source and target must have one shape, not {ours.shape} and {theirs.shape}")
    return float(np.square(ours.astype(np.float64) - theirs).sum(axis=1).mean())


def uniformity(vectors: ArrayLike) -> float:
    """How evenly vectors fill the unit sphere: log of the mean of exp(-2 d²) over all pairs of different rows.

    0 where all are in one place; about -4 (its bound as D grows) where they are spread evenly. Lower is more even.
    Source: as `alignment`, with t = 2.

    Args:
        vectors: (N, D), N >= 2.

    Raises:
        ValueError: fewer than two rows, or a value that is not finite.
    """
    rows = _units(vectors).astype(np.float64)
    if len(rows) < 2:
        raise ValueError("uniformity needs at least two rows")
    squared = np.maximum(0.0, 2.0 - 2.0 * (rows @ rows.T))
    kernel = np.exp(-UNIFORMITY_SCALE * squared)
    return float(np.log((kernel.sum() - np.trace(kernel)) / (len(rows) * (len(rows) - 1))))


def occurrences(source: ArrayLike, target: ArrayLike, *, k: int = 10) -> NDArray[np.int64]:
    """Count of how many sources each target is among the K nearest by cosine: int64 (M,), with sum N * min(K, M).

    Source: Radovanović et al., "Hubs in Space", 2010: with hubs, few targets are near to many sources and many to none.

    Args:
        source: (N, D), the queries.
        target: (M, D), what is found.
        k: neighbours of each query.

    Raises:
        ValueError: a value is not finite, dimensions differ, or k is below 1.
    """
    queries, found = unit_rows(source), unit_rows(target)
    forward, _ = mutual_neighbours(queries, found, min(k, len(found)))
    return np.bincount(forward.index.ravel(), minlength=len(found)).astype(np.int64)


def language_identity(vectors: Mapping[str, ArrayLike]) -> dict[str, float]:
    """How well a linear probe tells the languages of sentences apart, for each language the share it recognises.

    Every second row trains a multinomial logistic regression, the others are asked; so no sentence, in whatever
    language, is in both if row i is the same sentence in all languages. 1 / L is chance: an embedding that is the same
    whatever the language. Vectors are scaled to length 1.

    Args:
        vectors: by language, (N, D), N >= 2 and D the same for all.

    Raises:
        ValueError: fewer than two languages or rows, or a value that is not finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    units = {language: _units(rows) for language, rows in vectors.items()}
    if len(units) < 2 or min(map(len, units.values())) < 2:
        raise ValueError("the probe needs at least two languages with two rows each")
    names = list(units)
    train = np.concatenate([units[name][0::2] for name in names])
    labels = np.repeat(np.arange(len(names)), [len(units[name][0::2]) for name in names])
    # Components of a unit vector are about the root of 1 / D large; the penalty expects them to be about 1.
    scale = np.sqrt(train.shape[1])
    probe = LogisticRegression(C=1.0, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train * scale, labels)
    return {
        name: float((probe.predict(units[name][1::2] * scale) == number).mean()) for number, name in enumerate(names)
    }
