"""Keep the unfinished work of mining two files in a folder beside the output: sentences and vectors, each resumable."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from ems.errors import InputError
from ems.eval.encoders import OpenedEncoder, embed
from ems.eval.precomputed import load_array
from ems.files import write_json
from ems.mine_files.unique_sentences import (
    UniqueSentences,
    content_digest,
    damaged,
    open_unique_sentences,
    read_unique_sentences,
)
from ems.mine_files.vector_file import VectorFile, write_vectors

logger = logging.getLogger(__name__)

_FORMAT = 2


def check_places(inputs: Sequence[Path], outputs: Sequence[Path], work: Path) -> None:
    """Refuse inputs that are no files, and an output that cannot be written or would overwrite something else."""
    for file in inputs:
        if not file.is_file():
            raise InputError(f"input {file}: {'not a file' if file.exists() else 'no such file'}")
    folder = outputs[0].parent
    if not folder.is_dir():
        raise InputError(f"output {outputs[0]}: folder {folder} does not exist")
    for written in outputs:
        if written.exists() and not written.is_file():
            raise InputError(f"output {written} is not a file; name a .tsv file")
        for file in inputs:
            if written.exists() and written.samefile(file):
                raise InputError(f"input {file} would be overwritten by the output {written}")
    if work.exists() and not work.is_dir():
        raise InputError(f"{work} is in the way: the folder for unfinished work has this name")


def _lock_file(work: Path) -> IO[bytes]:
    try:
        work.mkdir(exist_ok=True)
        return open(work / "lock", "ab")
    except FileNotFoundError:
        raise InputError(f"another process was just removing {work}; try again") from None


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Make the work folder, for this process alone, and remove what a killed one was just writing.

    When the work is stopped, what to do about it is said.
    """
    with _lock_file(work) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(lock.fileno()), os.stat(work / "lock"))
        except OSError:
            held = False
        # A process that ends removes the folder: a lock on a file without a name keeps nobody out.
        if not held:
            raise InputError(f"another process is working in {work}, or was just ending")
        for half_written in work.glob(".*.tmp"):
            half_written.unlink()
        try:
            yield
        except InputError:
            raise
        except BaseException:
            if (work / "identity.json").exists():
                logger.warning("what is done is kept in %s; the same command goes on from there", work)
            raise


def remove(work: Path) -> None:
    """Remove the folder; a kill in between leaves nothing that looks whole."""
    (work / "identity.json").unlink(missing_ok=True)
    shutil.rmtree(work)


def discard_if_nothing_is_embedded(work: Path, given: tuple[Path | None, Path | None]) -> None:
    """Remove the folder if no model has embedded a sentence yet, so that mended arguments or inputs find none."""
    sides = [side for side, vectors in zip(("source", "target"), given, strict=True) if vectors is None]
    if not any((work / f"{side}.vectors.progress.json").exists() for side in sides):
        remove(work)


def _stamp(file: Path) -> dict[str, Any]:
    stat = file.stat()
    return {"file": str(file.absolute()), "bytes": stat.st_size, "changed": stat.st_mtime_ns}


def _vectors_stamp(file: Path | None) -> dict[str, Any] | None:
    if file is None:
        return None
    try:
        with open(file, "rb") as opened:
            return {**_stamp(file), "digest": hashlib.file_digest(opened, "blake2b").hexdigest()}
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def identity_of(
    files: tuple[Path, Path], given: tuple[Path | None, Path | None], encoder: OpenedEncoder | None
) -> dict[str, Any]:
    """Return what must be unchanged for the work done so far to be of use, beside the content of the texts."""
    return {
        "source": _stamp(files[0]),
        "target": _stamp(files[1]),
        "source vectors": _vectors_stamp(given[0]),
        "target vectors": _vectors_stamp(given[1]),
        "model": encoder and encoder.fingerprint,
        "version of ems": _FORMAT,
    }


