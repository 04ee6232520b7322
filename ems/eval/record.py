"""The record: what a benchmark returns, with all that makes its numbers comparable and what a report shows beyond them.

A record is a plain dict, so that results.json is nothing but a list of them:

    task, protocol (a sentence), split, direction, language_set, margin (None: none), k, averaging, higher_is_better,
    n (sentences of one side; of all languages where each has its own), data_digest (of the text),
    columns (the scores of a language, in order), scores {language: {column: number}},
    means {language set: {"languages", "of", column: number}}, skipped [{"language", "reason"}],
    outcomes {language: {column: {"score": digits, "of": digits or a whole number}}},
    and, where sentences are compared by cosine:
    cosines {"edges", "translations", "others"}, confusions [{"language", "row", "query", ...}].

Scores are fractions, or whole numbers for counts, and are formatted as percent only by `ems.eval.report`. `means` names
a set beside the one asked for only if it is complete; "of" is the set's size and "languages" how many of it were found.
`outcomes` says how every single row fared, in file order, one decimal digit a row: a column's score is the sum of
"score" divided by the sum of "of" (times the rows, where "of" is a number), which is what resampling rows needs. For it
a record may also hold `parallel_rows` (true: row i is the same sentence in all languages, so that they are resampled
together) and `members` {language set: [languages]} (where a mean is not over all scores).

Example:
    >>> import numpy as np
    >>> from ems.eval.record import outcome, outcome_arrays
    >>> outcome(np.array([True, False, True]))
    {'score': '101', 'of': 1}
    >>> [float(part.sum()) for part in outcome_arrays({"score": "250", "of": 5})]
    [7.0, 15.0]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ems.mining import Index, UnitRows

Record = dict[str, Any]
Outcome = dict[str, Any]

NUM_BINS = 50
CONFUSIONS_PER_LANGUAGE = 5
_ZERO = ord("0")


def _digits(values: NDArray[np.int64]) -> str:
    if values.size and (values.min() < 0 or values.max() > 9):
        raise ValueError(f"an outcome must be a digit, but they reach from {values.min()} to {values.max()}")
    return (values + _ZERO).astype(np.uint8).tobytes().decode("ascii")


def outcome(score: ArrayLike, of: ArrayLike = 1) -> Outcome:
    """Return how every row fared, for a record's `outcomes`.

    Args:
        score: booleans or whole numbers 0 to 9, (N,): the row's share of the numerator.
        of: the same for the denominator, or one number for every row, such as the seeds of a classifier.

    Raises:
        ValueError: a number is out of range.
    """
    score_N, of_N = np.asarray(score, dtype=np.int64), np.asarray(of, dtype=np.int64)
    return {"score": _digits(score_N), "of": int(of_N) if of_N.ndim == 0 else _digits(of_N)}


def outcome_arrays(entry: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return numerator and denominator of every row, float64 (N,) each; the opposite of `outcome`."""
    score = np.frombuffer(entry["score"].encode("ascii"), dtype=np.uint8).astype(np.float64) - _ZERO
    if isinstance(entry["of"], str):
        return score, np.frombuffer(entry["of"].encode("ascii"), dtype=np.uint8).astype(np.float64) - _ZERO
    return score, np.full(len(score), float(entry["of"]))


def both_ways(to_english: NDArray[np.bool_], from_english: NDArray[np.bool_]) -> dict[str, float]:
    """Return accuracies {"x->en", "en->x", "mean"} of which queries were right, bool (N,) each."""
    there, back = float(to_english.mean()), float(from_english.mean())
    return {"x->en": there, "en->x": back, "mean": (there + back) / 2}


def both_outcomes(to_english: NDArray[np.bool_], from_english: NDArray[np.bool_]) -> dict[str, Outcome]:
    """Return the outcomes that belong to `both_ways`."""
    both = to_english.astype(np.int64) + from_english
    return {"x->en": outcome(to_english), "en->x": outcome(from_english), "mean": outcome(both, 2)}


