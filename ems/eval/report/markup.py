"""Build HTML and SVG so that text is escaped unless it was built here: sentences come from anywhere.

Example:
    >>> from ems.eval.report.markup import element
    >>> str(element("td", "<b>", class_="number", dir="auto"))
    '<td class="number" dir="auto">&lt;b&gt;</td>'
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

VOID = frozenset({"meta", "link", "br"})
# Characters that HTML forbids, and halves of surrogate pairs, which no UTF-8 file can hold.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | int | float | None
Attribute = str | int | float | bool | None


def escape(text: object) -> Markup:
    """Return any text as HTML, also fit for a quoted attribute."""
    return text if isinstance(text, Markup) else Markup(html.escape(_UNFIT.sub("\ufffd", str(text)), quote=True))


def _attribute(name: str, value: Attribute) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{html.escape(_UNFIT.sub(chr(0xFFFD), str(value)), quote=True)}"'


def join(parts: Iterable[Child]) -> Markup:
    """Return parts one after the other; None is nothing."""
    return Markup("".join(escape(part) for part in parts if part is not None))


def element(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """Return an element.

    Args:
        name: of the tag.
        children: text, which is escaped, or `Markup`, which is not; None is nothing.
        attributes: `class_` is class, `data_x` is data-x; None and False are left out, floats get two decimals.
    """
    opening = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    if name in VOID:
        return Markup(f"<{name}{opening}>")
    return Markup(f"<{name}{opening}>{join(children)}</{name}>")
