"""Find the corpus files that a configuration names, and the languages each of them holds."""

from __future__ import annotations

import functools
import glob
import importlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ems.errors import InputError, nearest
from ems.languages import LanguageRegistry

logger = logging.getLogger(__name__)

COMPRESSIONS = (".gz", ".xz", ".zst")
EMBEDDED = "embedded:grammar"
_KEYS = ("file", "source", "target", "languages")


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """Name one corpus file, or two line-aligned ones, and say how to read it.

    Attributes:
        name: path relative to the corpus folder, with "/"; the same on every machine. "a.en + a.de" for two files.
        source: the file, or the source side of two. Not a path where `format` is "embedded".
        target: the target side of two line-aligned files, else None.
        languages: source and target code; None where every line of a JSONL file names its own.
        format: "tsv", "lines" (two files), "jsonl", or "embedded" (sentences made by the package itself).
        only: JSONL: codes that both languages of a line must be among; None takes all.
    """

    name: str
    source: Path
    target: Path | None
    languages: tuple[str, str] | None
    format: Literal["tsv", "lines", "jsonl", "embedded"]
    only: tuple[str, ...] | None = None


@functools.cache
def embedded_texts() -> dict[tuple[str, str], bytes]:
    """Return the sentence pairs that the package makes itself, by language pair, as the text of a TSV file.

    Made once a process (a second or so) and kept (about 1 MB a language pair).
    """
    # Imported on use: the grammar is read by the few runs that train on it.
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = importlib.import_module("ems.data.grammar").training_pairs()
    return {languages: "".join(f"{a}\t{b}\n" for a, b in rows).encode() for languages, rows in pairs.items()}


class _UnknownLanguageError(InputError):
    """A file name holds a language that the registry does not know: harmless where other languages are asked for."""


def _without_compression(name: str) -> str:
    return name[: -len(Path(name).suffix)] if name.lower().endswith(COMPRESSIONS) else name


def _languages_in_name(name: str, registry: LanguageRegistry) -> tuple[str, str]:
    """Read "news.en-de.tsv.gz" as ("en", "de"); codes may themselves hold "-" ("eng-Latn-deu-Latn")."""
    stem = _without_compression(Path(name).name).rpartition(".")[0]
    parts = stem.rpartition(".")[2].split("-")
    halves = [("-".join(parts[:cut]), "-".join(parts[cut:])) for cut in range(1, len(parts))]
    known = [half for half in halves if half[0] in registry and half[1] in registry]
    if len(known) == 1:
        return registry.resolve(known[0][0]), registry.resolve(known[0][1])
    if len(halves) == 1:
        try:
            for spelling in halves[0]:
                registry.resolve(spelling)
        except InputError as error:
            raise _UnknownLanguageError(f"{name}: {error}; corpus.languages can declare another") from None
    raise InputError(
        f"{name}: the name does not tell two languages; name the file like en-de.tsv, or use an entry "
        "{file: ..., languages: [en, de]}"
    )


def _single_file(name: str, path: Path, languages: tuple[str, str] | None, registry: LanguageRegistry) -> CorpusFile:
    suffix = Path(_without_compression(path.name)).suffix.lower()
    if suffix == ".tsv":
        return CorpusFile(name, path, None, languages or _languages_in_name(name, registry), "tsv")
    if suffix == ".jsonl":
        try:
            languages = languages or _languages_in_name(name, registry)
        except InputError:
            languages = None  # every line names its own
        return CorpusFile(name, path, None, languages, "jsonl")
    raise InputError(
        f"{name}: not a known format; corpus files end in .tsv or .jsonl (also with .gz, .xz or .zst), two "
        "line-aligned files are an entry {source: ..., target: ..., languages: [en, de]}"
    )


def _name_of(path: str, folder: Path) -> str:
    """Return the name of `path`, which is absolute or relative to `folder`."""
    absolute = Path(os.path.abspath(folder))
    named = Path(os.path.normpath(path))
    try:
        str(named).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"corpus file {str(named)!r}: its name is not UTF-8; rename it") from None
    return (named.relative_to(absolute) if named.is_relative_to(absolute) else named).as_posix()


def _existing(path: str, folder: Path, key: str) -> str:
    """Return `path` where it is a file in `folder`, and name the nearest one where it is not."""
    whole = folder / path
    if whole.is_file():
        return path
    others = sorted(os.listdir(whole.parent)) if whole.parent.is_dir() else []
    near = nearest(whole.name, others, at_least=0.6)
    raise InputError(f"{key}: no file '{path}' in '{folder}'" + (f"; nearest: '{near}'" if near else ""))


def _matches(pattern: str, folder: Path, key: str) -> list[str]:
    """Return the files that `pattern` means, sorted; a name without wildcards, or of a file, means itself."""
    if not glob.has_magic(pattern) or (folder / pattern).is_file():
        return [_existing(pattern, folder, key)]
    found = [match for match in glob.glob(pattern, root_dir=folder, recursive=True) if (folder / match).is_file()]
    if not found:
        wider = glob.glob(_without_compression(pattern) + "*", root_dir=folder, recursive=True)
        otherwise = [match for match in wider if (folder / match).is_file()]
        hint = f"; '{min(otherwise)}' would match '{_without_compression(pattern)}*'" if otherwise else ""
        raise InputError(f"{key}: '{pattern}' matches no file in '{folder}'{hint}")
    return sorted(found)


