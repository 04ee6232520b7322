"""Read the .review files of Webis-CLS-10, which are nearly XML, item by item and leniently.

A field ends at the next tag of a field, whichever it is, so that one that is closed wrongly or not at all does no harm
(public readers treat the French dvd reviews apart for that). What is no entity stays as it is. The text of a review is
its summary (the headline), a space and its text, or the one of them that there is. A rating above 3 is positive, below
3 negative. Items without text, without a rating, with an unreadable one or with 3, and an item that the end of the file
cuts off, are left out and counted by reason.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from html.entities import html5
from pathlib import Path

from ems.errors import InputError
from ems.eval.benchmarks.labelled_text import Examples
from ems.eval.parallel_text import read_text

RELEASED = "cls-acl10-unprocessed"

_FIELDS = ("category", "rating", "asin", "url", "text", "title", "summary", "reviewer", "location", "date", "helpful")
_ANY_FIELD = re.compile(rf"</?(?:{'|'.join(_FIELDS)})\s*/?>")
_ENTITY = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")  # "R&D;" and "AT&T" are none
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)


def _decoded(entity: re.Match[str]) -> str:
    """Return what an entity stands for, or itself where there is none of this name.

    html.unescape would take beginnings of names, too, and make "¬it;" of "&notit;".
    """
    whole = entity[0]
    return html.unescape(whole) if whole[1] == "#" else html5.get(whole[1:], whole)


def _field(item: str, name: str) -> str:
    """Return the text of a field, "" where there is none."""
    opening = re.search(rf"<{name}\s*>", item)
    if opening is None:
        return ""
    end = _ANY_FIELD.search(item, opening.end())
    content = item[opening.end() : end.start() if end else len(item)]
    return _ENTITY.sub(_decoded, _CDATA.sub(lambda found: found[1], content)).strip()


def _label(rating: str) -> tuple[int | None, str]:
    """Return 1 or 0, or None and the reason why there is no label."""
    if not rating:
        return None, "no rating"
    try:
        stars = float(rating)
    except ValueError:
        return None, "rating not a number"
    if not 1 <= stars <= 5:
        return None, "rating not 1 to 5"
    return (None, "rating 3") if stars == 3 else (int(stars > 3), "")


def read_reviews(path: Path) -> tuple[Examples, Counter[str]]:
    """Read a .review file.

    Args:
        path: UTF-8; see the top of this module.

    Returns:
        Reviews in file order, 1 for positive, and how many items were left out, by reason.

    Raises:
        InputError: no such file, not UTF-8 (naming the line), no items, or none that is usable.
    """
    content = read_text(path)
    starts = [found.start() for found in re.finditer(r"<item\s*>", content)]
    if not starts:
        if "#label#:" in content:
            raise InputError(f"{path}: word counts of the processed release; the texts are in {RELEASED}")
        raise InputError(f"{path}: no <item> in it")
    examples = Examples()
    skipped: Counter[str] = Counter()
    for start, stop in zip(starts, [*starts[1:], len(content)], strict=True):
        item, end, _ = content[start:stop].partition("</item>")
        if not end and stop == len(content):
            skipped["cut off by the end of the file"] += 1
            continue
        label, reason = _label(_field(item, "rating"))
        text = " ".join(part for part in (_field(item, "summary"), _field(item, "text")) if part)
        if label is None or not text:
            skipped[reason or "no text"] += 1
            continue
        examples.add(text, label)
    if not examples.texts:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in skipped.items())
        raise InputError(f"{path}: none of its {len(starts)} items is usable ({reasons})")
    return examples, skipped
