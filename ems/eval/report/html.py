"""report.html: everything that results.json holds, on one page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from ems.eval.intervals import NUM_RESAMPLES
from ems.eval.report.cells import difference_cell, number_cell, scrolled
from ems.eval.report.charts import Mark, range_chart
from ems.eval.report.markup import Markup, element, join
from ems.eval.report.scores import mark_of
from ems.eval.report.script import SCRIPT
from ems.eval.report.sections import task_section
from ems.eval.report.style import style_sheet
from ems.eval.report.tasks import Task, tasks_of
from ems.eval.report.wording import MINUS, encoder_mark

_METHOD = (
    "Scores are percent. Small figures beside a score are its 95 % interval: as many sentences as there are were drawn "
    f"with replacement, {NUM_RESAMPLES} times over (percentile bootstrap; queries are drawn, candidates stay). A "
    "difference is tested on the same drawn sentences for both encoders and coloured where its interval excludes zero. "
    "A score of exactly 0 or 100 has an interval of no width. Intervals say nothing of other training runs or seeds."
)


def _policy() -> str:
    """Return what the page may do: run this script and no other, and fetch nothing."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _head() -> Markup:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),
        element("title", "ems evaluation"),
        element("style", Markup(style_sheet())),
    )


def _encoders(results: Mapping[str, Any]) -> Markup:
    several = len(results["encoders"]) > 1
    items = []
    for place, encoder in enumerate(results["encoders"]):
        letter = element("b", encoder_mark(place), class_="badge") if several else None
        fingerprint = encoder["fingerprint"]
        known = (
            element("code", f" {fingerprint}") if fingerprint else element("span", " no fingerprint", class_="muted")
        )
        left_out = [
            element("p", f"Not scored: {left['task']} ({left['reason']}).", class_="muted")
            for left in encoder.get("not_scored", [])
        ]
        items.append(element("li", letter, element("strong", encoder["name"]), known, *left_out))
    return element("ul", *items, class_="encoders")


def _summary_rows(task: Task, num_encoders: int) -> list[Markup]:
    record, column = task.first, task.headline
    arrow = "↑" if record["higher_is_better"] else "↓"
    rows = []
    for name, mean in record["means"].items():
        if column not in mean:
            continue
        values: dict[int, Markup] = {}
        changes: dict[int, Markup] = {}
        by_place = {entry.place: entry for entry in task.entries}
        drawn: list[Mark | None] = []
        for place in range(num_encoders):
            entry = by_place.get(place)
            value = entry.record["means"].get(name, {}).get(column) if entry else None
            if entry is None or value is None:
                drawn.append(None)
                continue
            interval = entry.mean_interval(name, column)
            values[place] = number_cell(value, interval, True)
            drawn.append(mark_of(value, interval, entry.encoder))
            changes[place] = difference_cell(entry.mean_difference(name, column), record["higher_is_better"])
        blank = element("td")
        rows.append(
            element(
                "tr",
                element("th", element("a", task.title, href=f"#{task.anchor}"), scope="row"),
                element("td", f"{name} ", element("span", f"{mean['languages']} of {mean['of']}", class_="muted")),
                element("td", f"{column} {arrow}"),
                *(values.get(place, blank) for place in range(num_encoders)),
                element("td", range_chart(drawn, 0, 1, f"{task.title} on a line from 0 to 100")),
                *(changes.get(place, blank) for place in range(1, num_encoders)),
            )
        )
    return rows


def _summary(tasks: Sequence[Task], encoders: Sequence[Mapping[str, Any]]) -> Markup:
    several = len(encoders) > 1
    rows = [row for task in tasks for row in _summary_rows(task, len(encoders))]
    letters = [
        element("b", encoder_mark(place), class_="badge") if several else "score" for place in range(len(encoders))
    ]
    changes = [join([letter, element("span", MINUS, class_="minus"), letters[0]]) for letter in letters[1:]]
    names = ["task", "mean over", "column", *letters, "0 to 100", *changes]
    head = element("thead", element("tr", *(element("th", name) for name in names)))
    table = element("table", head, element("tbody", *rows), class_="summary")
    return element("section", element("h2", "Summary"), scrolled(table, "summary of all tasks"), id="summary")


def to_html(results: Mapping[str, Any]) -> str:
    """Return the page of a results dict, as `ems.eval.suite.run_suite` gives it.

    The page is one file: it fetches nothing, reads without its script, and is the same for the same results.

    Args:
        results: of one or several encoders; each is compared with the first that has the same task on the same text.

    Returns:
        HTML. Confusions, long texts and further entries are cut to a bounded number; results.json has all of them.

    Raises:
        ValueError: outcomes that do not add up to the score they belong to.
    """
    tasks = tasks_of(results)
    links = [element("li", element("a", task.title, href=f"#{task.anchor}")) for task in tasks]
    header = element(
        "header",
        element("h1", "Evaluation"),
        element("p", f"ems {results.get('ems_version', '')}", class_="muted"),
        _encoders(results),
        element("nav", element("ul", *links), aria_label="tasks") if len(tasks) > 1 else None,
        class_="top",
    )
    main = element("main", _summary(tasks, results["encoders"]), *map(task_section, tasks))
    body = element("body", header, main, element("footer", element("p", _METHOD)), element("script", Markup(SCRIPT)))
    return f"<!doctype html>\n{element('html', _head(), body, lang='en')}\n"
