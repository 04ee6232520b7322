"""Damage files in ways that disks, editors and enemies do: bits, cuts, repeats, foreign bytes, other JSON values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

_MARKS = (
    b"\0,\t,\n,\r\n, ,\",',\\,:,#,{,},],- ,? ,---\n,\xff\xfe,\xef\xbb\xbf,\xed\xa0\x80,\xf0\x9f\x98\x80,\xe2\x80\x8b"
)
_NUMBERS = b"NaN,-Infinity,1e999,-1,0,0x7f,null,true,no,999999999999999999999999999999"
_HEADS = [b"\x80\x04\x95", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x93NUMPY\x01\x00"]
_TRAPS = [
    b"[" * 3000,
    b"a" * 5000,
    b"&a [*a]",
    b"!!python/object/apply:os.system [id]",
    b"%YAML 9",
    b"../../etc/passwd",
]
NASTY = [*_MARKS.split(b","), b",", *_NUMBERS.split(b","), *_HEADS, *_TRAPS]


@st.composite
def _edits(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    kind = draw(st.sampled_from(["flip", "cut", "drop", "insert", "repeat", "number", "swap"]))
    where, length = draw(st.floats(0, 1)), draw(st.sampled_from([1, 2, 4, 8, 40, 400]))
    bit, new = draw(st.integers(0, 7)), draw(st.one_of(st.sampled_from(NASTY), st.binary(max_size=12)))

    def edit(data: bytes) -> bytes:
        at = int(where * max(0, len(data) - 1))
        if kind == "flip":
            return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :] if data else data
        if kind == "cut":
            return data[:at]
        if kind == "drop":
            return data[:at] + data[at + length :]
        if kind == "insert":
            return data[:at] + new + data[at:]
        if kind == "repeat":
            return data[: at + length] + data[at:]
        if kind == "swap":
            return data[at + length :] + data[: at + length]
        found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
        if not found:
            return data
        number = found[int(where * (len(found) - 1))]
        return data[: number.start()] + new + data[number.end() :]

    return edit


def damages() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """Functions that damage the content of a file in one to four places."""

    def one_after_the_other(edits: list[Callable[[bytes], bytes]]) -> Callable[[bytes], bytes]:
        def damage(data: bytes) -> bytes:
            for edit in edits:
                data = edit(data)
            return data

        return damage

    return st.lists(_edits(), min_size=1, max_size=4).map(one_after_the_other)


# No big numbers that are valid sizes: to give what was asked for is no fault.
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 70_000),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["/", "."]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=5,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [path, *(place for key, inner in value.items() for place in _places(inner, (*path, key)))]
    if isinstance(value, list):
        return [path, *(place for i, inner in enumerate(value) for place in _places(inner, (*path, i)))]
    return [path]


def with_other_value(value: Any, where: float, new: Any) -> Any:
    """Copy a JSON value with one place in it, at `where` of all places in [0, 1], replaced."""
    copied = json.loads(json.dumps(value))
    places = _places(copied)[1:]
    if not places:
        return new
    *way, last = places[int(where * (len(places) - 1))]
    inner = copied
    for key in way:
        inner = inner[key]
    inner[last] = new
    return copied