class RetrievalEvidence:
    """Collect, language by language, what explains a retrieval score: cosine distributions and worst confusions.

    Attributes:
        cosines: counts of cosines in `NUM_BINS` equal bins from -1 to 1: of every row with its translation, and of
            every row with one other sentence (row i with row i + N // 2, or with the next if that is itself).
        confusions: for each language the rows that prefer another sentence most clearly to their translation.
    """

    def __init__(self) -> None:
        self._counts = {name: np.zeros(NUM_BINS, dtype=np.int64) for name in ("translations", "others")}
        self.confusions: list[dict[str, Any]] = []

    @property
    def cosines(self) -> dict[str, Any]:
        """Return {"edges": [-1, 1], "translations": counts, "others": counts}."""
        return {"edges": [-1.0, 1.0]} | {name: counts.tolist() for name, counts in self._counts.items()}

    def _count(self, name: str, cosines: NDArray[np.float32]) -> None:
        bins = np.clip(((cosines + 1) / 2 * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)
        self._counts[name] += np.bincount(bins, minlength=NUM_BINS)

    def add(
        self,
        language: str,
        found: Index,
        source: UnitRows,
        target: UnitRows,
        source_texts: Sequence[str],
        target_texts: Sequence[str],
    ) -> None:
        """Take one language into account.

        Args:
            language: name of the scores' row.
            found: int64 (N,), the nearest target of every source.
            source: N embeddings, the queries.
            target: at least N embeddings; row i translates row i of `source`.
            source_texts: their sentences.
            target_texts: their sentences.
        """
        count = len(found)
        queries, translations = source.rows[source.row_of], target.rows[target.row_of[:count]]
        right = np.einsum("nd,nd->n", queries, translations)
        self._count("translations", right)
        if count > 1:
            self._count("others", np.einsum("nd,nd->n", queries, np.roll(translations, -(count // 2), axis=0)))
        wrong = np.flatnonzero(found != np.arange(count))
        cosine_found = np.einsum("nd,nd->n", queries[wrong], target.rows[target.row_of[found[wrong]]])
        clearest = np.argsort(right[wrong] - cosine_found, kind="stable")[:CONFUSIONS_PER_LANGUAGE]
        for place in clearest.tolist():
            row = int(wrong[place])
            self.confusions.append(
                {
                    "language": language,
                    "row": row,
                    "query": source_texts[row],
                    "expected": target_texts[row],
                    "found": target_texts[found[row]],
                    "cosine_expected": round(float(right[row]), 4),
                    "cosine_found": round(float(cosine_found[place]), 4),
                }
            )


def mean_over(
    languages: Iterable[str], scores: Mapping[str, Mapping[str, float]], columns: Iterable[str], of: int
) -> dict[str, float]:
    """Return the entry of `means` for a set of languages: plain means over those that have scores.

    Args:
        languages: those of the set that have scores, at least one.
        scores: as in a record.
        columns: which scores to average.
        of: languages of the set, with or without scores.
    """
    found = list(languages)
    return {"languages": len(found), "of": of} | {
        column: float(np.mean([scores[language][column] for language in found])) for column in columns
    }


def make_record(
    task: str,
    protocol: str,
    *,
    split: str,
    direction: str,
    language_set: str,
    n: int,
    data_digest: str,
    columns: Sequence[str],
    scores: Mapping[str, Mapping[str, float]],
    of: int | None = None,
    means: Mapping[str, Mapping[str, float]] | None = None,
    margin: str | None = None,
    k: int | None = None,
    averaging: str = "macro",
    higher_is_better: bool = True,
    skipped: Sequence[Mapping[str, str]] = (),
    outcomes: Mapping[str, Mapping[str, Outcome]] | None = None,
    evidence: RetrievalEvidence | None = None,
    **details: Any,
) -> Record:
    """Return a record; the top of this module says what its entries mean.

    Args:
        task: name of the result; with split and language set unique within a run.
        protocol: how the numbers came about, as a sentence.
        split: of the test set.
        direction: such as "x->en" or "both"; for classifiers the training language.
        language_set: name of the set of languages asked for.
        n: sentences scored.
        data_digest: from `ems.eval.parallel_text.digest_lines`.
        columns: names of the scores of a language, the headline last.
        scores: by language and column; a row may hold more than the columns, such as counts.
        of: languages asked for; None: as many as have scores.
        means: None: plain means of all columns over all scores.
        margin: None where neighbours are found by cosine alone, or not at all.
        k: neighbours; None where none are searched.
        averaging: "macro": plain mean over languages.
        higher_is_better: False for error rates.
        skipped: what could not be scored, and why.
        outcomes: by language and column, where a column is a mean or a ratio over rows.
        evidence: of retrieval.
        **details: further entries of one task, such as "matrix" or "thresholds"; JSON values.
    """
    if means is None:
        means = {language_set: mean_over(scores, scores, columns, of or len(scores))} if scores else {}
    record: Record = {
        "task": task,
        "protocol": protocol,
        "split": split,
        "direction": direction,
        "language_set": language_set,
        "margin": margin,
        "k": k,
        "averaging": averaging,
        "higher_is_better": higher_is_better,
        "n": n,
        "data_digest": data_digest,
        "columns": list(columns),
        "scores": {language: dict(row) for language, row in scores.items()},
        "means": {name: dict(mean) for name, mean in means.items()},
        "skipped": [dict(entry) for entry in skipped],
        "outcomes": {} if outcomes is None else {language: dict(row) for language, row in outcomes.items()},
    }
    if evidence is not None:
        record |= {"cosines": evidence.cosines, "confusions": evidence.confusions}
    return record | details
