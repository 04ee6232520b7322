"""The scores of one task in report.html: its means, and its languages as a chart and a table."""

from __future__ import annotations

from collections.abc import Sequence

from ems.eval.intervals import Interval
from ems.eval.report.cells import badge, difference_cell, minus, number_cell, scrolled
from ems.eval.report.charts import Mark, Place, axis, difference_chart, dot_chart, range_chart, series_mark
from ems.eval.report.markup import Markup, element, join
from ems.eval.report.tasks import Entry, Task, verdict
from ems.eval.report.wording import (
    SCRIPT_FAMILIES,
    encoder_mark,
    language_name,
    missing_intervals,
    percent,
    percent_range,
    script_family,
    script_of,
    signed_percent,
    signed_range,
)

MAX_LANGUAGES_DRAWN = 250


def mark_of(value: float, interval: Interval | None, tip: str) -> Mark:
    """Return a chart's mark of a score."""
    low, high = interval or (value, value)
    text = f"{tip}: {percent(value)}" + (f" ({percent_range(low, high)})" if interval else "")
    return Mark(value, low, high, text)


def means_part(task: Task) -> Markup | None:
    """Return the table of means with intervals and differences, or None where there are no means."""
    record, several = task.first, len(task.entries) > 1
    columns = record["columns"]
    rows = []
    for name in record["means"]:
        for entry in task.entries:
            mean = entry.record["means"].get(name)
            if mean is None:
                continue
            cells = [number_cell(mean.get(column), entry.mean_interval(name, column), True) for column in columns]
            head = element("th", badge(entry, several), name, scope="row")
            rows.append(element("tr", head, element("td", f"{mean['languages']} of {mean['of']}"), *cells))
        for entry in task.entries[1:]:
            found = [entry.mean_difference(name, column) for column in columns]
            if any(found):
                head = element("th", minus(entry, task.entries[0]), name, scope="row")
                cells = [difference_cell(difference, record["higher_is_better"]) for difference in found]
                rows.append(element("tr", head, element("td"), *cells, class_="difference"))
    if not rows:
        return None
    header = element(
        "tr", element("th", "mean over"), element("th", "languages"), *(element("th", column) for column in columns)
    )
    notes = [element("p", sentence, class_="note") for sentence in missing_intervals(record)]
    table = element("table", element("thead", header), element("tbody", *rows), class_="means")
    return join([scrolled(table, f"means of {task.title}"), *notes])


def _legend(task: Task, languages: Sequence[str]) -> Markup:
    used = {script_family(language) for language in languages}
    colours = [
        element("li", element("i", class_=f"swatch b-{family}"), title)
        for family, (title, _) in SCRIPT_FAMILIES.items()
        if family in used
    ]
    series = [
        element("li", series_mark(number), badge(entry, True), entry.encoder)
        for number, entry in enumerate(task.entries)
    ]
    return element("ul", *(series if len(series) > 1 else []), *colours, class_="legend")


def _marks(task: Task, language: str) -> list[Mark | None]:
    """Return the headline scores of a language, one for each entry."""
    marks: list[Mark | None] = []
    for entry in task.entries:
        value = entry.record["scores"].get(language, {}).get(task.headline)
        name = language_name(language)
        tip = f"{name}, {encoder_mark(entry.place)} {entry.encoder}" if len(task.entries) > 1 else name
        marks.append(None if value is None else mark_of(value, entry.interval(language, task.headline), tip))
    return marks


def _language_chart(task: Task, languages: Sequence[str]) -> Markup:
    places = [
        Place(language, script_family(language), _marks(task, language)) for language in languages[:MAX_LANGUAGES_DRAWN]
    ]
    chart = dot_chart(places, f"{task.title}: {task.headline} by language, best first")
    known = any(entry.intervals.scores for entry in task.entries)
    title = f"{task.headline} by language, percent" + (", with 95 % intervals" if known else "")
    return join([element("h4", title), _legend(task, languages), scrolled(chart, title)])


