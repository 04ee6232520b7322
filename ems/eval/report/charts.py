"""Draw the charts of report.html: pure functions from numbers to SVG.

Colours are classes, so that the style sheet can fit them to a light or a dark page; `data-tip` is what the page's
script shows beside the pointer. What a chart says also stands in a table, for readers without sight or script.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ems.eval.report.markup import Markup, element, join
from ems.eval.report.wording import percent

HEAT_LEVELS = 20
PAGE_WIDTH = 1132
_STEPS = (1, 2, 5, 10, 20, 25, 50)


@dataclass(frozen=True)
class Mark:
    """One score in a chart.

    Attributes:
        value: fraction.
        low: of its interval; equal to `high` where it has none.
        high: of its interval.
        tip: what to show beside the pointer.
    """

    value: float
    low: float
    high: float
    tip: str


@dataclass(frozen=True)
class Place:
    """One position on the horizontal axis of `dot_chart`.

    Attributes:
        label: below the axis.
        colour: name of a colour class.
        marks: one for each series; None where a series has no score.
    """

    label: str
    colour: str
    marks: Sequence[Mark | None]


def axis(lowest: float, highest: float) -> tuple[float, float, float]:
    """Return start, stop and step of an axis of fractions that holds two values, in round percents within 0 and 100."""
    span = max(100 * (highest - lowest), 1)
    step = next((step for step in _STEPS if span / step <= 6), 50)
    start = max(0, math.floor(100 * lowest / step) * step)
    stop = min(100, math.ceil(100 * highest / step) * step)
    return start / 100, max(stop, start + step) / 100, step / 100


def _svg(width: float, height: float, label: str, *children: Markup | None, class_: str = "chart") -> Markup:
    box = f"0 0 {width:g} {height:g}"
    return element(
        "svg", *children, width=width, height=height, viewBox=box, class_=class_, role="img", aria_label=label
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", **more: str) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor, **more)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _shape(series: int, x: float, y: float, colour: str) -> Markup:
    """Return the mark of a series: a disc for the first, and hollow forms for those compared with it."""
    if series == 0:
        return element("circle", cx=x, cy=y, r=3.6, class_=f"disc f-{colour}")
    forms = ("M-3.2-3.2h6.4v6.4h-6.4z", "M0-4.4L4.4 0 0 4.4-4.4 0z", "M0-4L4 3.2H-4z", "M0 4L4-3.2H-4z")
    return element(
        "path", d=forms[(series - 1) % len(forms)], transform=f"translate({x:.1f} {y:.1f})", class_=f"form s-{colour}"
    )


def series_mark(series: int) -> Markup:
    """Return the mark of a series alone, for a legend."""
    return _svg(12, 12, "", _shape(series, 6, 6, "plain"), class_="mark")


def dot_chart(places: Sequence[Place], label: str) -> Markup:
    """Draw scores over languages, with their intervals as bars.

    The axis does not start at 0: dots, unlike columns, do not ask to be read by their length.

    Args:
        places: from left to right, each with at least one mark.
        label: what the chart shows, for those who cannot see it.
    """
    marks = [mark for place in places for mark in place.marks if mark is not None]
    start, stop, step = axis(min(mark.low for mark in marks), max(mark.high for mark in marks))
    num_series = max(len(place.marks) for place in places)
    # Sixty languages fill the page; more make it scroll, and few do not stretch.
    pitch = max(10.0 + 3 * num_series, min(24.0 + 5 * num_series, (PAGE_WIDTH - 50) / len(places)))
    apart = min(5.0, pitch / (num_series + 1))
    slanted = max(len(place.label) for place in places) > (2 if pitch < 18 else 3 if pitch < 24 else 5)
    left, top, plot, foot = 38.0, 10.0, 190.0, (62.0 if slanted else 22.0)
    width, bottom = left + pitch * len(places) + 12, top + plot

    def y_of(value: float) -> float:
        return bottom - plot * (value - start) / (stop - start)

    parts: list[Markup] = []
    for tick in range(round((stop - start) / step) + 1):
        y = y_of(start + tick * step)
        parts += [_line(left, y, width, y, "grid"), _text(left - 6, y + 3.5, f"{100 * (start + tick * step):g}", "end")]
    for number, place in enumerate(places):
        middle = left + pitch * (number + 0.5) + 4
        for series, mark in enumerate(place.marks):
            if mark is None:
                continue
            x = middle + apart * (series - (num_series - 1) / 2)
            inner = [_shape(series, x, y_of(mark.value), place.colour)]
            if mark.high > mark.low:
                inner.insert(0, _line(x, y_of(mark.low), x, y_of(mark.high), f"bar s-{place.colour}"))
            parts.append(element("g", *inner, data_tip=mark.tip))
        if slanted:
            turn = {"transform": f"rotate(-50 {middle + 3:.1f} {bottom + 14:.1f})"}
            parts.append(_text(middle + 3, bottom + 14, place.label, "end", **turn))
        else:
            parts.append(_text(middle, bottom + 15, place.label))
    return _svg(width, bottom + foot, label, *parts)


def range_chart(marks: Sequence[Mark | None], start: float, stop: float, label: str) -> Markup:
    """Draw the intervals of a few scores one below the other, small enough for a table's cell.

    Args:
        marks: one for each series; None leaves its line empty.
        start: left end, a fraction.
        stop: right end.
        label: for those who cannot see it.
    """
    width, pitch = 150.0, 11.0

    def x_of(value: float) -> float:
        return 6 + (width - 12) * (value - start) / (stop - start)

    parts = []
    for series, mark in enumerate(marks):
        y = pitch * (series + 0.5) + 1
        parts.append(_line(0, y, width, y, "grid"))
        if mark is not None:
            inner = [_line(x_of(mark.low), y, x_of(mark.high), y, "bar s-plain")] if mark.high > mark.low else []
            parts.append(element("g", *inner, _shape(series, x_of(mark.value), y, "plain"), data_tip=mark.tip))
    return _svg(width, pitch * len(marks) + 2, label, *parts, class_="cell")


def difference_chart(mark: Mark, reach: float, verdict: str) -> Markup:
    """Draw a difference and its interval around a line at nothing, for a table's cell.

    Args:
        mark: the difference, of fractions.
        reach: largest difference that fits.
        verdict: name of a colour class: "better", "worse" or "open".
    """
    width, height = 110.0, 13.0

    def x_of(value: float) -> float:
        return width / 2 + (width / 2 - 5) * max(-1.0, min(1.0, value / reach))

    return _svg(
        width,
        height,
        mark.tip,
        _line(width / 2, 0, width / 2, height, "zero"),
        _line(x_of(mark.low), height / 2, x_of(mark.high), height / 2, f"bar s-{verdict}"),
        element("circle", cx=x_of(mark.value), cy=height / 2, r=3, class_=f"disc f-{verdict}"),
        class_="cell",
    )


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Mapping[str, Mapping[str, float]],
    lowest: float,
    highest: float,
    label: str,
) -> Markup:
    """Draw a table of scores as coloured cells, with numbers in them where there are few.

    Args:
        rows: names, from the top.
        columns: names, from the left.
        values: fractions by row and column; what is missing stays blank.
        lowest: what the palest shade must reach; maps that are to be compared share it.
        highest: what the darkest shade must reach.
        label: for those who cannot see it.
    """
    start, stop, _ = axis(lowest, highest)
    few = len(rows) <= 16 and len(columns) <= 16
    cell = 34.0 if few else 12.0
    left = 14.0 + 6.6 * max(map(len, rows))
    top = 14.0 + 6.6 * max(map(len, columns)) if max(map(len, columns)) > 3 or not few else 20.0
    paths: dict[int, list[str]] = {}
    texts = []
    for i, row in enumerate(rows):
        scores = [values.get(row, {}).get(column) for column in columns]
        levels = [None if score is None else round(HEAT_LEVELS * (score - start) / (stop - start)) for score in scores]
        y, j = top + i * cell, 0
        for level, run in itertools.groupby(levels):
            length = len(list(run))
            if level is not None:
                wide = length * cell
                paths.setdefault(level, []).append(f"M{left + j * cell:g} {y:g}h{wide:g}v{cell:g}h-{wide:g}z")
            j += length
        for j, (score, level) in enumerate(zip(scores, levels, strict=True)):
            if few and score is not None and level is not None:
                number = f"{100 * score:.0f}"
                texts.append(_text(left + (j + 0.5) * cell, y + cell / 2 + 4, number, class_=f"n{level}"))
    # One path a shade, not one rectangle a cell: 62 languages make 3800 cells.
    cells = [element("path", d="".join(paths[level]), class_=f"h{level}") for level in sorted(paths)]
    names = [_text(left - 5, top + (i + 0.5) * cell + 4, row, "end") for i, row in enumerate(rows)]
    for j, column in enumerate(columns):
        x = left + (j + 0.5) * cell
        if few and top == 20.0:
            names.append(_text(x, top - 6, column))
        else:
            names.append(_text(x + 4, top - 5, column, "start", transform=f"rotate(-90 {x + 4:.1f} {top - 5:.1f})"))
    grid = ";".join(
        ",".join(percent(values[row][column]) if column in values.get(row, {}) else "" for column in columns)
        for row in rows
    )
    body = element(
        "g", *cells, data_grid=grid, data_rows="\t".join(rows), data_columns="\t".join(columns), data_left=left,
        data_top=top, data_cell=cell,
    )  # fmt: skip
    return _svg(left + cell * len(columns) + 2, top + cell * len(rows) + 2, label, body, *texts, *names, class_="heat")


def heat_scale(lowest: float, highest: float) -> Markup:
    """Draw the legend of a heat map of values between two fractions."""
    start, stop, _ = axis(lowest, highest)
    width = 8.0
    shades = [
        element("rect", x=34 + level * width, y=2, width=width, height=10, class_=f"h{level}")
        for level in range(HEAT_LEVELS + 1)
    ]
    right = 34 + (HEAT_LEVELS + 1) * width
    ends = [_text(29, 11, f"{100 * start:g}", "end"), _text(right + 5, 11, f"{100 * stop:g} %", "start")]
    return _svg(right + 44, 14, f"from {100 * start:g} to {100 * stop:g} percent", *shades, *ends)


def _steps(counts: Sequence[int], x_of: Sequence[float], bottom: float, scale: float) -> str:
    path = [f"M{x_of[0]:.1f} {bottom:.1f}"]
    for place, count in enumerate(counts):
        path.append(f"V{bottom - scale * count:.1f}H{x_of[place + 1]:.1f}")
    return "".join([*path, f"V{bottom:.1f}Z"])


def histogram(edges: tuple[float, float], series: Mapping[str, Sequence[int]], label: str) -> Markup:
    """Draw distributions over one axis; each fills the same area, however many it counts.

    Args:
        edges: first and last edge of the equal bins.
        series: counts by name, equally many bins each; at least one count. The names are colour classes too.
        label: for those who cannot see it.
    """
    num_bins = len(next(iter(series.values())))
    used = [place for counts in series.values() for place, count in enumerate(counts) if count]
    first, last = max(0, min(used) - 1), min(num_bins, max(used) + 2)
    left, top, width, plot = 8.0, 8.0, 330.0, 130.0
    bottom = top + plot
    x_of = [left + (width - 2 * left) * place / (last - first) for place in range(last - first + 1)]
    shares = {name: max(sum(counts), 1) for name, counts in series.items()}
    tallest = max(count / shares[name] for name, counts in series.items() for count in counts)
    parts = [
        element(
            "path", d=_steps(counts[first:last], x_of, bottom, plot / tallest / shares[name]), class_=f"area a-{name}"
        )
        for name, counts in series.items()
    ]
    bin_width = (edges[1] - edges[0]) / num_bins
    every = max(1, round(0.2 / bin_width))
    for place in range(last - first + 1):
        value = edges[0] + (first + place) * bin_width
        if (first + place) % every == round(-edges[0] / bin_width) % every:
            x = x_of[place]
            parts += [_line(x, bottom, x, bottom + 4, "tick"), _text(x, bottom + 16, f"{value:.1f}".replace("-", "−"))]
    parts.append(_line(left, bottom, width - left, bottom, "tick"))
    return join([_svg(width, bottom + 22, label, *parts)])


def stacked_bar(parts: Mapping[str, int], label: str) -> Markup:
    """Draw how a total is made up.

    Args:
        parts: counts by name, at least one above 0; the n-th has colour class "kn".
        label: for those who cannot see it.
    """
    width, height, total = 560.0, 22.0, sum(parts.values())
    shapes, x = [], 0.0
    for number, (name, count) in enumerate(parts.items()):
        wide = width * count / total
        shapes.append(
            element("rect", x=x, y=0, width=wide, height=height, class_=f"k{number % 6}", data_tip=f"{name}: {count}")
        )
        x += wide
    return _svg(width, height, label, *shapes)
