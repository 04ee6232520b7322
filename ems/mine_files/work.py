"""Do the work of mining that is kept in a folder when it stops: reading sentences and embedding them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError
from ems.eval.encoders import OpenedEncoder, embed
from ems.eval.precomputed import load_array
from ems.files import write_json
from ems.mine_files.folder import READ, clear, remove
from ems.mine_files.unique_sentences import (
    UniqueSentences,
    content_digest,
    damaged,
    open_unique_sentences,
    read_unique_sentences,
)
from ems.mine_files.vector_file import VectorFile, write_vectors

logger = logging.getLogger(__name__)

Rows = Callable[[int, int], NDArray[Any]]  # sentences start to stop (exclusive) -> their vectors

_FORMAT = 3


def discard_if_nothing_is_embedded(work: Path, given: tuple[Path | None, Path | None]) -> None:
    """Remove the folder if no model has embedded a sentence yet, so that mended arguments or inputs find none."""
    sides = [side for side, vectors in zip(("source", "target"), given, strict=True) if vectors is None]
    if not any((work / f"{side}.vectors.progress.json").exists() for side in sides):
        remove(work)


def _file_digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "blake2b").hexdigest()


def _digest_if_given(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return _file_digest(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def identity_of(given: tuple[Path | None, Path | None], encoder: OpenedEncoder | None) -> dict[str, Any]:
    """Return what must be unchanged for the work done so far to be of use, beside the content of the texts."""
    return {
        "source vectors": _digest_if_given(given[0]),
        "target vectors": _digest_if_given(given[1]),
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


def _check_digests(work: Path, saved: Any) -> None:
    """Compare what was read of both files with the digests taken then; reads it once."""
    if not isinstance(saved, dict) or saved.keys() != set(READ):
        raise damaged(work / "identity.json", "it does not hold the digests")
    for name, digest in saved.items():
        try:
            same = _file_digest(work / name) == digest
        except OSError as error:
            raise damaged(work / name, error) from None
        if not same:
            raise damaged(work / name, "it is not as it was written")


def _resumed(
    work: Path, files: tuple[Path, Path], saved: dict[str, Any], identity: dict[str, Any]
) -> tuple[UniqueSentences, UniqueSentences]:
    """Open what was read before, if it is of the same inputs to the byte."""
    different = [key for key in identity if saved.get(key) != identity[key]]
    if different:
        raise _of_other_inputs(work, different)
    logger.info("going on with the unfinished work in %s, after a look at every file of it", work)
    _check_digests(work, saved.get("digests"))
    sides = open_unique_sentences(work / "source"), open_unique_sentences(work / "target")
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
    clear(work)
    try:
        sides = read_unique_sentences(files[0], work / "source"), read_unique_sentences(files[1], work / "target")
    except InputError:  # when the input is mended it is another one: nothing here is of use
        remove(work)
        raise
    if resumable:
        write_json(owner, {**identity, "digests": {name: _file_digest(work / name) for name in READ}})
    return sides


def _given_rows(file: Path, text: Path, numbers: NDArray[np.int64]) -> NDArray[Any]:
    """Return some rows of an array; it is opened every time, as mapped pages count as ours until it is closed.

    Raises:
        InputError: one is not finite.
    """
    rows = load_array(file, mmap_mode="r")[numbers]
    with np.errstate(over="ignore"):
        narrow = rows.astype(np.float32, copy=False)
        for i in np.flatnonzero(~np.isfinite(np.einsum("nd,nd->n", narrow, narrow))):
            unusable = narrow[i][~np.isfinite(narrow[i])]
            if len(unusable):
                raise InputError(
                    f"{file}: the vectors must be finite, but row {numbers[i]} (from 0; line {numbers[i] + 1} of "
                    f"{text}) holds {unusable[0]}"
                )
    return rows


def _given_vectors(file: Path, sentences: UniqueSentences, text: Path) -> Rows:
    """Return what looks up the vectors of sentences in an array with one row a line of the text."""
    try:
        given = load_array(file, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not a readable .npy array ({error})") from None
    lines = sentences.counts.lines
    if given.ndim != 2 or given.shape[0] != lines or given.shape[1] == 0:
        raise InputError(f"{file} has shape {given.shape}, but {text} has {lines} lines; give one row a line")
    if given.dtype.kind not in "fiub":
        raise InputError(f"{file} must hold real numbers, not {given.dtype}")
    return lambda start, stop: _given_rows(file, text, sentences.line_numbers(start, stop))


def look_up(
    work: Path,
    files: tuple[Path, Path],
    sentences: tuple[UniqueSentences, UniqueSentences],
    given: tuple[Path | None, Path | None],
) -> tuple[Rows | None, Rows | None]:
    """Return what looks up the vectors of either side where they are given.

    Raises:
        InputError: they do not fit the lines. The work is removed if nothing was embedded.
    """
    try:
        source, target = (
            None if file is None else _given_vectors(file, sentences[i], files[i]) for i, file in enumerate(given)
        )
    except InputError:
        discard_if_nothing_is_embedded(work, given)
        raise
    return source, target


def _embedded(sentences: UniqueSentences, encoder: OpenedEncoder, what: str, dimension: int | None) -> Rows:
    """Return what embeds the sentences of a file, with a check of the dimension where it is known."""
    return lambda start, stop: embed(encoder, sentences.texts(start, stop), what, dimension)


def _without_search(work: Path, rows: Rows) -> Rows:
    """Return `rows` such that neighbours found earlier are dropped: the vectors they were found among were damaged."""

    def fresh(start: int, stop: int) -> NDArray[Any]:
        (work / "search.npz").unlink(missing_ok=True)
        return rows(start, stop)

    return fresh


def both_vectors(
    work: Path,
    files: tuple[Path, Path],
    sentences: tuple[UniqueSentences, UniqueSentences],
    given: tuple[Path | None, Path | None],
    looked_up: tuple[Rows | None, Rows | None],
    encoder: OpenedEncoder | None,
) -> tuple[VectorFile, VectorFile]:
    """Embed the sentences of both sides, or look their vectors up where they are given.

    Given vectors are looked up first: what is wrong with them is known before anything is embedded.

    Raises:
        InputError: vectors are not finite or differ in dimension. What was embedded so far is kept.
    """
    found: dict[int, VectorFile] = {}
    try:
        dimension: int | None = None
        for i in sorted(range(2), key=lambda i: looked_up[i] is None):
            rows = looked_up[i]
            if rows is None:
                assert encoder is not None
                rows = _embedded(sentences[i], encoder, str(files[i]), dimension)
            name = str(given[i] or files[i].name)
            file = work / f"{('source', 'target')[i]}.vectors"
            found[i] = write_vectors(file, len(sentences[i]), _without_search(work, rows), name)
            if dimension not in (None, found[i].shape[1]):
                raise InputError(f"source and target vectors differ in dimension: {dimension}, {found[i].shape[1]}")
            dimension = found[i].shape[1]
    except InputError:
        discard_if_nothing_is_embedded(work, given)
        raise
    return found[0], found[1]
