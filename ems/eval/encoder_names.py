"""Name encoders, so that people can tell those of one run from each other."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from ems.errors import InputError


def encoder_name(encoder: object) -> str:
    """Return the name that an encoder gives itself, or that of its class."""
    name = getattr(encoder, "name", None)
    return name if isinstance(name, str) else type(encoder).__name__


def _tail(folder: Path, num_parts: int) -> str:
    return Path(*folder.parts[-num_parts:]).as_posix()


def default_name(folder: Path) -> str:
    """Return the last part of a resolved path, or the last two where that is `model`."""
    # "runs/quickstart/model" says more than "model".
    return _tail(folder, 2 if folder.name == "model" else 1)


def _name_among(folder: Path, folders: Sequence[Path]) -> str:
    """Return as much of the end of a path as tells it from the others."""
    name = default_name(folder)
    alike = [other for other in folders if default_name(other) == name]
    for num_parts in range(name.count("/") + 1, len(folder.parts) + 1):
        name = _tail(folder, num_parts)
        if sum(_tail(other, num_parts) == name for other in alike) == 1:
            break
    return name


def distinct_names(specs: Sequence[object]) -> list[str]:
    """Return a name for each encoder that is to be told from the others.

    A folder is called by its last part, or last two where that is `model`, and by more of its path where another
    folder would have the same name; an object by its own name, and a number from the second of that name on.

    Args:
        specs: folders, or objects that encode.

    Raises:
        InputError: an encoder is given twice.
    """
    folders = [Path(os.path.realpath(spec)) if isinstance(spec, (str, Path)) else None for spec in specs]
    keys = [id(spec) if folder is None else folder for spec, folder in zip(specs, folders, strict=True)]
    known = [folder for folder in folders if folder is not None]
    names: list[str] = []
    for place, (spec, folder) in enumerate(zip(specs, folders, strict=True)):
        if keys[place] in keys[:place]:
            raise InputError(f"model {encoder_name(spec) if folder is None else spec} is given twice")
        name = encoder_name(spec) if folder is None else _name_among(folder, known)
        choices = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        names.append(next(choice for choice in choices if choice not in names))
    return names
