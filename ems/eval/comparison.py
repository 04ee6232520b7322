"""Compare new results with kept ones, and tell a score that fell from one that only moved with the sample.

A score has fallen if the paired bootstrap interval of new minus old, from `ems.eval.intervals`, lies wholly on the
worse side of nothing. Means are tested one by one at 95 %. Languages share the 5 % among them (Bonferroni): each of L
is tested at 1 - 0.05 / L, for otherwise one in forty would fall by chance, and with sixty languages most runs would
fail. Such thin tails are not counted in resamples but taken from the normal distribution with the resamples' deviation.
Columns that are no mean or ratio over rows, such as macro F1, are shown and not tested.

Example:
    >>> from ems.eval.comparison import compare
    >>> from ems.eval.results_file import read_results
    >>> comparison = compare(read_results("old/results.json"), read_results("new/results.json"))  # doctest: +SKIP
    >>> print(comparison.to_markdown())  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

from ems.errors import InputError, RunError
from ems.eval.intervals import LEVEL, Differences, differences
from ems.eval.record import Record
from ems.eval.report.markdown import table
from ems.eval.report.wording import percent, signed_percent, signed_range

# What makes two records answers to one question, and what must then be equal for their scores to be comparable.
QUESTION = ("task", "split", "direction", "language_set")
CONDITIONS = ("protocol", "margin", "k", "data_digest")
MAX_NAMED = 5


@dataclass(frozen=True)
class Change:
    """One score, before and after.

    Attributes:
        encoder: name of the new encoder.
        task: name and split.
        row: of what: a language, or "mean of" a language set.
        is_mean: whether it is a mean over languages.
        column: of the record.
        old: fraction.
        new: fraction.
        low: of the interval of new - old that decides.
        high: of that interval.
        verdict: "fell" or "rose" for worse or better beyond doubt, else "".
    """

    encoder: str
    task: str
    row: str
    is_mean: bool
    column: str
    old: float
    new: float
    low: float
    high: float
    verdict: str

    def __str__(self) -> str:
        """Return the score that changed, and by how much, in a few words."""
        return f"{self.task} {self.column}, {self.row} {signed_percent(self.new - self.old)} ({self.encoder})"


@dataclass(frozen=True)
class Comparison:
    """All that was compared, and what was not.

    Attributes:
        changes: of every mean and every language.
        not_compared: what could not be tested, a sentence each.
    """

    changes: list[Change] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)

    @property
    def fallen(self) -> list[Change]:
        """Return what is worse by more than its interval."""
        return [change for change in self.changes if change.verdict == "fell"]

    def to_markdown(self) -> str:
        """Return a table of the means, and of the languages that changed beyond doubt."""
        shown = [change for change in self.changes if change.is_mean or change.verdict]
        rows = [
            [
                change.encoder,
                change.task,
                change.row,
                change.column,
                percent(change.old),
                percent(change.new),
                f"{signed_percent(change.new - change.old)} ({signed_range(change.low, change.high)})",
                change.verdict,
            ]
            for change in shown
        ]
        lines = ["# Comparison", "", *table(["encoder", "task", "of", "column", "old", "new", "change", ""], rows), ""]
        languages = [change for change in self.changes if not change.is_mean]
        if languages:
            counts = [sum(change.verdict == word for change in languages) for word in ("fell", "rose")]
            lines += [
                f"Of {len(languages)} scores of single languages {counts[0]} fell and {counts[1]} rose; the others "
                "moved no more than other sentences would have moved them.",
                "",
            ]
        if self.not_compared:
            lines += ["Not compared:", "", *(f"- {sentence}" for sentence in self.not_compared), ""]
        return "\n".join(lines)

    def check(self) -> None:
        """Raise if a score fell.

        Raises:
            RunError: names the scores.
        """
        fallen = sorted(self.fallen, key=lambda change: not change.is_mean)
        if fallen:
            named = "; ".join(map(str, fallen[:MAX_NAMED]))
            more = f"; and {len(fallen) - MAX_NAMED} more" if len(fallen) > MAX_NAMED else ""
            raise RunError(f"{len(fallen)} scores fell by more than the interval: {named}{more}")


def _old_encoder(encoders: Sequence[Mapping[str, Any]], new: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """Return the old encoder of the same name; of several, the one with the same fingerprint."""
    if len(encoders) == 1:
        return encoders[0]
    name, fingerprint = new["name"], new.get("fingerprint")
    named = [old for old in encoders if old["name"] == name]
    if not named:
        raise InputError(f"{source}: no encoder named {name} in it; there are {', '.join(e['name'] for e in encoders)}")
    if len(named) == 1:
        return named[0]
    same = [old for old in named if fingerprint is not None and old.get("fingerprint") == fingerprint]
    if len(same) != 1:
        raise InputError(
            f"{source}: {len(named)} encoders in it are named {name}, {len(same)} of them with the fingerprint "
            f"{fingerprint} of the one to compare"
        )
    return same[0]


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['task']} ({record['split']})"


def _partner(record: Record, candidates: Sequence[Record], source: str) -> Record | None:
    """Return the old record that a new one is to be compared with, None where the question was not asked."""
    asked = [old for old in candidates if all(old[name] == record[name] for name in QUESTION)]
    if not asked:
        return None
    unequal = [[name for name in CONDITIONS if old[name] != record[name]] for old in asked]
    nearest = min(range(len(asked)), key=lambda place: len(unequal[place]))
    if unequal[nearest]:
        differing = "; ".join(
            f"{name} is '{asked[nearest][name]}' there and '{record[name]}' here" for name in unequal[nearest]
        )
        raise InputError(f"{source}: {_title(record)} cannot be compared: {differing}")
    return asked[nearest]


def _verdict(low: float, high: float, higher_is_better: bool) -> str:
    if low <= 0 <= high:
        return ""
    return "rose" if (low > 0) == higher_is_better else "fell"


def _changes(encoder: str, old: Record, new: Record, found: Differences) -> Iterator[Change]:
    better = new["higher_is_better"]
    for name, row in found.means.items():
        for column, one in row.items():
            values = old["means"][name][column], new["means"][name][column]
            word = _verdict(one.low, one.high, better)
            yield Change(encoder, _title(new), f"mean of {name}", True, column, *values, one.low, one.high, word)
    for name, row in found.scores.items():
        for column, one in row.items():
            sharing = sum(column in other for other in found.scores.values())
            reach = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / sharing) * one.deviation
            low, high = one.value - reach, one.value + reach
            values = old["scores"][name][column], new["scores"][name][column]
            yield Change(encoder, _title(new), name, False, column, *values, low, high, _verdict(low, high, better))


def _untested(encoder: str, old: Record, new: Record, found: Differences) -> Iterator[str]:
    for name, mean in old["means"].items():
        for column in old["columns"]:
            after = new["means"].get(name, {}).get(column)
            if column not in mean or column in found.means.get(name, {}):
                continue
            now = "is not there now" if after is None else f"is {percent(after)} now; it has no interval"
            yield f"{_title(new)} ({encoder}): {column}, mean of {name}, was {percent(mean[column])} and {now}"


def compare(old: Mapping[str, Any], new: Mapping[str, Any], source: str | Path = "old results") -> Comparison:
    """Compare results with old ones.

    Args:
        old: as `ems.eval.results_file.read_results` returns it. One encoder is compared with every new one; of
            several, the one of the same name is, and of several of that name, the one with the same fingerprint.
        new: the same, or as `ems.eval.suite.run_suite` returns it.
        source: where the old ones are from, for messages.

    Raises:
        InputError: an encoder without a partner or with several, records that differ in data or protocol, records
            whose outcomes cannot be used, or nothing to compare at all.
    """
    comparison = Comparison()
    source = str(source)
    for encoder in new["encoders"]:
        before = _old_encoder(old["encoders"], encoder, source)["records"]
        partners = [_partner(record, before, source) for record in encoder["records"]]
        for record, partner in zip(encoder["records"], partners, strict=True):
            if partner is None:
                comparison.not_compared.append(f"{_title(record)} ({encoder['name']}): not in {source}")
                continue
            try:
                found = differences(partner, record)
            except ValueError as error:
                raise InputError(f"{source}: {error}") from error
            comparison.changes.extend(_changes(encoder["name"], partner, record, found))
            comparison.not_compared.extend(_untested(encoder["name"], partner, record, found))
        left = [record for record in before if not any(record is partner for partner in partners)]
        comparison.not_compared.extend(f"{_title(record)} ({encoder['name']}): not run now" for record in left)
    if not comparison.changes:
        raise InputError(f"{source}: nothing to compare: {'; '.join(comparison.not_compared) or 'no records'}")
    return comparison
