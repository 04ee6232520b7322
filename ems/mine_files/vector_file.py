"""Keep the unit vectors of many sentences in a file that a killed run goes on writing and that is read in blocks."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ems.errors import InputError
from ems.files import atomic_write, write_json
from ems.mine_files.unique_sentences import first_occurrences
from ems.search.unit_rows import Floats, Index, unit_rows

logger = logging.getLogger(__name__)

CHUNK = 16_384  # sentences embedded at a time: what `SentenceEncoder.encode` sorts by length together


class VectorFile:
    """The distinct rows of a file of float32 vectors; a slice of it is read from disk.

    Read, not memory-mapped: pages of a mapped file count as memory of the process until the system wants them back.

    Attributes:
        shape: (distinct rows, dimension).
        kept: int64 (distinct rows,), the row of the file that each is, ascending; None where that is itself.
    """

    def __init__(self, path: Path, num_rows: int, dimension: int, kept: Index | None = None) -> None:
        self.kept = kept
        self.shape = (num_rows if kept is None else len(kept), dimension)
        self._path = path

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Floats:
        """Return float32 (n, dimension), a copy; `rows` has no step."""
        start, stop, _ = rows.indices(self.shape[0])
        if stop <= start:
            return np.empty((0, self.shape[1]), dtype=np.float32)
        if self.kept is None:
            return self._read(start, stop)
        wanted = self.kept[start:stop]
        first, last = int(wanted[0]), int(wanted[-1])
        return self._read(first, last + 1)[wanted - first]

    def _read(self, start: int, stop: int) -> Floats:
        count, offset = (stop - start) * self.shape[1], start * self.shape[1] * 4
        return np.fromfile(self._path, dtype="<f4", count=count, offset=offset).reshape(-1, self.shape[1])


@dataclass(frozen=True)
class _Progress:
    """Say what is finished; written after every chunk, and when the distinct rows are known.

    Attributes:
        rows: whole chunks, or all.
        dimension: values of a row; 0 before the first chunk.
        digests: of the bytes of every chunk.
        kept: digest of the file that lists the distinct rows; "" before it is written.
    """

    rows: int = 0
    dimension: int = 0
    digests: tuple[str, ...] = ()
    kept: str = ""


def _digest(content: bytes | memoryview) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _saved_progress(path: Path, progress: Path, num_rows: int) -> _Progress:
    """Return what was saved.

    Raises:
        OSError: a file is missing.
        ValueError: it cannot be about the file.
    """
    saved = json.loads(progress.read_bytes())
    if not isinstance(saved, dict) or saved.keys() != asdict(_Progress()).keys():
        raise ValueError("it is about something else")
    rows, dimension, digests = saved["rows"], saved["dimension"], saved["digests"]
    if type(rows) is not int or type(dimension) is not int or not 0 < rows <= num_rows or dimension < 1:
        raise ValueError(f"rows {rows!r}, dimension {dimension!r}")
    if rows % CHUNK and rows < num_rows:
        raise ValueError(f"rows {rows} are no whole chunks")
    if not isinstance(digests, list) or len(digests) != -(-rows // CHUNK):
        raise ValueError("the digests are not those of all chunks")
    # Behind the rows that count, a kill may have left a part of the next chunk.
    beyond = path.stat().st_size - rows * dimension * 4
    if beyond < 0 or (beyond > 0 and rows == num_rows):
        raise ValueError(f"{beyond:+d} bytes")
    return _Progress(rows, dimension, tuple(digests), saved["kept"])


def _undamaged_rows(path: Path, found: _Progress) -> int:
    """Return the rows before the first chunk that is not as it was written; reads the file once."""
    with open(path, "rb") as file:
        for chunk, digest in enumerate(found.digests):
            size = min(CHUNK, found.rows - chunk * CHUNK) * found.dimension * 4
            if _digest(file.read(size)) != digest:
                return chunk * CHUNK
    return found.rows


def _finished(path: Path, progress: Path, num_rows: int) -> _Progress:
    """Return what an interrupted run has written and synced, as far as it is undamaged."""
    if not progress.exists():
        return _Progress()
    try:
        found = _saved_progress(path, progress, num_rows)
        rows = _undamaged_rows(path, found)
    except (OSError, ValueError, RecursionError):
        logger.warning("%s or the vectors beside it are damaged: the sentences are embedded again", progress)
        return _Progress()
    if rows == found.rows:
        return found
    logger.warning("%s is damaged: sentences from %d on are embedded again", path, rows + 1)
    return _Progress(rows, found.dimension, found.digests[: rows // CHUNK]) if rows else _Progress()


def _kept_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.kept.npy")


def _progress_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.progress.json")


def _distinct(vectors: VectorFile) -> Index:
    digests = bytearray()
    for start in range(0, len(vectors), CHUNK):
        for row in vectors[start : start + CHUNK]:
            digests += blake2b(row.data, digest_size=16).digest()
    return first_occurrences(digests)


def _read_kept(file: Path, digest: str) -> Index | None:
    """Return which rows are distinct, None where that is not known yet."""
    if not digest:
        return None
    try:
        content = file.read_bytes()
    except OSError:
        content = b""
    if _digest(content) == digest:
        kept: Index = np.load(io.BytesIO(content))
        return kept
    logger.warning("%s is damaged and is computed again", file)
    return None


def _opened(path: Path, finished: _Progress) -> VectorFile:
    """Open a complete file; which of its rows are distinct is found once."""
    kept = _read_kept(_kept_file(path), finished.kept)
    if kept is None:
        kept = _distinct(VectorFile(path, finished.rows, finished.dimension))
        content = io.BytesIO()
        np.save(content, kept)
        with atomic_write(_kept_file(path)) as file:
            file.write(content.getbuffer())
        write_json(_progress_file(path), asdict(replace(finished, kept=_digest(content.getbuffer()))))
    return VectorFile(path, finished.rows, finished.dimension, None if len(kept) == finished.rows else kept)


def write_vectors(path: Path, num_rows: int, embed: Callable[[int, int], Any], name: str) -> VectorFile:
    """Embed rows 0 to `num_rows`, chunk after chunk, and open the result; call it again after a kill to go on.

    What is there already is read once and compared with the digests of its chunks; from a damaged one on, all are
    embedded again, which is said.

    Args:
        path: file to write; `path`.progress.json and `path`.kept.npy stand beside it.
        num_rows: rows to write, at least 1.
        embed: (start, stop) -> numbers (stop - start, D), which are scaled to length 1. Always asked for the same
            chunks, so that an embedding that depends on its neighbours is the same after a kill.
        name: what to call the rows in the progress bar and in errors.

    Raises:
        InputError: the vectors are not finite, or their dimension or number is not what it should be.
        OSError: the disk is full; what is written so far is kept.
    """
    progress = _progress_file(path)
    finished = _finished(path, progress, num_rows)
    rows, dimension = finished.rows, finished.dimension
    with (
        os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file,
        tqdm(desc=f"encode {name}", unit="sent", total=num_rows, disable=not sys.stderr.isatty()) as bar,
    ):
        file.truncate(rows * dimension * 4)
        file.seek(rows * dimension * 4)
        bar.update(rows)
        while rows < num_rows:
            stop = min(rows + CHUNK, num_rows)
            try:
                unit = unit_rows(embed(rows, stop), "the vectors")
            except InputError:
                raise
            except ValueError as error:
                raise InputError(f"{name}, sentences {rows + 1} to {stop}: {error}") from None
            vectors = unit.rows[unit.row_of]
            if len(vectors) != stop - rows or (rows > 0 and vectors.shape[1] != dimension):
                expected = (stop - rows, dimension or vectors.shape[1])
                raise InputError(f"{name}: the encoder returned shape {vectors.shape}, not {expected}")
            content = vectors.astype("<f4").tobytes()
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            bar.update(stop - rows)
            rows, dimension = stop, vectors.shape[1]
            finished = _Progress(rows, dimension, (*finished.digests, _digest(content)))
            write_json(progress, asdict(finished))
    return _opened(path, finished)
