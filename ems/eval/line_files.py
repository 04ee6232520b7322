"""Find and read the user's own retrieval test sets: line-aligned files, and distractors beside them.

Files: `retrieval/<name>.<src>-<tgt>.<src>` and `.<tgt>`, line i of one translating line i of the other, and maybe
`retrieval/<name>.<src>-<tgt>.distractors.<src>` and `.distractors.<tgt>`; plain, or with .gz, .xz or .zst behind.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ems.errors import InputError
from ems.eval.parallel_text import check_same_length, read_lines
from ems.languages import LANGUAGES, LanguageRegistry

FOLDER = "retrieval"
_NAME = re.compile(
    r"(?P<set>.+\.(?P<src>[A-Za-z_]+)-(?P<tgt>[A-Za-z_]+))(?P<kind>\.distractors)?\.(?P<side>[A-Za-z_]+)"
)
_COMPRESSION = re.compile(r"\.(gz|xz|zst)$", re.IGNORECASE)


def find_folder(data_folder: Path) -> Path | None:
    """Return the folder `retrieval` below `data_folder` if it holds a file of this benchmark, or None."""
    folder = data_folder / FOLDER
    if folder.is_dir() and any(_NAME.fullmatch(_COMPRESSION.sub("", path.name)) for path in folder.iterdir()):
        return folder
    return None


@dataclass(frozen=True)
class SetFiles:
    """Name the files of one test set.

    Attributes:
        name: such as "paracrawl.de-en".
        languages: source and target code.
        files: by (side 0 or 1, distractors or not).
    """

    name: str
    languages: tuple[str, str]
    files: dict[tuple[int, bool], Path]


def find_sets(folder: Path, registry: LanguageRegistry = LANGUAGES) -> list[SetFiles]:
    """Return the test sets of a folder, by name, complete or not; files with names of another form are passed over.

    Raises:
        InputError: an unknown language, a set of a language with itself, a file of a third language, or one that is
            there twice, such as plain and compressed.
    """
    sets: dict[str, SetFiles] = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(_COMPRESSION.sub("", path.name))
        if match is None or not path.is_file():
            continue
        try:
            languages = registry.resolve(match["src"]), registry.resolve(match["tgt"])
            side = registry.resolve(match["side"])
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if languages[0] == languages[1]:
            raise InputError(f"{path}: '{match['src']}' and '{match['tgt']}' are one language")
        if side not in languages:
            raise InputError(f"{path}: it should end in .{match['src']} or .{match['tgt']}, not .{match['side']}")
        found = sets.setdefault(match["set"], SetFiles(match["set"], languages, {}))
        key = languages.index(side), match["kind"] is not None
        if key in found.files:
            raise InputError(f"{path} and {found.files[key]} are the same part of one test set; keep one")
        found.files[key] = path
    return list(sets.values())


# How the Unicode names of the letters of a script begin; by ISO 15924 code, for the scripts of `ems.languages`.
_SCRIPT_NAMES: Mapping[str, tuple[str, ...]] = {
    "Latn": ("LATIN",),
    "Cyrl": ("CYRILLIC",),
    "Arab": ("ARABIC",),
    "Armn": ("ARMENIAN",),
    "Beng": ("BENGALI",),
    "Deva": ("DEVANAGARI",),
    "Geor": ("GEORGIAN",),
    "Grek": ("GREEK",),
    "Gujr": ("GUJARATI",),
    "Hang": ("HANGUL",),
    "Hans": ("CJK",),
    "Hebr": ("HEBREW",),
    "Jpan": ("HIRAGANA", "KATAKANA", "CJK"),
    "Mlym": ("MALAYALAM",),
    "Mymr": ("MYANMAR",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Thai": ("THAI",),
}
_LINES_LOOKED_AT = 1000


def looks_swapped(
    source: Sequence[str], target: Sequence[str], languages: tuple[str, str], registry: LanguageRegistry = LANGUAGES
) -> bool:
    """Say whether each of two texts is written rather in the other language's script than in its own.

    Languages of one script cannot be told apart so; for them the answer is no.

    Args:
        source: lines; the first thousand are looked at.
        target: lines.
        languages: source and target code.
        registry: knows the scripts.
    """
    expected = [_SCRIPT_NAMES.get(registry[code].script) for code in languages]
    letters = [
        Counter(
            unicodedata.name(letter, "").partition(" ")[0]
            for line in lines[:_LINES_LOOKED_AT]
            for letter in line
            if letter.isalpha()
        )
        for lines in (source, target)
    ]
    if expected[0] is None or expected[1] is None:
        return False

    def count(side: int, script: Iterable[str]) -> int:
        return sum(letters[side][name] for name in script)

    return all(count(side, expected[1 - side] or ()) > count(side, expected[side] or ()) for side in (0, 1))


@dataclass(frozen=True)
class TestSet:
    """Hold the text of one test set.

    Attributes:
        lines: N of the source side and N of the target side, row i translating row i.
        distractors: of the source side and of the target side, maybe none.
    """

    lines: tuple[list[str], list[str]]
    distractors: tuple[list[str], list[str]]


def read_set(files: SetFiles, registry: LanguageRegistry) -> TestSet:
    """Read a complete test set.

    Raises:
        InputError: a file is unusable, the two sides differ in length, or each is in the other's script.
    """
    source_file, target_file = files.files[0, False], files.files[1, False]
    source, target = read_lines(source_file), read_lines(target_file)
    check_same_length(source_file, source, target_file, target)
    if looks_swapped(source, target, files.languages, registry):
        src, tgt = files.languages
        raise InputError(
            f"{source_file} looks like '{tgt}' and {target_file} like '{src}' by their scripts; swap their endings"
        )
    more = [read_lines(files.files[side, True]) if (side, True) in files.files else [] for side in (0, 1)]
    return TestSet((source, target), (more[0], more[1]))
