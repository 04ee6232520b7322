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

import importlib.util
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError
from ems.eval.embedding_cache import cache_folder, keep_vectors, read_vectors
from ems.eval.encoder_names import default_name, encoder_name
from ems.eval.parallel_text import digest_lines
from ems.eval.precomputed import PrecomputedEmbeddings

if TYPE_CHECKING:
    from ems.ranks import Ranks

logger = logging.getLogger(__name__)

# To encode, and to count tokens where that can be done.
_Functions = tuple[Callable[[list[str]], Any], Callable[[list[str]], Sequence[int]] | None]


class SupportsEncode(Protocol):
    """What the benchmarks need of an encoder."""

    def encode(self, sentences: list[str], /) -> Any:
        """Return numbers (N, D), row i for sentence i."""


@contextmanager
def warnings_worded(pattern: str) -> Iterator[None]:
    """Put words around what `ems` models warn of meanwhile, as they see sentences but not where those are from.

    Args:
        pattern: "{}" in it stands for the warning.
    """

    def worded(record: logging.LogRecord) -> bool:
        record.msg, record.args = pattern.replace("{}", record.getMessage()), ()
        return True

    log = logging.getLogger("ems.inference")
    log.addFilter(worded)
    try:
        yield
    finally:
        log.removeFilter(worded)


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
    with warnings_worded(f"{{}} ({what})" if what else "{}"):
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


@dataclass(frozen=True)
class OpenedEncoder:
    """An encoder with a name, and a cache on disk if both a folder and a fingerprint are known.

    Attributes:
        name: for people.
        fingerprint: hex digits that change when the encoder does; None for an object that has none.
        function: list of N sentences -> numbers (N, D).
        cache: folder for embeddings, or None. Several processes may share it.
        count_tokens: list of N sentences -> N numbers of tokens, before any are cut off; None where nobody knows.
    """

    name: str
    fingerprint: str | None
    function: Callable[[list[str]], Any]
    cache: Path | None = None
    count_tokens: Callable[[list[str]], Sequence[int]] | None = None

    def encode(self, sentences: list[str]) -> NDArray[np.float32]:
        """Return float32 (N, D), from the cache where the same list was encoded before.

        Raises:
            InputError: something that is no file lies in its place of the cache.
            ValueError: the function did not return one vector a sentence.
        """
        if self.cache is None or self.fingerprint is None:
            return _as_vectors(self.function(sentences), len(sentences), self.name)
        kept = self.cache / self.fingerprint / f"{digest_lines([('', sentences)])}.npy"
        if kept.is_file():
            try:
                return read_vectors(kept)
            except (OSError, ValueError):
                logger.warning("%s is damaged and is computed again", kept)
        elif kept.exists():
            raise InputError(f"cache {kept} is not a file; remove it")
        vectors = _as_vectors(self.function(sentences), len(sentences), self.name)
        if _unusable_row(vectors) is None:  # what cannot be scored is not worth keeping
            keep_vectors(kept, vectors)
        return vectors


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


def _check_object(spec: object) -> None:
    if not callable(getattr(spec, "encode", None)):
        raise TypeError(f"an encoder must be a folder or have encode(list of str); {type(spec).__name__} has not")