def _saved_identity(owner: Path) -> dict[str, Any] | None:
    if not owner.exists():
        return None
    try:
        saved = json.loads(owner.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(owner, error) from None
    if not isinstance(saved, dict):
        raise damaged(owner, "it does not say whose work this is")
    return saved


def _of_other_inputs(work: Path, different: Sequence[str]) -> InputError:
    return InputError(
        f"{work} holds unfinished work with another {' and another '.join(different)}; give what it was begun with, or "
        "delete the folder to start anew"
    )


def _resumed(
    work: Path, files: tuple[Path, Path], saved: dict[str, Any], identity: dict[str, Any]
) -> tuple[UniqueSentences, UniqueSentences]:
    """Open what was read before, if it is of the same inputs to the byte."""
    different = [key for key in identity if saved.get(key) != identity[key]]
    if different:
        raise _of_other_inputs(work, different)
    logger.info("going on with the unfinished work in %s", work)
    sides = open_unique_sentences(work / "source"), open_unique_sentences(work / "target")
    # Size and time of a file may be those of another: an archive unpacked, a copy with its time kept.
    names = ("source", "target")
    changed = [names[i] for i in range(2) if content_digest(files[i]) != sides[i].counts.digest]
    if changed:
        raise _of_other_inputs(work, changed)
    return sides


def read_or_resume(
    work: Path, files: tuple[Path, Path], identity: dict[str, Any], *, resumable: bool
) -> tuple[UniqueSentences, UniqueSentences]:
    """Read both files, or open what was read before; from then on the work folder belongs to these inputs and model.

    Args:
        work: the folder.
        files: source and target.
        identity: from `identity_of`.
        resumable: False starts anew whatever is there.

    Raises:
        InputError: a file cannot be read, or the folder belongs to others or is damaged.
    """
    owner = work / "identity.json"
    saved = _saved_identity(owner) if resumable else None
    if saved is not None:
        return _resumed(work, files, saved, identity)
    if any(work.glob("*.progress.json")):
        logger.warning("the vectors left in %s cannot be used and are computed again", work)
    for left in work.iterdir():
        if left.name != "lock":
            left.unlink()
    try:
        sides = read_unique_sentences(files[0], work / "source"), read_unique_sentences(files[1], work / "target")
    except InputError:  # when the input is mended it is another one: nothing here is of use
        remove(work)
        raise
    if resumable:
        write_json(owner, identity)
    return sides


def _given_vectors(file: Path, sentences: UniqueSentences, name: str) -> Callable[[int, int], NDArray[Any]]:
    """Return what looks up the vectors of sentences in an array with one row a line of the text."""

    try:
        shape = load_array(file, mmap_mode="r").shape
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not a readable .npy array ({error})") from None
    if len(shape) != 2 or shape[0] != sentences.counts.lines:
        raise InputError(
            f"{file} has shape {shape}, but {name} has {sentences.counts.lines} lines; give one row a line"
        )
    # Opened for every chunk, as the pages of a mapped file count as memory until it is closed.
    return lambda start, stop: load_array(file, mmap_mode="r")[sentences.line_numbers(start, stop)]


def _embedded(sentences: UniqueSentences, encoder: OpenedEncoder, dimension: int | None) -> Callable[[int, int], Any]:
    """Return what embeds sentences, with a check of the dimension where it is known."""
    return lambda start, stop: embed(encoder, sentences.texts(start, stop), "the input", dimension)


def both_vectors(
    work: Path,
    files: tuple[Path, Path],
    sentences: tuple[UniqueSentences, UniqueSentences],
    given: tuple[Path | None, Path | None],
    encoder: OpenedEncoder | None,
) -> tuple[VectorFile, VectorFile]:
    """Embed the sentences of both sides, or look their vectors up where they are given.

    Given vectors are looked up first: what is wrong with them is known before anything is embedded.

    Raises:
        InputError: the given vectors do not fit the lines, or vectors are not finite or differ in dimension. What was
            embedded so far is kept.
    """
    found: dict[int, VectorFile] = {}
    try:
        looked_up = {
            i: _given_vectors(file, sentences[i], str(files[i])) for i, file in enumerate(given) if file is not None
        }
        dimension: int | None = None
        for i in sorted(range(2), key=lambda i: i not in looked_up):
            rows = looked_up.get(i)
            if rows is None:
                assert encoder is not None
                rows = _embedded(sentences[i], encoder, dimension)
            name = str(given[i] or files[i].name)
            found[i] = write_vectors(work / f"{('source', 'target')[i]}.vectors", len(sentences[i]), rows, name)
            if dimension not in (None, found[i].shape[1]):
                raise InputError(f"source and target vectors differ in dimension: {dimension}, {found[i].shape[1]}")
            dimension = found[i].shape[1]
    except InputError:
        discard_if_nothing_is_embedded(work, given)
        raise
    return found[0], found[1]
