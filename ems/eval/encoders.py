"""Open whatever turns sentences into vectors, under one interface, with its embeddings kept on disk if wished.

An encoder is any object with `encode(list of N str) -> (N, D) array`. `open_encoder` makes one of an `ems` model
folder, a sentence-transformers folder or a folder of precomputed .npy files, or takes the object it is given.

Example:
    >>> from ems.eval.encoders import open_encoder
    >>> encoder = open_encoder("runs/quickstart/model", cache="cache")  # doctest: +SKIP
    >>> encoder.encode(["Guten Morgen"]).shape  # doctest: +SKIP
    (1, 128)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError
from ems.eval.parallel_text import digest_lines, read_lines
from ems.files import atomic_write

logger = logging.getLogger(__name__)


class SupportsEncode(Protocol):
    """What the benchmarks need of an encoder."""

    def encode(self, sentences: list[str], /) -> Any:
        """Return numbers (N, D), row i for sentence i."""


def encoder_name(encoder: object) -> str:
    """Return the name that an encoder gives itself, or that of its class."""
    name = getattr(encoder, "name", None)
    return name if isinstance(name, str) else type(encoder).__name__


def _as_vectors(given: Any, count: int, name: str, what: str = "") -> NDArray[np.float32]:
    """Return what encoder `name` gave for `count` sentences, of `what`, as float32 (N, D)."""
    asked = f"{count} sentences" + (f" of {what}" if what else "")
    try:
        with np.errstate(over="ignore"):
            vectors = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"encoder {name} returned no array of numbers for {asked} ({error})") from error
    if vectors.ndim != 2 or len(vectors) != count or (count and not vectors.size):
        raise ValueError(f"encoder {name} returned shape {vectors.shape} for {asked}")
    return vectors


def _unusable_row(vectors: NDArray[np.float32]) -> int | None:
    """Return the first row that holds a value that is not finite."""
    # One such value makes the sum of squares so; only such rows are looked at value by value.
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors)
    return next(
        (row for row in np.flatnonzero(~np.isfinite(squares)).tolist() if not np.isfinite(vectors[row]).all()), None
    )


def embed(
    encoder: SupportsEncode, sentences: Sequence[str], what: str = "", dimension: int | None = None
) -> NDArray[np.float32]:
    """Return the embeddings of sentences, float32 (N, D), after a check of them.

    Each distinct sentence is encoded once: that saves time, and duplicates get equal vectors, which batches of other
    lengths would change in the last digits, so that ties between them would be broken by chance.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        sentences: texts.
        what: what they are, such as "deu_Latn", to name in an error.
        dimension: what D must be, where these vectors are to be compared with others; None: anything.

    Raises:
        ValueError: the encoder did not return one finite vector of that dimension a sentence; names encoder and row.
    """
    row_of = {sentence: row for row, sentence in enumerate(dict.fromkeys(sentences))}
    distinct = list(row_of)
    given = encoder.encode(list(distinct))
    name = encoder_name(encoder)
    vectors = _as_vectors(given, len(distinct), name, what)
    if dimension is not None and vectors.shape[1] != dimension:
        of = f" of {what}" if what else ""
        raise ValueError(
            f"encoder {name} returned dimension {vectors.shape[1]} for sentences{of}, but {dimension} before"
        )
    unusable = _unusable_row(vectors)
    if unusable is not None:
        value = next(value for value in vectors[unusable].tolist() if not math.isfinite(value))
        row, sentence = list(sentences).index(distinct[unusable]), distinct[unusable]
        place = f"row {row}" + (f" of {what}" if what else "")
        raise ValueError(f"encoder {name} returned {value} for {place} ({sentence!r:.60}); vectors must be finite")
    if len(distinct) == len(sentences):
        return vectors
    repeated: NDArray[np.float32] = vectors[[row_of[sentence] for sentence in sentences]]
    return repeated


def _load_array(path: Path, mmap_mode: Literal["r"] | None = None) -> NDArray[Any]:
    """Read a .npy file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is something else.
    """
    try:
        loaded = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (EOFError, BadZipFile) as error:
        raise ValueError(str(error)) from error
    if not isinstance(loaded, np.ndarray):
        raise ValueError("it is an .npz archive; save one array a file")
    return loaded


@dataclass(frozen=True)
class OpenedEncoder:
    """An encoder with a name, and a cache on disk if both a folder and a fingerprint are known.

    Attributes:
        name: for people.
        fingerprint: hex digits that change when the encoder does; None for an object that has none.
        function: list of N sentences -> numbers (N, D).
        cache: folder for embeddings, or None. Several processes may share it.
    """

    name: str
    fingerprint: str | None
    function: Callable[[list[str]], Any]
    cache: Path | None = None

    def encode(self, sentences: list[str]) -> NDArray[np.float32]:
        """Return float32 (N, D), from the cache where the same list was encoded before.

        Raises:
            ValueError: the function did not return one vector a sentence.
        """
        if self.cache is None or self.fingerprint is None:
            return _as_vectors(self.function(sentences), len(sentences), self.name)
        kept = self.cache / self.fingerprint / f"{digest_lines([('', sentences)])}.npy"
        if kept.is_file():
            try:
                return _as_vectors(_load_array(kept), len(sentences), self.name)
            except (OSError, ValueError):
                logger.warning("%s is damaged and is computed again", kept)
        vectors = _as_vectors(self.function(sentences), len(sentences), self.name)
        if _unusable_row(vectors) is None:  # what cannot be scored is not worth keeping
            kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(kept) as file:
                np.save(file, vectors)
        return vectors


_ROWS_CHECKED = 65_536  # at a time, of a mapped array


class PrecomputedEmbeddings:
    """Look sentences up in a folder of embeddings computed elsewhere.

    Every `NAME.npy`, (N, D), stands beside a text file `NAME` or `NAME.txt` with the N sentences it embeds, one a line:
    what `encode --input NAME --output NAME.npy` gives. Vectors are found by text, so that no row can be mistaken.

    Raises:
        InputError: a text is missing, the numbers of rows differ, dimensions differ, or an array is unreadable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[int, int]] = {}
        self._arrays: list[NDArray[Any]] = []
        for array_file in sorted(folder.glob("*.npy")):
            texts = [path for path in (array_file.with_suffix(""), array_file.with_suffix(".txt")) if path.is_file()]
            if not texts:
                raise InputError(f"{array_file}: the sentences are missing; expected {array_file.stem} beside it")
            sentences = read_lines(texts[0])
            vectors = self._read(array_file)
            if len(vectors) != len(sentences):
                raise InputError(f"{array_file} has {len(vectors)} rows, but {texts[0]} has {len(sentences)} lines")
            for row, sentence in enumerate(sentences):
                self._places.setdefault(sentence, (len(self._arrays), row))
            self._arrays.append(vectors)

    def _read(self, array_file: Path) -> NDArray[Any]:
        try:
            vectors = _load_array(array_file, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(f"{array_file}: not a readable .npy array ({error})") from error
        if vectors.dtype.kind not in "fiu":
            raise InputError(f"{array_file} must hold numbers, not {vectors.dtype}")
        if vectors.ndim != 2 or vectors.shape[1] == 0:
            raise InputError(f"{array_file} must have two dimensions (sentences, values), not shape {vectors.shape}")
        for start in range(0, len(vectors), _ROWS_CHECKED):
            with np.errstate(over="ignore"):
                finite = np.isfinite(vectors[start : start + _ROWS_CHECKED].astype(np.float32)).all(axis=1)
            if not finite.all():
                raise InputError(f"{array_file}: row {start + int(finite.argmin())} is not finite in float32")
        if self._arrays and vectors.shape[1] != self._arrays[0].shape[1]:
            raise InputError(f"{array_file} has dimension {vectors.shape[1]}, others {self._arrays[0].shape[1]}")
        return vectors

    def encode(self, sentences: list[str]) -> NDArray[np.float32]:
        """Return float32 (N, D).

        Raises:
            InputError: a sentence is in none of the text files.
        """
        rows = []
        for sentence in sentences:
            if sentence not in self._places:
                raise InputError(f"{self.folder}: no embedding of the sentence {sentence[:60]!r}")
            array, row = self._places[sentence]
            rows.append(self._arrays[array][row])
        return np.array(rows, dtype=np.float32).reshape(len(rows), self._arrays[0].shape[1])


def folder_fingerprint(folder: Path) -> str:
    """Return 16 hex digits of all file names and contents in a model folder but hidden files and README.md."""
    digest = blake2b(digest_size=8)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder)
        if relative.name == "README.md" or any(part.startswith(".") for part in relative.parts):
            continue
        digest.update(f"{relative.as_posix()}\0{path.stat().st_size}\0".encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _from_ems(folder: Path, batch_size: int | None, device: str | None) -> Callable[[list[str]], Any]:
    import ems

    model = ems.load(folder, device=device)
    return lambda sentences: model.encode(sentences, batch_size=batch_size, show_progress_bar=False)


def _from_sentence_transformers(folder: Path, batch_size: int | None, device: str | None) -> Callable[[list[str]], Any]:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(f"{folder} needs the package sentence-transformers, which is not installed") from error
    try:
        model = SentenceTransformer(str(folder), device=device)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: sentence-transformers cannot open it ({first_line})") from error
    return lambda sentences: model.encode(sentences, batch_size=batch_size or 32, show_progress_bar=False)


def _cache_folder(cache: Path) -> Path:
    """Make the folder, so that an unusable one is found before time goes into encoding."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cache {cache} cannot be used as a folder ({error.strerror})") from error
    return cache


def open_encoder(
    spec: str | Path | SupportsEncode,
    *,
    batch_size: int | None = None,
    device: str | None = None,
    cache: str | Path | None = None,
) -> OpenedEncoder:
    """Open an encoder.

    Args:
        spec: a folder: an `ems` model (has ems.json), a sentence-transformers model (modules.json), or precomputed
            embeddings (see `PrecomputedEmbeddings`); or an object with `encode(list of str)`.
        batch_size: sentences a batch, for models; None leaves it to them.
        device: "cpu", "cuda", ...; None leaves it to the model.
        cache: folder to keep embeddings in, by the encoder's fingerprint and the sentences' digest; made if absent.
            An object takes part if it has a `fingerprint` (str).

    Raises:
        InputError: the folder is none of these or cannot be opened, or `cache` is no folder.
        TypeError: an object without `encode`.
    """
    cache = None if cache is None else _cache_folder(Path(cache))
    if not isinstance(spec, (str, Path)):
        if not callable(getattr(spec, "encode", None)):
            raise TypeError(f"an encoder must be a folder or have encode(list of str); {type(spec).__name__} has not")
        fingerprint = getattr(spec, "fingerprint", None)
        return OpenedEncoder(
            encoder_name(spec), fingerprint if isinstance(fingerprint, str) else None, spec.encode, cache
        )
    folder = Path(spec)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder; a published model must be downloaded to a folder first")
    if (folder / "ems.json").is_file():
        function = _from_ems(folder, batch_size, device)
    elif (folder / "modules.json").is_file():
        function = _from_sentence_transformers(folder, batch_size, device)
    elif next(folder.glob("*.npy"), None) is not None:
        # Looked up by text, hence nothing to be gained from a cache.
        function, cache = PrecomputedEmbeddings(folder).encode, None
    else:
        raise InputError(f"{folder}: not a model folder; it has no ems.json, no modules.json and no .npy files")
    # "runs/quickstart/model" says more than "model".
    parts = folder.resolve().parts
    name = "/".join(parts[-2:]) if parts[-1] == "model" else parts[-1]
    return OpenedEncoder(name, folder_fingerprint(folder), function, cache)