def _kind(folder: Path) -> Literal["ems", "sentence-transformers", "precomputed"]:
    """Say by its files what is in a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such model folder; a published model must be downloaded to a folder first")
    if (folder / "ems.json").is_file():
        return "ems"
    if (folder / "modules.json").is_file():
        return "sentence-transformers"
    if next(folder.glob("*.npy"), None) is not None:
        return "precomputed"
    raise InputError(f"{folder}: not a model folder; it has no ems.json, no modules.json and no .npy files")


def _check_ems(folder: Path) -> None:
    from ems.model.folder import read_info

    read_info(folder)
    for name in ("model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is not a whole ems model folder: {name} is missing")


def _without_sentence_transformers(folder: Path) -> InputError:
    return InputError(f"{folder} needs the package sentence-transformers, which is not installed")


def _check_sentence_transformers(folder: Path) -> None:
    if importlib.util.find_spec("sentence_transformers") is None:
        raise _without_sentence_transformers(folder)
    file = folder / "modules.json"
    try:
        modules = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read ({error})") from None
    if not isinstance(modules, list) or not modules:
        raise InputError(f"{file} does not hold a list of modules")
    for module in modules:
        path = module.get("path") if isinstance(module, dict) else None
        if not isinstance(path, str) or not (folder / path).exists():
            raise InputError(f"{file}: the folder of module {module!r:.80} is not there")


def check_encoder(spec: str | Path | SupportsEncode) -> None:
    """Find what can be found wrong with an encoder without loading its weights, before time goes into another one.

    Args:
        spec: as for `open_encoder`.

    Raises:
        InputError: the folder is none that `open_encoder` takes, or lacks a file, or its settings cannot be read.
        TypeError: an object without `encode`.
    """
    if not isinstance(spec, (str, Path)):
        _check_object(spec)
        return
    folder, kind = Path(spec), _kind(Path(spec))
    if kind == "ems":
        _check_ems(folder)
    elif kind == "sentence-transformers":
        _check_sentence_transformers(folder)
    else:
        PrecomputedEmbeddings(folder)


def _from_ems(folder: Path, batch_size: int | None, device: str | None, ranks: Ranks | None) -> _Functions:
    from ems.shared_encoder import load_shared

    model = load_shared(folder, device, ranks=ranks)
    return (
        lambda sentences: model.encode(sentences, batch_size=batch_size, show_progress_bar=False),
        lambda sentences: model.tokenizer.encode_flat(sentences)[1].tolist(),
    )


def _from_sentence_transformers(folder: Path, batch_size: int | None, device: str | None) -> _Functions:
    try:
        from sentence_transformers import SentenceTransformer
        from transformers import PreTrainedTokenizerBase
    except ImportError as error:
        raise _without_sentence_transformers(folder) from error
    if device is not None:
        from ems.inference import choose_device

        choose_device(device)
    try:
        model = SentenceTransformer(str(folder), device=device)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: sentence-transformers cannot open it ({first_line})") from error

    def count_tokens(sentences: list[str]) -> list[int]:
        ids = model.tokenizer(sentences, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        return [len(row) for row in ids]

    return (
        lambda sentences: model.encode(sentences, batch_size=batch_size or 32, show_progress_bar=False),
        count_tokens if isinstance(getattr(model, "tokenizer", None), PreTrainedTokenizerBase) else None,
    )


def open_encoder(
    spec: str | Path | SupportsEncode,
    *,
    batch_size: int | None = None,
    device: str | None = None,
    cache: str | Path | None = None,
    name: str | None = None,
    ranks: Ranks | None = None,
) -> OpenedEncoder:
    """Open an encoder.

    Args:
        spec: a folder: an `ems` model (has ems.json), a sentence-transformers model (modules.json), or precomputed
            embeddings (see `ems.eval.precomputed`); or an object with `encode(list of str)`.
        batch_size: sentences a batch, for models; None leaves it to them.
        device: "cpu", "cuda", ...; None leaves it to the model.
        cache: folder to keep embeddings in, by the encoder's fingerprint and the sentences' digest; made if absent.
            An object takes part if it has a `fingerprint` (str).
        name: for people; None: the end of the folder's path, or the object's own name.
        ranks: processes that share the work of an `ems` model; None for this one alone.

    Raises:
        InputError: the folder is none of these or cannot be opened, or `cache` is no folder.
        TypeError: an object without `encode`.
    """
    cache = None if cache is None else cache_folder(Path(cache))
    if not isinstance(spec, (str, Path)):
        _check_object(spec)
        fingerprint = getattr(spec, "fingerprint", None)
        return OpenedEncoder(
            name or encoder_name(spec),
            fingerprint if isinstance(fingerprint, str) else None,
            spec.encode,
            cache,
        )
    folder, kind = Path(spec), _kind(Path(spec))
    count_tokens = None
    if kind == "ems":
        function, count_tokens = _from_ems(folder, batch_size, device, ranks)
    elif kind == "sentence-transformers":
        function, count_tokens = _from_sentence_transformers(folder, batch_size, device)
    else:
        # Looked up by text, hence nothing to be gained from a cache.
        function, cache = PrecomputedEmbeddings(folder).encode, None
    shown = name or default_name(folder.resolve())
    return OpenedEncoder(shown, folder_fingerprint(folder), function, cache, count_tokens)
