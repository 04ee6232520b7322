"""Write files so that a reader sees the old content or the new, never a part of either."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_write(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Yield a file that takes the name `path` only when the block ends without an exception.

    Args:
        path: final name; its folder must exist. An existing file is replaced.
        mode: "wb", or "w" for UTF-8 text with Unix newlines.

    Raises:
        OSError: as the file system gives it (a full disk, say); `path` is then untouched and nothing is left beside it.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    try:
        with open(aside, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder that takes the name `path` only when the block ends without an exception.

    An existing folder of that name is moved out of the way first and deleted last, so that the old content survives
    every failure before the new one is complete.

    Raises:
        OSError: as the file system gives it; `path` is then untouched and nothing is left beside it.
    """
    path = Path(path).resolve()  # what a link points to is replaced, not the link
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        for folder, _, names in os.walk(aside):
            for name in names:
                with open(Path(folder) / name, "rb") as file:
                    os.fsync(file.fileno())
            sync_folder(Path(folder))
        if path.exists():
            # One is left behind by a process of the same number that was killed while it deleted it.
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def clear_left_behind(folder: Path, names: Iterable[str]) -> None:
    """Remove what processes left in a folder that were killed inside `atomic_write` or `atomic_folder`.

    A folder that was moved out of the way, and whose successor never came, is moved back.

    Args:
        folder: where nobody else writes these files meanwhile.
        names: final names that our processes write there; nothing else is touched.
    """
    for name in names:
        for path in sorted(folder.glob(f".{glob.escape(name)}.*")):
            number, _, kind = path.name.removeprefix(f".{name}.").partition(".")
            if not number.isdecimal() or kind not in ("tmp", "old"):
                continue
            if kind == "old" and not (folder / name).exists():
                os.replace(path, folder / name)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
