"""The cells and boxes that several parts of report.html are made of."""

from __future__ import annotations

from ems.eval.intervals import Difference, Interval
from ems.eval.report.markup import Markup, element, join
from ems.eval.report.tasks import Entry, verdict
from ems.eval.report.wording import MINUS, encoder_mark, percent, percent_range, signed_percent, signed_range


def badge(entry: Entry, several: bool) -> Markup | None:
    """Return the letter of an encoder, where there are several."""
    return element("b", encoder_mark(entry.place), class_="badge", title=entry.encoder) if several else None


def number_cell(value: float | None, interval: Interval | None = None, with_interval: bool = False) -> Markup:
    """Return a table's cell with a score, and room for its interval."""
    if value is None:
        return element("td", class_="number")
    small = element("small", percent_range(*interval) if interval else "") if with_interval else None
    return element("td", element("span", percent(value)), small, class_="number", data_value=f"{value:.6f}")


def difference_cell(difference: Difference | None, higher_is_better: bool) -> Markup:
    """Return a table's cell with a difference and its interval, coloured where it is clear."""
    if difference is None:
        return element("td", class_="number")
    return element(
        "td",
        element("span", signed_percent(difference.value)),
        element("small", signed_range(difference.low, difference.high)),
        class_=f"number wide t-{verdict(difference, higher_is_better)}",
        data_value=f"{difference.value:.6f}",
    )


def minus(new: Entry, old: Entry) -> Markup:
    """Return the letters of two encoders with a minus between them."""
    return join([badge(new, True), element("span", MINUS, class_="minus"), badge(old, True)])


def scrolled(table: Markup, label: str) -> Markup:
    """Return wide content in a box of its own, that can be scrolled by keyboard too."""
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)
