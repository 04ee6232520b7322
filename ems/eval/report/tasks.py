"""Lay the records of several encoders side by side: what was asked the same way of the same text is one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ems.eval.intervals import Difference, Differences, Interval, Intervals, differences, intervals
from ems.eval.report.wording import headline

SAME = ("task", "split", "direction", "language_set", "protocol", "data_digest")


@dataclass(frozen=True)
class Entry:
    """One encoder's record of a task.

    Attributes:
        place: of the encoder among all, from 0.
        encoder: its name.
        record: as `ems.eval.record` describes it.
        intervals: of its scores and means.
        against_first: differences to the task's first record; None for that record.
    """

    place: int
    encoder: str
    record: Mapping[str, Any]
    intervals: Intervals
    against_first: Differences | None

    def interval(self, language: str, column: str) -> Interval | None:
        """Return the interval of one score, or None where it has none."""
        return self.intervals.scores.get(language, {}).get(column)

    def mean_interval(self, language_set: str, column: str) -> Interval | None:
        """Return the interval of a mean, or None where it has none."""
        return self.intervals.means.get(language_set, {}).get(column)

    def difference(self, language: str, column: str) -> Difference | None:
        """Return the difference of one score to the first record's, or None where there is none."""
        return None if self.against_first is None else self.against_first.scores.get(language, {}).get(column)

    def mean_difference(self, language_set: str, column: str) -> Difference | None:
        """Return the difference of a mean to the first record's, or None where there is none."""
        return None if self.against_first is None else self.against_first.means.get(language_set, {}).get(column)


@dataclass(frozen=True)
class Task:
    """The records of one task, one for each encoder that has it.

    Attributes:
        anchor: name of its place in the page.
        entries: in the encoders' order, at least one.
    """

    anchor: str
    entries: list[Entry]

    @property
    def first(self) -> Mapping[str, Any]:
        """Return the record that the others are compared with."""
        return self.entries[0].record

    @property
    def headline(self) -> str:
        """Return the column that stands for the task."""
        return headline(self.first)

    @property
    def title(self) -> str:
        """Return the task's name and split."""
        return f"{self.first['task']} ({self.first['split']})"

    def languages(self) -> list[str]:
        """Return the languages of all entries, best first by the headline of the first entry that has them."""
        sign = -1.0 if self.first["higher_is_better"] else 1.0
        best: dict[str, float] = {}
        for entry in self.entries:
            for language, row in entry.record["scores"].items():
                if self.headline in row:
                    best.setdefault(language, sign * row[self.headline])
        return sorted(best, key=lambda language: (best[language], language))


def verdict(difference: Difference, higher_is_better: bool) -> str:
    """Return "better" or "worse" where the whole interval says so, and "open" where it holds nothing."""
    if difference.low <= 0 <= difference.high:
        return "open"
    return "better" if (difference.low > 0) == higher_is_better else "worse"


def tasks_of(results: Mapping[str, Any]) -> list[Task]:
    """Return the tasks of a results dict in order of first occurrence, with intervals and differences."""
    together: dict[tuple[Any, ...], list[Entry]] = {}
    for place, encoder in enumerate(results["encoders"]):
        for record in encoder["records"]:
            entries = together.setdefault(tuple(record[name] for name in SAME), [])
            against_first = differences(entries[0].record, record) if entries else None
            entries.append(Entry(place, encoder["name"], record, intervals(record), against_first))
    return [Task(f"task-{number}", entries) for number, entries in enumerate(together.values(), 1)]
