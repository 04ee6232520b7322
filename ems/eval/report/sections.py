"""The part of report.html that one task fills; what its records do not hold is left out."""

from __future__ import annotations

import json

from ems.eval.record import make_record
from ems.eval.report.cells import badge
from ems.eval.report.findings import confusions_part, cosines_part, error_kinds_part, matrix_part
from ems.eval.report.markup import Markup, element, join
from ems.eval.report.scores import languages_part, means_part
from ems.eval.report.tasks import Task
from ems.eval.report.wording import direction_word, language_name, settings

MAX_DETAILS = 4000


def _protocol(task: Task) -> Markup:
    record = task.first
    facts = [*settings(record), ("languages", str(record["language_set"]))]
    return join(
        [
            element("p", f"{record['protocol']}. Percent; {direction_word(record)} is better."),
            element(
                "ul",
                *(element("li", f"{name} ", element("b", value)) for name, value in facts),
                class_="facts",
            ),
        ]
    )


def _skipped(task: Task) -> Markup | None:
    entries = {(one["language"], one["reason"]) for entry in task.entries for one in entry.record["skipped"]}
    if not entries:
        return None
    items = [element("li", element("b", language_name(name)), f" {reason}") for name, reason in sorted(entries)]
    return element("details", element("summary", f"Skipped: {len(items)}"), element("ul", *items, class_="skipped"))


_KNOWN = frozenset(
    make_record("", "", split="", direction="", language_set="", n=0, data_digest="", columns=(), scores={})
) | {"cosines", "confusions", "matrix", "by_type", "by_type_total", "members", "parallel_rows"}


def _further(task: Task) -> Markup | None:
    parts = []
    for entry in task.entries:
        rest = {key: value for key, value in entry.record.items() if key not in _KNOWN}
        if rest:
            text = json.dumps(rest, ensure_ascii=False, indent=1)
            text = text if len(text) <= MAX_DETAILS else text[:MAX_DETAILS] + "\n… (the rest is in results.json)"
            name = element("p", badge(entry, True), entry.encoder) if len(task.entries) > 1 else None
            parts += [name, element("pre", text, tabindex=0)]
    return element("details", element("summary", "Further entries of the record"), *parts) if parts else None


def task_section(task: Task) -> Markup:
    """Return the section of a task; what a record does not hold is left out."""
    parts = (
        _protocol,
        means_part,
        languages_part,
        matrix_part,
        error_kinds_part,
        cosines_part,
        confusions_part,
        _skipped,
        _further,
    )
    heading = element("h2", task.first["task"], element("span", f" {task.first['split']}", class_="muted"))
    return element("section", heading, *(part(task) for part in parts), id=task.anchor)