def _declared_languages(value: Any, key: str, registry: LanguageRegistry) -> tuple[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(isinstance(code, str) for code in value):
        raise InputError(f"{key}.languages: {value!r} is not two language codes, such as [en, de]")
    try:
        return registry.resolve(value[0]), registry.resolve(value[1])
    except InputError as error:
        raise InputError(f"{key}.languages: {error}") from None


def _two_files(entry: Mapping[str, Any], folder: Path, key: str, registry: LanguageRegistry) -> CorpusFile:
    source, target = (_existing(entry[side], folder, f"{key}.{side}") for side in ("source", "target"))
    languages = _declared_languages(entry.get("languages"), key, registry)
    if languages is None:
        endings = [Path(_without_compression(side)).suffix.lstrip(".") for side in (source, target)]
        if not all(ending in registry for ending in endings):
            raise InputError(f"{key}: no languages; add languages: [en, de], or end the names in .en and .de")
        languages = registry.resolve(endings[0]), registry.resolve(endings[1])
    name = f"{_name_of(source, folder)} + {_name_of(target, folder)}"
    return CorpusFile(name, folder / source, folder / target, languages, "lines")


def _expand(entry: Any, folder: Path, key: str, registry: LanguageRegistry, lenient: bool) -> Iterator[CorpusFile]:
    """Yield the corpus files of one entry; `lenient` leaves out those whose name holds an unknown language."""
    if isinstance(entry, str):
        entry = {"file": entry}
    if not isinstance(entry, Mapping):
        raise InputError(f"{key}: {entry!r} is not a file name, a glob, or a mapping")
    for name, value in entry.items():
        if name not in _KEYS:
            raise InputError(f"{key}: unknown key '{name}'; nearest: '{nearest(name, _KEYS)}'")
        if name != "languages" and not (isinstance(value, str) and value):
            raise InputError(f"{key}.{name}: {value!r} is not a file name")
    if not {"source", "target"} & set(entry) and "file" in entry:
        pattern = entry["file"]
    elif {"source", "target"} <= set(entry) and "file" not in entry:
        yield _two_files(entry, folder, key, registry)
        return
    else:
        raise InputError(f"{key}: give either 'file', or 'source' and 'target' together")
    if pattern == EMBEDDED:
        for src, tgt in embedded_texts():
            yield CorpusFile(f"{EMBEDDED}/{src}-{tgt}", Path(EMBEDDED), None, (src, tgt), "embedded")
        return
    if pattern.startswith("embedded:"):
        raise InputError(f"{key}: no embedded text '{pattern}'; nearest: '{EMBEDDED}'")
    languages = _declared_languages(entry.get("languages"), key, registry)
    for match in _matches(pattern, folder, key):
        try:
            yield _single_file(_name_of(match, folder), folder / match, languages, registry)
        except _UnknownLanguageError as error:
            if not lenient:
                raise
            logger.warning("left out, as it is in none of corpus.languages: %s", error)


def _refuse_repeats(files: Sequence[CorpusFile]) -> None:
    """Refuse text that would be counted twice: one file named twice, or a file and its compressed copy."""
    seen: dict[frozenset[str], str] = {}
    for file in files:
        paths = [Path(file.name)] if file.format == "embedded" else [p for p in (file.source, file.target) if p]
        # As a set: en-de of two files and de-en of the same two files hold the same pairs.
        text = frozenset(_without_compression(str(path.resolve())) for path in paths)
        if text in seen:
            same = "is named twice" if seen[text] == file.name else f"and '{seen[text]}' are the same text"
            raise InputError(f"corpus.files: '{file.name}' {same}; name it once")
        seen[text] = file.name


def find_files(
    entries: Sequence[str | Mapping[str, Any]],
    folder: Path | str,
    *,
    registry: LanguageRegistry,
    languages: Sequence[str] | None = None,
) -> list[CorpusFile]:
    """Find the corpus files that `entries` name.

    Args:
        entries: each a file name or glob (`**` crosses folders) relative to `folder`, a mapping with `file` and maybe
            `languages`, a mapping with `source`, `target` and maybe `languages`, or "embedded:grammar".
        folder: the corpus folder; need not exist when no entry needs it.
        registry: the languages that may occur.
        languages: keep only files whose both languages are listed, in any spelling; None keeps all. Lines of JSONL
            files that name their own languages are sifted when read (`CorpusFile.only`).

    Returns:
        Files in the order of the entries, matches of a glob by name.

    Raises:
        InputError: an entry is malformed or matches nothing, a file is named twice, its format or languages cannot be
            told, or a language of `languages` has no file.
        TypeError: `entries` or `languages` is one string.
    """
    if isinstance(entries, str) or isinstance(languages, str):
        raise TypeError("entries and languages are lists, not one string")
    folder = Path(folder)
    try:
        wanted = None if languages is None else tuple(registry.resolve(code) for code in languages)
    except InputError as error:
        raise InputError(f"corpus.languages: {error}") from None
    found = [
        file
        for position, entry in enumerate(entries)
        for file in _expand(entry, folder, f"corpus.files[{position}]", registry, lenient=wanted is not None)
    ]
    _refuse_repeats(found)
    if wanted is not None:
        found = [replace(file, only=wanted) if file.format == "jsonl" else file for file in found]
        found = [file for file in found if file.languages is None or set(file.languages) <= set(wanted)]
        held = {code for file in found for code in file.languages or wanted}
        missing = [code for code in wanted if code not in held]
        if missing:
            raise InputError(f"corpus.languages: no file pairs '{missing[0]}' with another language of the list")
    if not found:
        raise InputError("corpus.files: names no file")
    return found
