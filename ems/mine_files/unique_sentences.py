"""Read a text file of any size once, keep every distinct sentence once on disk, and hand sentences out by number."""

from __future__ import annotations

import json
import os
import re
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ems.data.blocks import MAX_LINE_BYTES, Block, read_blocks
from ems.data.sources import CorpusFile
from ems.errors import InputError
from ems.eval.precomputed import load_array
from ems.files import atomic_write, write_json

# What a reader of TSV could take for the end of a column or a line, and other controls.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass
class LineCounts:
    """Say what became of the lines of a file: lines = blank + overlong + duplicates + sentences.

    Attributes:
        lines: lines read; a line ends at "\\n" and nowhere else.
        blank: left out because only white space is in them.
        overlong: left out because they are longer than 1 MiB.
        duplicates: left out because an earlier line holds the same sentence.
        cleaned: lines in which tabs or other control characters were replaced by a space each; they are kept.
        sentences: distinct sentences kept.
        digest: 32 hexadecimal digits of the unpacked content.
    """

    lines: int = 0
    blank: int = 0
    overlong: int = 0
    duplicates: int = 0
    cleaned: int = 0
    sentences: int = 0
    digest: str = ""


def damaged(file: Path, why: object) -> InputError:
    """Return the error to raise for a file of unfinished work that cannot be used."""
    reason = why.strerror if isinstance(why, OSError) and why.strerror else why
    return InputError(f"{file} is damaged ({reason}); delete the folder {file.parent} to start anew")


