"""Read labelled texts from tables, say what their duplicates may do, and draw splits that do not part equal texts."""

from __future__ import annotations

import csv
import difflib
import gzip
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ems.errors import InputError
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.transfer import Labelled

POLARITIES = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class Examples:
    """Labelled texts of one split.

    Attributes:
        texts: N texts, none of them blank.
        labels: N classes, counted from 0.
    """

    texts: list[str]
    labels: list[int]

    def lines(self) -> list[str]:
        """Return what a digest of the data covers: label and text of every row."""
        return [f"{label}\t{text}" for label, text in zip(self.labels, self.texts, strict=True)]

    def embedded(self, encoder: SupportsEncode, what: str) -> Labelled:
        """Return embeddings float32 (N, D) and labels int64 (N,); errors name `what`."""
        return Labelled(embed(encoder, self.texts, what), np.array(self.labels, dtype=np.int64))


def find_file(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the first of these files that a folder has, plain or with .gz behind its name, or None."""
    for name in names:
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    return None


@dataclass(frozen=True)
class TableRow:
    """One row of a table, and the line of the file that it begins on, counted from 1."""

    line: int
    cells: list[str]


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8") from error


def read_table(path: Path, delimiter: str) -> list[TableRow]:
    """Read a table as spreadsheets write it: a cell in quotation marks may hold delimiters and line ends.

    Args:
        path: UTF-8, with Unix or Windows line ends; packed with gzip if its name ends in .gz.
        delimiter: "," or a tab.

    Raises:
        InputError: no such file, damaged gzip, not UTF-8, quotation marks that do not match, or no row at all.
    """
    lines = _read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    reader = csv.reader((line.removesuffix("\r") + "\n" for line in lines), delimiter=delimiter, strict=True)
    rows: list[TableRow] = []
    first_line = 1
    try:
        for cells in reader:
            rows.append(TableRow(first_line, cells))
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {first_line}: not a row of a table ({error})") from error
    if not rows:
        raise InputError(f"{path}: no rows in it")
    return rows


def read_polarities(path: Path, delimiter: str, text_column: str) -> Examples:
    """Read a table whose header names a column of texts and the column "label"; other columns are not looked at.

    Every row is kept: a split is what its authors released, with its duplicates.

    Args:
        path: see `read_table`.
        delimiter: "," or a tab.
        text_column: name of the column of texts.

    Returns:
        Texts, and labels as places in `POLARITIES`.

    Raises:
        InputError: as `read_table`; and a column missing, a row too long or too short, a blank text, or an unknown
            label.
    """
    header, *rows = read_table(path, delimiter)
    for column in (text_column, "label"):
        if column not in header.cells:
            raise InputError(f"{path}, line 1: no column '{column}' in the header '{' '.join(header.cells)[:80]}'")
    text_place, label_place = header.cells.index(text_column), header.cells.index("label")
    examples = Examples([], [])
    for row in rows:
        where = f"{path}, line {row.line}"
        if len(row.cells) != len(header.cells):
            raise InputError(f"{where}: {len(row.cells)} columns instead of {len(header.cells)}")
        text, label = row.cells[text_place], row.cells[label_place].strip()
        if not text.strip():
            raise InputError(f"{where}: the text is blank")
        # A text never holds a tab, so one in it means that a quotation mark is not closed and has swallowed rows.
        if delimiter == "\t" and "\t" in text:
            raise InputError(f"{where}: the quotation mark that opens the text is not closed on its line")
        if label not in POLARITIES:
            near = difflib.get_close_matches(label.lower(), POLARITIES, n=1, cutoff=0.0)[0]
            raise InputError(f"{where}: unknown label '{label[:40]}'; did you mean '{near}'?")
        examples.texts.append(text)
        examples.labels.append(POLARITIES.index(label))
    if not examples.texts:
        raise InputError(f"{path}: no rows below the header")
    return examples


def check_trainable(path: Path, train: Examples) -> None:
    """Make sure that something can be learned from a training split.

    Raises:
        InputError: there are less than two classes in it.
    """
    if len(set(train.labels)) < 2:
        raise InputError(f"{path}: less than two classes to train on, in {len(train.labels)} rows")


def count_repeats(train: Examples, test: Examples) -> dict[str, int]:
    """Count what duplicates may do to a score.

    Returns:
        "contradictory": texts of the training split that stand there with different labels; "test_in_train": rows of
        the test split whose text is also in the training split.
    """
    labels: dict[str, set[int]] = {}
    for text, label in zip(train.texts, train.labels, strict=True):
        labels.setdefault(text, set()).add(label)
    return {
        "contradictory": sum(len(found) > 1 for found in labels.values()),
        "test_in_train": sum(text in labels for text in test.texts),
    }


def normalised(text: str) -> str:
    """Return a text without what makes no difference for a split: case, width of letters, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def keyed_fraction(text: str, key: str) -> float:
    """Return a number from 0 to below 1 that depends on a text (up to `normalised`) and a key, and on nothing else.

    Splits drawn with it need no list of rows and do not depend on the order of rows; a cut at a number, and not at a
    count of rows, never parts equal texts.
    """
    digest = blake2b(normalised(text).encode("utf-8", "surrogatepass"), digest_size=6, key=key.encode()).digest()
    return int.from_bytes(digest, "big") / 2**48
