"""What explains the scores of one task in report.html: matrix, kinds of errors, cosines and confusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ems.eval.report.cells import badge, scrolled
from ems.eval.report.charts import heat_map, heat_scale, histogram, stacked_bar
from ems.eval.report.markup import Markup, element, join
from ems.eval.report.tasks import Task
from ems.eval.report.wording import MINUS, SCRIPT_FAMILIES, language_name, percent, script_family

SHOWN_CONFUSIONS, MAX_CONFUSIONS, MAX_TEXT = 6, 120, 280


def _by_script(names: Iterable[str], matrix: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return names grouped by script, in each group those with the best rows first."""
    families = list(SCRIPT_FAMILIES)

    def key(name: str) -> tuple[int, float, str]:
        row = list(matrix.get(name, {}).values())
        return families.index(script_family(name)), -sum(row) / max(len(row), 1), name

    return sorted(names, key=key)


def matrix_part(task: Task) -> Markup | None:
    """Return heat maps of language by language, or None where no record has a matrix."""
    matrices: list[Mapping[str, Mapping[str, float]]] = [entry.record.get("matrix") or {} for entry in task.entries]
    known = [value for matrix in matrices for row in matrix.values() for value in row.values()]
    if not known:
        return None
    # One order and one scale for all, so that they can be compared by eye.
    first = next(matrix for matrix in matrices if matrix)
    rows = _by_script(dict.fromkeys(row for matrix in matrices for row in matrix), first)
    columns = _by_script(dict.fromkeys(name for matrix in matrices for row in matrix.values() for name in row), first)
    figures = []
    for entry, matrix in zip(task.entries, matrices, strict=True):
        if not matrix:
            continue
        title = join([badge(entry, len(task.entries) > 1), entry.encoder if len(task.entries) > 1 else None])
        drawn = heat_map(rows, columns, matrix, min(known), max(known), f"{task.title}: rows against columns")
        figures.append(
            element(
                "figure", element("figcaption", title, heat_scale(min(known), max(known))), scrolled(drawn, task.title)
            )
        )
    note = "Row: language of the query, or trained on. Column: language searched, or tested. By script, best first."
    heading = join([element("h4", "Language by language"), element("p", note, class_="note")])
    return join([heading, element("div", *figures, class_="figures")])


def _separation(translations: Sequence[int], others: Sequence[int]) -> float:
    """Return how often a translation has the higher cosine of the two, ties within a bin counted half."""
    below, won = 0, 0.0
    for right, other in zip(translations, others, strict=True):
        won += right * (below + other / 2)
        below += other
    return won / max(sum(translations) * sum(others), 1)


def cosines_part(task: Task) -> Markup | None:
    """Return distributions of cosines, or None where no record has them."""
    figures = []
    for entry in task.entries:
        cosines = entry.record.get("cosines")
        if not cosines or not any(cosines["translations"]):
            continue
        series = {name: cosines[name] for name in ("others", "translations")}
        separation = _separation(cosines["translations"], cosines["others"])
        title = join(
            [
                badge(entry, len(task.entries) > 1),
                f"a translation is closer than another sentence in {percent(separation)} % of cases",
            ]
        )
        low, high = cosines["edges"]
        chart = histogram((low, high), series, f"{task.title}: cosines of translations and of other sentences")
        figures.append(element("figure", chart, element("figcaption", title)))
    if not figures:
        return None
    legend = element(
        "ul",
        element("li", element("i", class_="swatch a-translations"), "with the translation"),
        element("li", element("i", class_="swatch a-others"), "with another sentence"),
        class_="legend",
    )
    return join([element("h4", "Cosines, all languages"), legend, element("div", *figures, class_="figures")])


