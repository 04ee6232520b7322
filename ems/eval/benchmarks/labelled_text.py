"""Read labelled texts from tables, say what their duplicates may do, and draw splits that do not part equal texts."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ems.errors import InputError, nearest
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.parallel_text import read_text
from ems.eval.transfer import Labelled
from ems.mining import Index

POLARITIES = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class Examples:
    """Labelled texts of one split, in file order.

    Attributes:
        texts: N texts.
        labels: N classes, counted from 0.
        ids: N names of the rows where the set has such, the same in all languages; else none.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def add(self, text: str, label: int) -> None:
        """Add a row that has no id."""
        self.texts.append(text)
        self.labels.append(label)

    def lines(self, classes: Sequence[str] | None = None) -> list[str]:
        """Return what a digest of the data covers: id, if there are ids, class and text of every row.

        Args:
            classes: names of the classes; None: they go by their numbers.
        """
        names = [str(label) if classes is None else classes[label] for label in self.labels]
        columns = (self.ids, names, self.texts) if self.ids else (names, self.texts)
        return ["\t".join(row) for row in zip(*columns, strict=True)]

    def gold(self) -> Index:
        """Return the labels as int64 (N,)."""
        return np.array(self.labels, dtype=np.int64)

    def embedded(self, encoder: SupportsEncode, what: str, dimension: int | None = None) -> Labelled:
        """Return the embeddings with the labels; arguments as for `ems.eval.encoders.embed`."""
        return Labelled(embed(encoder, self.texts, what, dimension), self.gold())


def find_file(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the first of these files that a folder has, plain or with .gz behind its name, or None."""
    for name in names:
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    return None


@dataclass(frozen=True)
class TableRow:
    """One row of a table.

    Attributes:
        path: the file.
        line: on which the row begins, counted from 1.
        cells: what stands between the delimiters.
    """

    path: Path
    line: int
    cells: list[str]

    @property
    def where(self) -> str:
        """File and line, as errors name them."""
        return f"{self.path}, line {self.line}"

    def check_width(self, columns: Sequence[str]) -> None:
        """Make sure that there is a cell for each of these columns.

        Raises:
            InputError: there are more or fewer.
        """
        if len(self.cells) != len(columns):
            found, names = f"{len(self.cells)} columns instead of {len(columns)}", ", ".join(columns)
            raise InputError(f"{self.where}: {found} ({names[:80]})")


def read_table(path: Path, delimiter: str) -> list[TableRow]:
    """Read a table as spreadsheets write it: a cell in quotation marks may hold delimiters and line ends.

    Args:
        path: UTF-8, with Unix or Windows line ends; packed with gzip if its name ends in .gz.
        delimiter: "," or a tab.

    Raises:
        InputError: no such file, damaged gzip, not UTF-8, quotation marks that do not match, or no row at all.
    """
    lines = read_text(path, "rows").removesuffix("\n").split("\n")
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    rows: list[TableRow] = []
    first_line = 1
    try:
        for cells in reader:
            rows.append(TableRow(path, first_line, cells))
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {first_line}: not a row of a table ({error})") from error
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
            raise InputError(f"{header.where}: no column '{column}' in the header '{' '.join(header.cells)[:80]}'")
    text_place, label_place = header.cells.index(text_column), header.cells.index("label")
    examples = Examples()
    for row in rows:
        row.check_width(header.cells)
        text, label = row.cells[text_place], row.cells[label_place].strip()
        if not text.strip():
            raise InputError(f"{row.where}: the text is blank")
        # A text never holds a tab, so one in it means that a quotation mark is not closed and has swallowed rows.
        if delimiter == "\t" and "\t" in text:
            raise InputError(f"{row.where}: the quotation mark that opens the text is not closed on its line")
        if label not in POLARITIES:
            near = nearest(label.lower(), POLARITIES)
            raise InputError(f"{row.where}: unknown label '{label[:40]}'; did you mean '{near}'?")
        examples.add(text, POLARITIES.index(label))
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
