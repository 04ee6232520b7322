"""How numbers, languages and records are put into words, the same in every report.

Scores are fractions in a record and percent with one decimal here, averaged before rounding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ems.eval.intervals import members
from ems.languages import LANGUAGES, Language

MINUS, RANGE = "−", "–"

# Eighteen scripts cannot be told apart by colour, seven families of them can.
SCRIPT_FAMILIES: Mapping[str, tuple[str, frozenset[str]]] = {
    "latin": ("Latin", frozenset({"Latn"})),
    "cyrillic": ("Cyrillic", frozenset({"Cyrl"})),
    "caucasus": ("Greek, Armenian, Georgian", frozenset({"Grek", "Armn", "Geor"})),
    "semitic": ("Arabic, Hebrew, Ethiopic", frozenset({"Arab", "Hebr", "Ethi", "Tfng"})),
    "indic": (
        "Indic",
        frozenset({"Beng", "Deva", "Gujr", "Guru", "Knda", "Mlym", "Orya", "Sinh", "Taml", "Telu", "Olck", "Tibt"}),
    ),
    "southeast": ("Thai, Lao, Burmese, Khmer", frozenset({"Thai", "Laoo", "Mymr", "Khmr"})),
    "east": ("Chinese, Japanese, Korean", frozenset({"Hans", "Hant", "Jpan", "Hang"})),
    "other": ("other", frozenset()),
}


def percent(value: float) -> str:
    """Return a fraction as percent with one decimal."""
    return f"{100 * value:.1f}"


def signed_percent(value: float) -> str:
    """Return a difference of fractions as percent points with its sign."""
    text = f"{100 * value:+.1f}"
    return text[1:] if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def percent_range(low: float, high: float) -> str:
    """Return an interval of fractions as percent."""
    return f"{percent(low)}{RANGE}{percent(high)}"


def signed_range(low: float, high: float) -> str:
    """Return an interval of differences as percent points."""
    return f"{signed_percent(low)} to {signed_percent(high)}"


def direction_word(record: Mapping[str, Any]) -> str:
    """Return "higher" or "lower", whichever is better."""
    return "higher" if record["higher_is_better"] else "lower"


def settings(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what makes the numbers of a record comparable, beside its protocol, as names and values."""
    searched = [("margin", record["margin"] or "none (cosine)"), ("k", str(record["k"]))]
    return [
        ("direction", str(record["direction"])),
        *(searched if record["k"] is not None else []),
        ("averaging", str(record["averaging"])),
        ("n", str(record["n"])),
        ("data", str(record["data_digest"])),
    ]


def headline(record: Mapping[str, Any]) -> str:
    """Return the column that stands for the record: the last one that is known by row, or else the last one."""
    known = {column for row in record.get("outcomes", {}).values() for column in row}
    columns: list[str] = record["columns"]
    return next((column for column in reversed(columns) if column in known), columns[-1])


def missing_intervals(record: Mapping[str, Any]) -> list[str]:
    """Return, a sentence each, which columns and means have no interval, and why."""
    known = {column for row in record.get("outcomes", {}).values() for column in row}
    without = [column for column in record["columns"] if column not in known]
    unclear = [name for name in record["means"] if members(record, name) is None]
    sentences = []
    if without:
        sentences.append(f"No interval for {', '.join(without)}: the record has no outcomes by row for it.")
    if unclear and known:
        sentences.append(f"No interval for {', '.join(unclear)}: the record does not say which languages these are.")
    return sentences


def _registered(code: str) -> Language | None:
    # Rows may be finer than a language, such as "de books"; what cannot be told is not guessed.
    for part in (code, re.split(r"[ /.:]", code)[0]):
        if part in LANGUAGES:
            return LANGUAGES[part]
    return None


def language_name(code: str) -> str:
    """Return the English name of a scores' row, or the row's own name where it is none of the registry's languages."""
    language = _registered(code)
    if language is None:
        return code
    rest = re.split(r"[ /.:]", code, maxsplit=1)[1:]
    return " ".join([language.name, *rest])


def script_of(code: str) -> str:
    """Return the ISO 15924 code of a language's script, or "" where it is not known."""
    named = re.fullmatch(r"[a-z]{3}[_-]([A-Z][a-z]{3})", code)
    if named:
        return named[1]
    language = _registered(code)
    return "" if language is None else language.script


def script_family(code: str) -> str:
    """Return which of `SCRIPT_FAMILIES` a language is written in."""
    script = script_of(code)
    return next((name for name, (_, scripts) in SCRIPT_FAMILIES.items() if script in scripts), "other")


def encoder_mark(place: int) -> str:
    """Return the letter that stands for an encoder in tables and charts."""
    return chr(ord("A") + place) if place < 26 else f"#{place + 1}"
