"""The folder of unfinished work beside an output: where it lies, who may use it, and which of its files are ours."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ems.errors import InputError

logger = logging.getLogger(__name__)

READ = tuple(f"{side}.{part}" for side in ("source", "target") for part in ("text", "places.npy", "counts.json"))
_EMBEDDED = tuple(
    f"{side}.vectors{part}" for side in ("source", "target") for part in ("", ".progress.json", ".kept.npy")
)
_OWN = {"identity.json", "lock", *READ, *_EMBEDDED, "search.npz", "pairs.tsv", "pairs.json"}


def places_of(output: str | Path) -> tuple[Path, Path, Path]:
    """Return the output, the report beside it and the folder for the unfinished work.

    Raises:
        InputError: it cannot be the name of a file.
    """
    path = Path(output)
    if path.name in ("", "..") or "\0" in str(output):
        raise InputError(f"output {str(output)!r} is not a file; name a .tsv file")
    return path, path.with_name(f"{path.name}.json"), path.with_name(f".{path.name}.work")


def _check_inputs(inputs: Sequence[Path], work: Path) -> None:
    for file in inputs:
        if not file.is_file():
            raise InputError(f"input {file}: {'not a file' if file.exists() else 'no such file'}")
        if work.resolve() in file.resolve().parents:
            raise InputError(f"input {file} lies in {work}, the folder for unfinished work; move it to another one")


def _check_outputs(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    folder = outputs[0].parent
    if not folder.is_dir():
        raise InputError(f"output {outputs[0]}: folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"output {outputs[0]}: folder {folder} is not writable")
    for written in outputs:
        if written.exists() and not written.is_file():
            raise InputError(f"output {written} is not a file; name a .tsv file")
        for file in inputs:
            if written.exists() and written.samefile(file):
                raise InputError(f"input {file} would be overwritten by the output {written}")


def _is_own(file: Path) -> bool:
    half_written = re.fullmatch(r"\.(.+)\.\d+\.tmp", file.name)
    name = half_written[1] if half_written else file.name
    return name in _OWN and file.is_file() and not file.is_symlink()


def _check_work(work: Path) -> None:
    if work.is_symlink() or (work.exists() and not work.is_dir()):
        raise InputError(f"{work} is in the way: the folder for unfinished work has this name")
    for file in sorted(work.iterdir()) if work.exists() else []:
        if file.name in _OWN and not file.exists():
            continue  # another process is just removing the folder
        if not _is_own(file):
            raise InputError(f"{work} holds {file.name!r}, which is no unfinished work; move it to another folder")


def check_places(inputs: Sequence[Path], outputs: Sequence[Path], work: Path) -> None:
    """Refuse inputs that are no files, and an output that cannot be written or would overwrite something else.

    Raises:
        InputError: names what is in the way.
    """
    try:
        _check_inputs(inputs, work)
        _check_outputs(inputs, outputs)
        _check_work(work)
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise InputError(f"{error.filename}: cannot be used ({error.strerror})") from None


def _own_files(work: Path) -> list[Path]:
    return [file for file in work.iterdir() if _is_own(file)]


def clear(work: Path) -> None:
    """Remove what an earlier run left, but the lock."""
    for file in _own_files(work):
        if file.name != "lock":
            file.unlink()


def _lock_file(work: Path) -> IO[bytes]:
    try:
        work.mkdir(exist_ok=True)
        return open(work / "lock", "ab")
    except FileNotFoundError:
        raise InputError(f"another process was just removing {work}; try again") from None
    except PermissionError:
        raise InputError(f"{work} cannot be written") from None


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
        for half_written in _own_files(work):
            if half_written.name.endswith(".tmp"):
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
    """Remove the folder; a kill in between leaves nothing that looks whole, and what is not ours stays."""
    (work / "identity.json").unlink(missing_ok=True)
    clear(work)
    (work / "lock").unlink(missing_ok=True)
    try:
        work.rmdir()
    except OSError as error:
        logger.warning("%s is left (%s)", work, error.strerror)
