"""Read the released files of test sets, above all line-aligned ones.

One sentence a line; line i of one file translates line i of another. Nothing is dropped or changed but line ends: a
blank line is a sentence, for otherwise rows would no longer match.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ems.data.blocks import MAX_LINE_BYTES, read_blocks
from ems.data.sources import CorpusFile
from ems.errors import InputError


def read_text(path: Path, what: str = "sentences") -> str:
    """Return the whole text of a UTF-8 file that is no list of sentences, such as a table, with Unix line ends.

    Args:
        path: packed with gzip if its name ends in .gz.
        what: what an empty file has none of, for the message.

    Raises:
        InputError: no such file, damaged gzip, not UTF-8 (naming the line), or empty.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8") from error
    if not text:
        raise InputError(f"{path}: no {what} in it")
    return text.replace("\r\n", "\n")


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file without their ends; Unix and Windows ends, and a missing last one, are fine.

    Args:
        path: plain, or packed if its name ends in .gz, .xz or .zst.

    Raises:
        InputError: unreadable, corrupt or cut off, not UTF-8 (naming the line), no line at all, or a line above 1 MiB.
    """
    lines: list[str] = []
    for block in read_blocks(CorpusFile(path.name, path, None, None, "lines")):
        # Only a newline ends a line here; str.splitlines would also cut at U+2028 and the like inside a sentence.
        for raw in block.source.removesuffix(b"\n").split(b"\n"):
            where = f"{path}, line {len(lines) + 1}"
            if len(raw) > MAX_LINE_BYTES:
                raise InputError(f"{where}: longer than {MAX_LINE_BYTES} bytes")
            try:
                lines.append(raw.decode("utf-8").removesuffix("\r"))
            except UnicodeDecodeError:
                raise InputError(f"{where}: not UTF-8") from None
    if not lines:
        raise InputError(f"{path}: no sentences in it")
    lines[0] = lines[0].removeprefix("\ufeff")
    return lines


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
