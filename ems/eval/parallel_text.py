"""Read the released files of line-aligned test sets.

One sentence a line; line i of one file translates line i of another. Nothing is dropped or changed but line ends: a
blank line is a sentence, for otherwise rows would no longer match.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ems.errors import InputError


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file without their ends; Unix and Windows ends, and a missing last one, are fine.

    Raises:
        InputError: no such file, not UTF-8 (naming the line), or no line at all.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8") from error
    # Only a newline ends a line here; str.splitlines would also cut at U+2028 and the like inside a sentence.
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise InputError(f"{path}: no sentences in it")
    return [line.removesuffix("\r") for line in lines]


def check_same_length(first: Path, first_lines: Sequence[str], second: Path, second_lines: Sequence[str]) -> None:
    """Make sure that two files can be aligned by line.

    Raises:
        InputError: they differ in length; names both files and counts.
    """
    if len(first_lines) != len(second_lines):
        raise InputError(
            f"{first} has {len(first_lines)} lines, but {second} has {len(second_lines)}; line i of one must translate "
            "line i of the other"
        )


class NoLanguageLeft(InputError):  # noqa: N818  (what a caller may take as: leave this test set out)
    """Report that a test set has none of the languages asked for."""


def check_any_left(folder: Path, languages: Collection[str], skipped: Sequence[Mapping[str, str]]) -> None:
    """Make sure that there is a language to score, for a record without scores could pass for a result.

    Args:
        folder: where the files lie.
        languages: those that can be scored.
        skipped: the others, each with "language" and "reason".

    Raises:
        NoLanguageLeft: names the first that were skipped.
    """
    if languages:
        return
    reasons = [f"{entry['language']} ({entry['reason']})" for entry in skipped]
    shown = "; ".join(reasons[:5]) + (f"; and {len(reasons) - 5} more" if len(reasons) > 5 else "")
    raise NoLanguageLeft(
        f"{folder}: no language to score: {shown or 'English is the other side, and no other was asked for'}"
    )


def digest_lines(files: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return 16 hex digits that name the content of a test set: file names and sentences, not line ends."""
    digest = blake2b(digest_size=8)
    for name, lines in files:
        # With the lengths before it, the joined text can be cut in one way only.
        lengths = np.fromiter(map(len, lines), dtype="<i8", count=len(lines))
        for part in (name.encode(), lengths.tobytes(), "".join(lines).encode("utf-8", "surrogatepass")):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()
