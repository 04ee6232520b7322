"""Say how far a score would move with other sentences: paired bootstrap over the rows of a record.

Rows (sentences) are drawn with replacement, as many as there are, and the score is computed from them again; the middle
95 % of 2000 such scores is the interval. Encoders are compared on the same drawn rows, so that what is hard for both
cancels out. Method: Efron, "Bootstrap Methods", 1979 (the percentile interval); Koehn, "Statistical Significance Tests
for Machine Translation Evaluation", 2004 (the paired one).

What is drawn are the queries: the candidates among which they search stay as they are, and so do a classifier's
training examples and seeds. A score without a single miss, or without a single hit, has an interval of no width, for
drawing again cannot show what no row did.

Example:
    >>> from ems.eval.intervals import intervals
    >>> from ems.eval.record import make_record, outcome
    >>> right = [True] * 80 + [False] * 20
    >>> record = make_record("t", "p", split="test", direction="both", language_set="chosen", n=100, data_digest="0",
    ...     columns=["accuracy"], scores={"de": {"accuracy": 0.8}}, outcomes={"de": {"accuracy": outcome(right)}})
    >>> low, high = intervals(record).scores["de"]["accuracy"]
    >>> 0.7 < low < 0.75 < 0.85 < high < 0.9
    True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ems.eval.record import outcome_arrays

# Shapes: B resamples, N rows, U distinct rows, C columns.
Resamples = NDArray[np.float64]

NUM_RESAMPLES = 2000
LEVEL = 0.95
_BLOCK = 2**21  # counts in memory at a time: 16 MiB
_TOLERANCE = 1e-6


class Interval(NamedTuple):
    """The middle of the resampled scores, in the scores' unit."""

    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """The scores of one record under each resample.

    Attributes:
        scores: by language and column, float64 (B,), where the record has outcomes.
        means: by language set and column, float64 (B,), where all languages of the set have outcomes.
    """

    scores: dict[str, dict[str, Resamples]]
    means: dict[str, dict[str, Resamples]]


@dataclass(frozen=True)
class Intervals:
    """The intervals of one record; what has none is absent.

    Attributes:
        scores: by language and column.
        means: by language set and column.
    """

    scores: dict[str, dict[str, Interval]]
    means: dict[str, dict[str, Interval]]


class Difference(NamedTuple):
    """How much a score of one record exceeds that of another, on the same rows.

    Attributes:
        value: of all rows as they are.
        low: of the percentile interval.
        high: of the percentile interval.
        deviation: standard deviation over resamples, for tails too thin to be counted.
    """

    value: float
    low: float
    high: float
    deviation: float


@dataclass(frozen=True)
class Differences:
    """The differences between two records; what cannot be compared is absent.

    Attributes:
        scores: by language and column.
        means: by language set and column.
    """

    scores: dict[str, dict[str, Difference]]
    means: dict[str, dict[str, Difference]]


def percentile_interval(values: Resamples, level: float = LEVEL) -> Interval:
    """Return the middle `level` (a fraction) of resampled values (B,)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def members(record: Mapping[str, Any], language_set: str) -> list[str] | None:
    """Return the languages that a mean of the record is over, or None where the record does not tell.

    A record whose means are over different sets names their languages under "members"; a mean over as many languages
    as have scores is over those.
    """
    named = record.get("members", {}).get(language_set)
    if named is not None:
        return list(named)
    scored = list(record["scores"])
    return scored if record["means"][language_set]["languages"] == len(scored) else None


def _row_sums(pairs_NM: NDArray[np.float64], num_resamples: int, key: Sequence[int]) -> NDArray[np.float64]:
    """Draw N of N rows again and again, and return their sums, float64 (B, M).

    Rows that are equal in all M numbers cannot be told apart by any sum, so what is drawn is how often each distinct
    row occurs: the same distribution, and with two or three columns a thousand times less work.
    """
    random = np.random.default_rng(key)
    distinct_UM, counts_U = np.unique(pairs_NM, axis=0, return_counts=True)
    num_rows, block = len(pairs_NM), max(1, _BLOCK // len(distinct_UM))
    sums = np.empty((num_resamples, pairs_NM.shape[1]))
    for start in range(0, num_resamples, block):
        stop = min(start + block, num_resamples)
        drawn_BU = random.multinomial(num_rows, counts_U / num_rows, size=stop - start)
        sums[start:stop] = drawn_BU.astype(np.float64) @ distinct_UM
    return sums


def _shared_outcomes(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Return numerators and denominators, (N,) each, of every record, by language and column that all have."""
    first = records[0]
    shared: dict[str, dict[str, list[Any]]] = {}
    for language, row in first.get("outcomes", {}).items():
        for column in (column for column in first["columns"] if column in row):
            entries = [record.get("outcomes", {}).get(language, {}).get(column) for record in records]
            if None in entries:
                continue
            arrays = [outcome_arrays(entry) for entry in entries]
            if len({len(score) for score, _ in arrays}) > 1:
                raise ValueError(f"{first['task']}, {language}: outcomes of different length cannot be paired")
            for record, (score, of) in zip(records, arrays, strict=True):
                stated, found = record["scores"][language][column], score.sum() / max(of.sum(), 1)
                if len(score) == 0 or abs(stated - found) > _TOLERANCE:
                    raise ValueError(
                        f"{record['task']}, {language}: {column} is {stated}, but its outcomes give {found}"
                    )
            shared.setdefault(language, {})[column] = arrays
    return shared


