"""Read the files of the BUCC 2018 shared task: sentences with ids, and the gold pairs of ids.

Files: `<p>.<split>.<language>`, lines `id<TAB>sentence`, and `<p>.<split>.gold`, lines `foreign id<TAB>English id`,
with `<p>` such as `de-en`, in `bucc2018/`, `bucc/` or the folder itself, there in a folder `<p>/` or not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ems.errors import InputError
from ems.eval.parallel_text import digest_lines, read_lines

logger = logging.getLogger(__name__)

BUCC_LANGUAGES = ("de", "fr", "ru", "zh")
ENGLISH = "en"


def _file(folder: Path, language: str, split: str, ending: str) -> Path:
    """Return where a file of a pair lies or should lie; `ending` is a language or "gold"."""
    pair = f"{language}-{ENGLISH}"
    name = f"{pair}.{split}.{ending}"
    return folder / name if (folder / name).is_file() else folder / pair / name


def find_folder(data_folder: Path) -> Path | None:
    """Return the folder below `data_folder` that holds training files, by pair or all in one, or None."""
    for folder in (data_folder / "bucc2018", data_folder / "bucc", data_folder):
        if any(_file(folder, language, "training", language).is_file() for language in BUCC_LANGUAGES):
            return folder
    return None


def read_sentences(path: Path, language: str) -> tuple[list[str], list[str]]:
    """Read the sentences of one side.

    A line is cut at its first tab; further tabs belong to the sentence, which may be empty. A line with nothing in it
    names no sentence and is passed over.

    Args:
        path: lines `id<TAB>sentence`.
        language: with which the ids begin, such as "de" of "de-000000001".

    Returns:
        ids and sentences, (N,) each.

    Raises:
        InputError: naming file and line: not UTF-8, no tab, an id of another form or language, an id given twice; or
            no sentence at all.
    """
    ids: dict[str, int] = {}
    sentences = []
    for number, line in enumerate(read_lines(path), 1):
        if not line:
            continue
        name, tab, sentence = line.partition("\t")
        if not tab:
            raise InputError(f"{path}, line {number}: no tab between id and sentence: {line[:60]!r}")
        if not re.fullmatch(rf"{language}-[0-9]{{9}}", name):
            raise InputError(f"{path}, line {number}: {name[:60]!r} is not an id such as {language}-000000001")
        if name in ids:
            raise InputError(f"{path}, line {number}: id {name} was given in line {ids[name]} already")
        ids[name] = number
        sentences.append(sentence)
    if not ids:
        raise InputError(f"{path}: no sentences in it")
    return list(ids), sentences


def _require_known(name: str, ids: Collection[str], text_file: Path, where: str) -> None:
    if name in ids:
        return
    nearest = min(ids, key=lambda known: abs(int(known[-9:]) - int(name[-9:])))
    raise InputError(f"{where}: id {name} does not occur in {text_file}; nearest: {nearest}")


def read_gold(
    path: Path, source_file: Path, source_ids: Collection[str], target_file: Path, target_ids: Collection[str]
) -> list[tuple[str, str]]:
    """Read the gold pairs of a split; a pair given twice counts once, with a warning.

    Args:
        path: lines `foreign id<TAB>English id`; empty lines are passed over.
        source_file: the foreign sentences; named in messages.
        source_ids: their ids.
        target_file: the English sentences; named in messages.
        target_ids: their ids.

    Returns:
        (foreign id, English id), in the order of the file.

    Raises:
        InputError: naming file and line: not two ids, English first, or an id that no sentence has; or no pair at all.
    """
    language = source_file.suffix.removeprefix(".")
    known_sources, known_targets = frozenset(source_ids), frozenset(target_ids)
    foreign, english = rf"{language}-[0-9]{{9}}", rf"{ENGLISH}-[0-9]{{9}}"
    pairs: dict[tuple[str, str], None] = {}
    lines = 0
    for number, line in enumerate(read_lines(path), 1):
        if not line:
            continue
        where = f"{path}, line {number}"
        if re.fullmatch(f"{english}\t{foreign}", line):
            raise InputError(f"{where}: columns are swapped; expected the {language} id first, found {line!r}")
        if not re.fullmatch(f"{foreign}\t{english}", line):
            raise InputError(
                f"{where}: expected {language}-000000001, a tab and {ENGLISH}-000000001, found {line[:60]!r}"
            )
        source_id, _, target_id = line.partition("\t")
        _require_known(source_id, known_sources, source_file, where)
        _require_known(target_id, known_targets, target_file, where)
        pairs[source_id, target_id] = None
        lines += 1
    if not pairs:
        raise InputError(f"{path}: no pairs in it")
    if lines > len(pairs):
        logger.warning("%s: %d of %d lines repeat a pair and count once", path, lines - len(pairs), lines)
    return list(pairs)


@dataclass(frozen=True)
class MiningCorpus:
    """Hold one split of one language pair.

    Attributes:
        source_ids: of the N foreign sentences.
        source_sentences: with their duplicates.
        target_ids: of the M English sentences.
        target_sentences: with their duplicates.
        gold: the right pairs of ids; empty where the split has no gold file.
        digest: 16 hex digits of all of it.
    """

    source_ids: list[str]
    source_sentences: list[str]
    target_ids: list[str]
    target_sentences: list[str]
    gold: frozenset[tuple[str, str]]
    digest: str


def missing_files(folder: Path, language: str, split: str, *, gold: bool = True) -> list[str]:
    """Return the names of the files of a split that are not there."""
    endings = (language, ENGLISH, *(("gold",) if gold else ()))
    files = [_file(folder, language, split, ending) for ending in endings]
    return [file.name for file in files if not file.is_file()]


def read_split(folder: Path, language: str, split: str, *, gold: bool = True) -> MiningCorpus:
    """Read one split of a language pair, all files of which must be there.

    Args:
        folder: from `find_folder`.
        language: the foreign one, such as "de".
        split: "sample", "training" or "test".
        gold: read the gold pairs as well.

    Raises:
        InputError: a file is missing or malformed.
    """
    source_file, target_file = (_file(folder, language, split, side) for side in (language, ENGLISH))
    source_ids, source_sentences = read_sentences(source_file, language)
    target_ids, target_sentences = read_sentences(target_file, ENGLISH)
    pairs: list[tuple[str, str]] = []
    if gold:
        pairs = read_gold(_file(folder, language, split, "gold"), source_file, source_ids, target_file, target_ids)
    digest = digest_lines(
        [
            ("source ids", source_ids),
            ("source", source_sentences),
            ("target ids", target_ids),
            ("target", target_sentences),
            ("gold", ["\t".join(pair) for pair in sorted(pairs)]),
        ]
    )
    return MiningCorpus(source_ids, source_sentences, target_ids, target_sentences, frozenset(pairs), digest)