def first_occurrences(digests: bytes | bytearray) -> NDArray[np.int64]:
    """Return, ascending, the positions of the 16-byte digests that do not occur earlier; memory: 3 times theirs."""
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: of equals the earliest comes first
    ordered = halves[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.sort(order[is_first])


class UniqueSentences:
    """The distinct sentences of a file, in order of first occurrence; their text stays on disk.

    Attributes:
        counts: what became of the lines.
    """

    def __init__(self, text: Path, places: NDArray[np.int64], counts: LineCounts) -> None:
        self.counts = counts
        self._text = text
        self._places = places  # (sentences, 3): first byte, number of bytes, number of the line from 0

    def __len__(self) -> int:
        return len(self._places)

    def line_numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return for sentences start to stop (exclusive) the lines they first stood on, from 0, ascending."""
        return np.array(self._places[start:stop, 2])

    def texts(self, start: int, stop: int) -> list[str]:
        """Return sentences start to stop (exclusive)."""
        places = np.array(self._places[start:stop, :2])
        if len(places) == 0:
            return []
        first = int(places[0, 0])
        with open(self._text, "rb") as file:
            file.seek(first)
            data = file.read(int(places[-1].sum()) - first)
        try:
            return [data[begin : begin + size].decode() for begin, size in (places - [first, 0]).tolist()]
        except UnicodeDecodeError:
            raise damaged(self._text, "not UTF-8") from None

    @contextmanager
    def lookup(self) -> Iterator[Callable[[int], bytes]]:
        """Yield a function that returns the UTF-8 text of one sentence, wherever it stands."""
        with open(self._text, "rb", buffering=0) as file:

            def text_of(sentence: int) -> bytes:
                begin, size, _ = self._places[sentence].tolist()
                return os.pread(file.fileno(), size, begin)

            yield text_of


def _clean(raw: bytes, line: int, path: Path) -> tuple[str, bool]:
    """Return the sentence of a line, and whether a control character was replaced in it."""
    try:
        text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()  # a byte order mark is no text
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {line}: not UTF-8 ({error.reason} at byte {error.start + 1})") from None
    if text.isprintable():
        return text, False  # nearly always
    cleaned, replaced = _CONTROLS.subn(" ", text)
    return cleaned.strip(), replaced > 0


def _paths(name: Path) -> tuple[Path, Path, Path]:
    return Path(f"{name}.text"), Path(f"{name}.places.npy"), Path(f"{name}.counts.json")


def _blocks(path: Path) -> Iterator[Block]:
    return read_blocks(CorpusFile(str(path), path, None, None, "lines"))


def content_digest(path: Path) -> str:
    """Return the digest that `LineCounts` holds of a file, without keeping its sentences.

    Raises:
        InputError: the file cannot be read, or is cut off.
    """
    content = blake2b(digest_size=16)
    for block in _blocks(path):
        content.update(block.source)
    return content.hexdigest()


def read_unique_sentences(path: Path, name: Path) -> UniqueSentences:
    """Read a file and keep its distinct sentences.

    White space at both ends is no part of a sentence. Tabs and other controls inside become a space each, and so does a
    Unicode line separator, so that every sentence fits into a column of TSV. Memory: about 100 bytes a line.

    Args:
        path: UTF-8 text, one sentence a line; plain, .gz, .xz or .zst.
        name: beginning of the names of the files that are written: `name`.text, .places.npy and .counts.json.

    Raises:
        InputError: the file cannot be read, is cut off, or a line is not UTF-8.
    """
    text, places_file, counts_file = _paths(name)
    counts, content, digests = LineCounts(), blake2b(digest_size=16), bytearray()
    places = array("q")
    with (
        atomic_write(text) as spool,
        tqdm(desc=f"read {path.name}", unit="line", disable=not sys.stderr.isatty()) as bar,
    ):
        position = 0
        for block in _blocks(path):
            content.update(block.source)
            raw_lines = block.source.split(b"\n")[:-1]
            for line, raw in enumerate(raw_lines, block.first_line):
                if len(raw) > MAX_LINE_BYTES:
                    counts.overlong += 1
                    continue
                sentence, cleaned = _clean(raw, line, path)
                if not sentence:
                    counts.blank += 1
                    continue
                counts.cleaned += cleaned
                encoded = sentence.encode()
                digests += blake2b(encoded, digest_size=16).digest()
                places.extend((position, len(encoded), line - 1))
                spool.write(encoded + b"\n")
                position += len(encoded) + 1
            counts.lines += len(raw_lines)
            bar.update(len(raw_lines))
    kept = first_occurrences(digests)
    counts.duplicates, counts.sentences = len(digests) // 16 - len(kept), len(kept)
    counts.digest = content.hexdigest()
    with atomic_write(places_file) as file:
        np.save(file, np.frombuffer(places, dtype=np.int64).reshape(-1, 3)[kept])
    write_json(counts_file, asdict(counts))
    return open_unique_sentences(name)


def _read_counts(file: Path) -> LineCounts:
    try:
        saved = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(file, error) from None
    expected = {field.name: type(field.default) for field in fields(LineCounts)}
    if not isinstance(saved, dict) or {key: type(value) for key, value in saved.items()} != expected:
        raise damaged(file, "it does not hold the counts of lines")
    counts = LineCounts(**saved)
    if counts.lines != counts.blank + counts.overlong + counts.duplicates + counts.sentences:
        raise damaged(file, "its counts do not add up")
    return counts


def _read_places(file: Path, num_sentences: int) -> NDArray[np.int64]:
    try:
        places = load_array(file, mmap_mode="r" if num_sentences else None)
    except (OSError, ValueError) as error:
        raise damaged(file, error) from None
    if places.dtype != np.int64 or places.shape != (num_sentences, 3):
        raise damaged(file, f"{places.dtype} {places.shape} instead of int64 {(num_sentences, 3)}")
    return places


def open_unique_sentences(name: Path) -> UniqueSentences:
    """Open what `read_unique_sentences` wrote.

    Raises:
        InputError: a file is missing or damaged; names it.
    """
    text, places_file, counts_file = _paths(name)
    counts = _read_counts(counts_file)
    places = _read_places(places_file, counts.sentences)
    try:
        size = text.stat().st_size
    except OSError as error:
        raise damaged(text, error) from None
    if counts.sentences and size < int(places[-1, :2].sum()):
        raise damaged(text, "it is cut off")
    return UniqueSentences(text, places, counts)
