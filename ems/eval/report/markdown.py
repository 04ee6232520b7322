"""results.md: for each record its protocol, its means with their intervals, and a table of languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ems.eval.intervals import Interval, intervals
from ems.eval.report.wording import direction_word, missing_intervals, percent, percent_range, settings


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table, its first column flush left and the others flush right."""
    lines = ["| " + " | ".join(_cell(cell) for cell in header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]


def _score(row: Mapping[str, float], column: str, interval: Interval | None = None) -> str:
    if column not in row:
        return ""
    return percent(row[column]) + (f" ({percent_range(*interval)})" if interval is not None else "")


def _means_lines(record: Mapping[str, Any]) -> list[str]:
    columns = record["columns"]
    known = intervals(record).means
    rows = [
        [
            name,
            f"{mean['languages']} of {mean['of']}",
            *(_score(mean, column, known.get(name, {}).get(column)) for column in columns),
        ]
        for name, mean in record["means"].items()
    ]
    if not rows:
        return []
    lines = [*table(["mean over", "languages", *columns], rows), ""]
    if known:
        lines += ["In brackets: 95 % bootstrap interval over sentences.", ""]
    for sentence in missing_intervals(record):
        lines += [sentence, ""]
    return lines


def _record_lines(record: Mapping[str, Any]) -> list[str]:
    columns = record["columns"]
    conditions = "; ".join(
        f"{name} = {value}" if name in "kn" else f"{name}: {value}" for name, value in settings(record)
    )
    lines = [
        f"## {record['task']} ({record['split']}), {record['language_set']}",
        "",
        f"Protocol: {record['protocol']}. Percent; {direction_word(record)} is better.",
        f"{conditions[:1].upper()}{conditions[1:]}.",
        "",
        *_means_lines(record),
    ]
    # Languages of one test set may have test sets of their own size, and small ones move by whole tenths a sentence.
    has_sizes = any("n" in row for row in record["scores"].values())
    rows = [
        [language, *([row.get("n", "")] if has_sizes else []), *(_score(row, column) for column in columns)]
        for language, row in record["scores"].items()
    ]
    if rows:
        lines += [*table(["language", *(["n"] if has_sizes else []), *columns], rows), ""]
    if record["skipped"]:
        left_out = "; ".join(f"{entry['language']} ({entry['reason']})" for entry in record["skipped"])
        lines += [f"Skipped: {left_out}.", ""]
    return lines


def to_markdown(results: Mapping[str, Any]) -> str:
    """Return the report of a results dict, as `ems.eval.suite.run_suite` gives it.

    Returns:
        Markdown: a heading for each encoder, then for each record its protocol, its means and a table of languages.
    """
    lines = []
    for encoder in results["encoders"]:
        lines += [f"# {encoder['name']}", ""]
        if encoder["fingerprint"]:
            lines += [f"Fingerprint {encoder['fingerprint']}.", ""]
        lines += [f"Not scored: {left['task']} ({left['reason']}).\n" for left in encoder.get("not_scored", [])]
        for record in encoder["records"]:
            lines += _record_lines(record)
    return "\n".join(lines)