def _tally(task: Task, entry: Entry, languages: Sequence[str]) -> Markup | None:
    found = [entry.difference(language, task.headline) for language in languages]
    verdicts = [verdict(one, task.first["higher_is_better"]) for one in found if one is not None]
    if not verdicts:
        return None
    return element(
        "p",
        badge(entry, True),
        "is better than ",
        badge(task.entries[0], True),
        f"in {verdicts.count('better')} of {len(verdicts)} languages, worse in {verdicts.count('worse')}, undecided "
        f"in {verdicts.count('open')} ({task.headline}; paired 95 % interval of each language alone, so about one in "
        "twenty stands out by chance).",
    )


def _difference_cells(task: Task, entry: Entry, language: str, reach: float) -> list[Markup]:
    found = entry.difference(language, task.headline)
    higher = task.first["higher_is_better"]
    if found is None:
        return [difference_cell(found, higher), element("td")]
    tip = f"{signed_percent(found.value)} ({signed_range(found.low, found.high)})"
    chart = difference_chart(Mark(found.value, found.low, found.high, tip), reach, verdict(found, higher))
    return [difference_cell(found, higher), element("td", chart)]


def _language_row(task: Task, language: str, sizes: bool, scale: tuple[float, float]) -> list[Markup]:
    """Return the cells of a language that do not compare encoders."""
    row = next(entry.record["scores"][language] for entry in task.entries if language in entry.record["scores"])
    swatch = element("i", class_=f"swatch b-{script_family(language)}")
    cells = [
        element("th", swatch, language_name(language), scope="row"),
        element("td", language),
        element("td", script_of(language)),
    ]
    if sizes:
        cells.append(element("td", row.get("n", ""), data_value=row.get("n", "")))
    for entry in task.entries:
        scores = entry.record["scores"].get(language, {})
        for name in task.first["columns"]:
            interval = entry.interval(language, name) if name == task.headline else None
            cells.append(number_cell(scores.get(name), interval, name == task.headline))
    label = f"{language_name(language)} on a line from {100 * scale[0]:g} to {100 * scale[1]:g}"
    return [*cells, element("td", range_chart(_marks(task, language), *scale, label))]


def _language_table(task: Task, languages: Sequence[str]) -> Markup:
    record, column, several = task.first, task.headline, len(task.entries) > 1
    sizes = any("n" in row for row in record["scores"].values())
    marks = [mark for language in languages for mark in _marks(task, language) if mark is not None]
    start, stop, _ = axis(min(mark.low for mark in marks), max(mark.high for mark in marks))
    found = {entry.place: [entry.difference(language, column) for language in languages] for entry in task.entries[1:]}
    compared = [entry for entry in task.entries[1:] if any(found[entry.place])]
    reach = (
        max((max(-one.low, one.high) for row in found.values() for one in row if one is not None), default=0) or 0.01
    )

    names = ["language", "code", "script", *(["n"] if sizes else [])]
    over = [element("th", colspan=len(names))]
    heads = [element("th", name) for name in names]
    for entry in task.entries:
        over.append(element("th", badge(entry, several), entry.encoder, colspan=len(record["columns"])))
        heads += [element("th", name) for name in record["columns"]]
    over.append(element("th"))
    heads.append(element("th", f"{column}, {100 * start:g} to {100 * stop:g}", class_="fixed"))
    for entry in compared:
        over.append(element("th", minus(entry, task.entries[0]), colspan=2))
        scale = f"{signed_percent(-reach)} to {signed_percent(reach)}"
        heads += [element("th", column), element("th", scale, class_="fixed")]
    rows = []
    for language in languages:
        cells = _language_row(task, language, sizes, (start, stop))
        for entry in compared:
            cells += _difference_cells(task, entry, language, reach)
        rows.append(element("tr", *cells))
    head = element("thead", element("tr", *over, class_="over") if several else None, element("tr", *heads))
    table = element("table", head, element("tbody", *rows), class_="languages sortable")
    return scrolled(table, f"scores of {task.title} by language")


def languages_part(task: Task) -> Markup | None:
    """Return the scores by language, drawn and as a table, or None where there are none."""
    languages = task.languages()
    if not languages:
        return None
    tallies = [_tally(task, entry, languages) for entry in task.entries[1:]]
    summary = element("summary", f"Table of {len(languages)} languages")
    table = element("details", summary, _language_table(task, languages), open=len(languages) <= 16)
    return join([_language_chart(task, languages), *tallies, table])