def _groups(records: Sequence[Mapping[str, Any]], shared: Mapping[str, Mapping[str, list[Any]]]) -> list[list[str]]:
    """Return the languages whose rows are drawn together: all of them where row i is one sentence in all."""
    sizes = {len(arrays[0][0]) for row in shared.values() for arrays in row.values()}
    if len(sizes) == 1 and any(record.get("parallel_rows", False) for record in records):
        return [list(shared)]
    return [[language] for language in shared]


def _resampled_mean(
    record: Mapping[str, Any], scores: Mapping[str, Mapping[str, Resamples]], language_set: str, column: str
) -> Resamples | None:
    """Return a mean over languages under each resample (B,), or None where it is not to be had."""
    over = members(record, language_set)
    mean = record["means"][language_set].get(column)
    if not over or mean is None or any(column not in scores.get(language, {}) for language in over):
        return None
    # Only a plain mean can be put together again; any other average has another interval.
    if abs(float(np.mean([record["scores"][language][column] for language in over])) - mean) > _TOLERANCE:
        return None
    return np.asarray(np.mean([scores[language][column] for language in over], axis=0), dtype=np.float64)


def resample(
    records: Sequence[Mapping[str, Any]], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[Resampled]:
    """Return the scores of records under each resample; the same rows are drawn for all of them.

    Where the records say "parallel_rows" and all languages have equally many rows, the same sentences are drawn in all
    languages, since a sentence that is hard in one is likely to be so in others; else each language is drawn by itself.
    A denominator of 0 makes a score of 0.

    Args:
        records: one or several of the same data; what not all of them have is left out.
        num_resamples: B.
        seed: of the draws. What is drawn for a language by itself does not depend on the other languages.

    Returns:
        One result a record, in order.

    Raises:
        ValueError: outcomes of different length, or outcomes that do not add up to the score they belong to.
    """
    shared = _shared_outcomes(records)
    scores: list[dict[str, dict[str, Resamples]]] = [{} for _ in records]
    for group in _groups(records, shared):
        slots = [
            (language, column, place)
            for language in group
            for column in shared[language]
            for place in range(len(records))
        ]
        # Numerator and denominator of each slot side by side.
        pairs_NM = np.stack([part for language, column, place in slots for part in shared[language][column][place]], 1)
        name = group[0] if len(group) == 1 else ""
        sums_BM = _row_sums(pairs_NM, num_resamples, [seed, *name.encode("utf-8", "surrogatepass")])
        for slot, (language, column, place) in enumerate(slots):
            score_B, of_B = sums_BM[:, 2 * slot], sums_BM[:, 2 * slot + 1]
            ratio_B = np.divide(score_B, of_B, out=np.zeros(num_resamples), where=of_B > 0)
            scores[place].setdefault(language, {})[column] = ratio_B
    results = []
    for record, by_language in zip(records, scores, strict=True):
        means: dict[str, dict[str, Resamples]] = {}
        for language_set in record["means"]:
            for column in record["columns"]:
                mean_B = _resampled_mean(record, by_language, language_set, column)
                if mean_B is not None:
                    means.setdefault(language_set, {})[column] = mean_B
        results.append(Resampled(by_language, means))
    return results


def intervals(record: Mapping[str, Any], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Intervals:
    """Return the 95 % interval of every score and mean of a record that has outcomes.

    Args:
        record: as `ems.eval.record` describes it.
        num_resamples: more make the last digit steadier.
        seed: of the draws; equal seeds give equal intervals.

    Raises:
        ValueError: as `resample`.
    """
    (result,) = resample([record], num_resamples=num_resamples, seed=seed)

    def of(table: Mapping[str, Mapping[str, Resamples]]) -> dict[str, dict[str, Interval]]:
        return {
            key: {column: percentile_interval(values) for column, values in row.items()} for key, row in table.items()
        }

    return Intervals(of(result.scores), of(result.means))


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Differences:
    """Return new minus old, with paired 95 % intervals, for every score and mean that has outcomes in both.

    Args:
        old: a record.
        new: a record of the same task on the same data, as their "data_digest" must say.
        num_resamples: more make the last digit steadier.
        seed: of the draws.

    Raises:
        ValueError: the data differ, or as `resample`.
    """
    if old["data_digest"] != new["data_digest"]:
        raise ValueError(f"records of different data: {old['data_digest']} and {new['data_digest']}")
    old_result, new_result = resample([old, new], num_resamples=num_resamples, seed=seed)

    def of(kind: str) -> dict[str, dict[str, Difference]]:
        before, after = getattr(old_result, kind), getattr(new_result, kind)
        return {
            key: {
                column: Difference(
                    new[kind][key][column] - old[kind][key][column],
                    *percentile_interval(after[key][column] - before[key][column]),
                    float(np.std(after[key][column] - before[key][column])),
                )
                for column in row
                if column in before[key]
            }
            for key, row in after.items()
            if key in before
        }

    return Differences(of("scores"), of("means"))
