"""Write files so that a reader sees the old content or the new, never a part of either."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
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
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(aside, mode, **text) as file:  # type: ignore[call-overload]
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
    path = Path(path)
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


_LEFT_BEHIND = re.compile(r"\.(?P<name>.+)\.\d+\.(?P<kind>tmp|old)")


def clear_left_behind(*folders: Path) -> None:
    """Remove what processes left in folders that were killed inside `atomic_write` or `atomic_folder`.

    A folder that was moved out of the way, and whose successor never came, is moved back. Nothing else may write there
    meanwhile.
    """
    for path in sorted(path for folder in folders for path in folder.glob(".*.*")):
        match = _LEFT_BEHIND.fullmatch(path.name)
        if match is None:
            continue
        final = path.with_name(match["name"])
        if match["kind"] == "old" and not final.exists():
            os.replace(path, final)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