def error_kinds_part(task: Task) -> Markup | None:
    """Return errors by kind, such as those of xsim++, or None where no record tells them apart."""
    tables: list[Mapping[str, Mapping[str, int]]] = [entry.record.get("by_type") or {} for entry in task.entries]
    totals: list[Counter[str]] = [sum((Counter(row) for row in table.values()), Counter()) for table in tables]
    # The kinds of all entries, so that a colour means the same everywhere.
    kinds = [kind for kind, _ in sum(totals, Counter[str]()).most_common()]
    parts: list[Markup | None] = []
    for entry, by_type, counts in zip(task.entries, tables, totals, strict=True):
        if not counts:
            continue
        total = {kind: counts[kind] for kind in kinds}
        legend = [
            element("li", element("i", class_=f"swatch k{number % 6}"), f"{kind} ", element("b", count))
            for number, (kind, count) in enumerate(total.items())
        ]
        rows = [
            element(
                "tr",
                element("th", language_name(language), scope="row"),
                *(element("td", row.get(kind, 0), class_="number", data_value=row.get(kind, 0)) for kind in total),
                element("td", sum(row.values()), class_="number", data_value=sum(row.values())),
            )
            for language, row in by_type.items()
        ]
        head = element("tr", *(element("th", name) for name in ("language", *total, "all")))
        table = element("table", element("thead", head), element("tbody", *rows), class_="sortable")
        parts += [
            element("p", badge(entry, True), entry.encoder) if len(task.entries) > 1 else None,
            scrolled(stacked_bar(total, f"{task.title}: errors by kind"), "errors by kind"),
            element("ul", *legend, class_="legend"),
            element("details", element("summary", "Errors by language"), scrolled(table, "errors by language")),
        ]
    return join([element("h4", "Errors by kind"), *parts]) if parts else None


def _shorten(text: str) -> str:
    """Return at most `MAX_TEXT` characters of a text."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _card(confusion: Mapping[str, Any]) -> Markup:
    language = str(confusion["language"])
    cosines = f"row {confusion['row']}"
    lines = []
    for label, key in (("query", "query"), ("translation", "expected"), ("found", "found")):
        cosine = confusion.get(f"cosine_{key}")
        number = None if cosine is None else f"{cosine:.2f}".replace("-", MINUS)
        lines += [
            element("dt", label, element("span", number) if number else None),
            element("dd", _shorten(str(confusion[key])), dir="auto", lang=language if key == "query" else None),
        ]
    head = element("p", element("b", language_name(language)), " ", element("span", cosines, class_="muted"))
    return element("article", head, element("dl", *lines), class_="card", data_language=language)


def _worst_first(confusions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the worst confusion of every language, then the second, and so on; each round the clearest first."""
    ranks: dict[str, int] = {}
    keyed = []
    for confusion in sorted(confusions, key=lambda one: one["cosine_expected"] - one["cosine_found"]):
        rank = ranks[confusion["language"]] = ranks.get(confusion["language"], 0) + 1
        keyed.append((rank, confusion))
    return [confusion for _, confusion in sorted(keyed, key=lambda pair: pair[0])]


def confusions_part(task: Task) -> Markup | None:
    """Return the clearest confusions with their texts, or None where no record has any."""
    parts = []
    for entry in task.entries:
        every = entry.record.get("confusions") or []
        if not every:
            continue
        worst = _worst_first(every)[:MAX_CONFUSIONS]
        shown, more = worst[:SHOWN_CONFUSIONS], worst[SHOWN_CONFUSIONS:]
        left_out = f" (of {len(every)} in results.json)" if len(every) > len(worst) else ""
        folded = element(
            "details",
            element("summary", f"{len(more)} more{left_out}"),
            element("div", *map(_card, more), class_="cards filtered"),
        )
        parts += [
            element("p", badge(entry, True), entry.encoder) if len(task.entries) > 1 else None,
            element("div", *map(_card, shown), class_="cards"),
            folded if more else None,
        ]
    if not parts:
        return None
    note = "Another sentence was closer than the translation: the clearest case of each language first, with cosines."
    return join([element("h4", "Confusions"), element("p", note, class_="note"), *parts])
