"""What the fuzz tests share: how many cases, one file damaged at a time, and what an error has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ems.errors import InputError

which = st.integers(0, 10_000)  # of some files


def cases(number: int) -> Callable[[Any], Any]:
    """Try so many cases, drawn anew in every run; a failing one is printed as code that repeats it."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=number,
        deadline=None,
        suppress_health_check=checks,
        print_blob=True,
        derandomize=False,
        database=None,
    )


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """Give a file another content for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def documented_errors() -> Iterator[None]:
    """Let the one error through that readers document, if it says something a person can read."""
    try:
        yield
    except InputError as error:
        message = " ".join(str(error).split())  # commands print it in one line
        assert 0 < len(message) < 5000, message


def files_read(folder: Path, read: Callable[[], Any]) -> list[Path]:
    """List the files of a folder that a reader looks at: those of which it refuses to read rubbish."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"):
        with replaced(path, b"\xff\x00rubbish\x00"):
            try:
                read()
            except InputError:
                found.append(path)
    return found
