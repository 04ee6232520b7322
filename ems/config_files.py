"""The YAML files of a configuration: one that may extend another, and where in them a key stands."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ems.errors import InputError
from ems.strict_yaml import line_of, parse_yaml, short


@dataclass(frozen=True)
class ConfigFile:
    """One YAML file of a configuration: its mapping without `extends`, and its nodes, which know their lines."""

    path: Path
    value: dict[str, Any]
    node: Any

    def holds(self, place: tuple[Any, ...]) -> bool:
        """Say whether a key or an item of a list stands in this file."""
        found: Any = self.value
        for step in place:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return False
        return True


def _read_file(path: Path) -> tuple[ConfigFile, str | None]:
    """Read one file and what it extends."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"config {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"config {path} cannot be read: {error}") from None
    value, node = parse_yaml(text, str(path))
    if not isinstance(value, dict):
        raise InputError(f"{path}: a config is a mapping of sections (run, corpus, …)")
    extends = value.pop("extends", None)
    if extends is not None and not (isinstance(extends, str) and extends and "\0" not in extends):
        raise InputError(f"{path}, line {line_of(node, ('extends',))}: extends is the path of one other config")
    return ConfigFile(path, value, node), extends


def read_files(path: Path) -> list[ConfigFile]:
    """Read a config and those that it extends, the most general first.

    Raises:
        InputError: a file cannot be read, is not YAML or no mapping, or extends a missing file or itself.
    """
    files: list[ConfigFile] = []
    while True:
        file, further = _read_file(path)
        files.insert(0, file)
        if further is None:
            return files
        path = path.parent / further
        where = f"{file.path}, line {line_of(file.node, ('extends',))}: extends {short(further)}"
        try:
            again, there = any(path.resolve() == earlier.path.resolve() for earlier in files), path.is_file()
        except (OSError, ValueError, RuntimeError) as error:  # too long, no name of a file, links in a circle
            raise InputError(f"{where}, which cannot be opened: {error}") from None
        if again:
            raise InputError(f"{where}, which extends this one")
        if not there:
            raise InputError(f"{where}, but there is no file {path}")


def _merge(general: dict[str, Any], special: dict[str, Any]) -> dict[str, Any]:
    """Replace keys of one mapping by those of another; sections are merged, lists are not."""
    merged = dict(general)
    for key, value in special.items():
        before = general.get(key)
        merged[key] = _merge(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def where(files: list[ConfigFile], place: tuple[Any, ...]) -> str:
    """Name file and line of a key, where it stands last; of a missing one, those of its section."""
    places = [place[:end] for end in range(len(place), 0, -1)]
    found = ((file, held) for held in places for file in reversed(files) if file.holds(held))
    file, held = next(found, (files[-1], place))
    line = line_of(file.node, held)
    return f"{file.path}{f', line {line}' if line else ''}"


def merged(files: list[ConfigFile]) -> dict[str, Any]:
    """Put files together, the most general first: sections are merged, other values replaced by the last file's."""
    return functools.reduce(_merge, (file.value for file in files))
