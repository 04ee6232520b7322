"""XED: are lines of film subtitles positive (joy, trust) or negative (anger, disgust, fear, sadness)?

Emotions were annotated by hand in English and Finnish ("annotated") and carried over to other languages through aligned
subtitles ("projected"). Released by Öhman et al., "XED: A Multilingual Dataset for Sentiment Analysis and Emotion
Detection", COLING 2020; CC BY 4.0.

XED has no splits. Here a keyed digest of a line's text, apart from case and white space, says where it belongs: 80 %
train, 10 % dev, 10 % test. So equal texts are never in two splits, whatever their language. Training and dev are
English only; every language is tested on its test part.

The release leaves the mapping to polarities to its users; this one leaves out anticipation and surprise. The languages
are those of the release's projections that `ems` knows.

Known leak: a projected line is a translation of an annotated one, and the release does not say of which. Up to four in
five projected test lines may therefore have their English original in the training split. For them is measured how well
an encoder puts a line beside its translation, and not how the classifier does on new lines; only English's own test
part is free of that. The mean is over all languages but English.

Files: `annotated.<language>.tsv` and `projected.<language>.tsv`, plain or .gz, in `xed/` or the folder itself; the
released `AnnotatedData/en-annotated.tsv` and `Projections/de-projections.tsv` are found too. Two columns without
header, text and comma-separated emotions: 1 anger, 2 anticipation, 3 disgust, 4 fear, 5 joy, 6 sadness, 7 surprise,
8 trust.

Rows are dropped, and counted in the record's "dropped", for one of these reasons: "both" polarities or "neither";
"damaged": a quotation mark in the source swallowed lines of its alignment file, so that the label belongs to some text
inside; "blank" text; "contradictory": equal texts of different polarity, all of which go; "repeated": equal texts of
equal polarity, of which the first stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ems.errors import InputError
from ems.eval.benchmarks.labelled_text import (
    Examples,
    check_trainable,
    find_file,
    keyed_fraction,
    normalised,
    read_table,
)
from ems.eval.benchmarks.sentiment import ENGLISH, choose_languages, english_record, missing_language
from ems.eval.encoders import SupportsEncode
from ems.eval.parallel_text import check_any_left
from ems.eval.record import Record
from ems.languages import LANGUAGES, LanguageRegistry

PROJECTED = ("ar", "bg", "cs", "de", "el", "es", "fr", "he", "hu", "it", "nl", "pl", "pt", "ro", "ru", "sv", "tr", "zh")
MEMBERS = ("fi", *PROJECTED)
POSITIVE = frozenset("58")
NEGATIVE = frozenset("1346")
EMOTIONS = frozenset("012345678")  # 0 is none of them
SPLIT_KEY = "ems.xed.1"
TRAIN_SHARE, DEV_SHARE = 0.8, 0.1


def _names(language: str) -> list[str]:
    return [
        f"annotated.{language}.tsv",
        f"projected.{language}.tsv",
        f"AnnotatedData/{language}-annotated.tsv",
        f"Projections/{language}-projections.tsv",
    ]


def find_folder(data_folder: Path) -> Path | None:
    """Return the folder at or below `data_folder` that holds XED files, or None."""
    for folder in (data_folder / "xed", data_folder / "XED", data_folder):
        if find_file(folder, _names(ENGLISH)):
            return folder
    return None


def _emotions(cell: str) -> frozenset[str] | None:
    """Return the emotions of a cell, or None where it is not a list of them."""
    found = frozenset(part.strip() for part in cell.split(","))
    return found if found <= EMOTIONS else None


def _is_row(line: str) -> bool:
    cells = line.split("\t")
    return len(cells) == 2 and _emotions(cells[1]) is not None


def read_language(path: Path) -> tuple[Examples, Counter[str]]:
    """Read the lines of one language that are either positive (1) or negative (0).

    Returns:
        Texts in file order, and how many rows were dropped, by reason; the top of this module lists the reasons.

    Raises:
        InputError: the file is no table, a row has not two columns, an emotion is unknown, or a quotation mark has
            swallowed rows; names file and line.
    """
    rows: list[tuple[str, int]] = []
    dropped: Counter[str] = Counter()
    for row in read_table(path, "\t"):
        row.check_width(("text", "emotions"))
        text, cell = row.cells
        emotions = _emotions(cell)
        if emotions is None:
            wrong = next(part for part in cell.split(",") if part.strip() not in EMOTIONS)
            raise InputError(f"{row.where}: unknown emotion '{wrong.strip()[:40]}'; there are 1 to 8, and 0 for none")
        positive, negative = bool(emotions & POSITIVE), bool(emotions & NEGATIVE)
        if "\n" in text or "\t" in text:
            if any(_is_row(line) for line in text.split("\n")):
                raise InputError(f"{row.where}: the quotation mark that opens the text is not closed on its line")
            dropped["damaged"] += 1
        elif not text.strip():
            dropped["blank"] += 1
        elif positive == negative:
            dropped["both" if positive else "neither"] += 1
        else:
            rows.append((text, int(positive)))
    polarities: dict[str, set[int]] = {}
    for text, label in rows:
        polarities.setdefault(normalised(text), set()).add(label)
    examples = Examples()
    seen: set[str] = set()
    for text, label in rows:
        same = normalised(text)
        if len(polarities[same]) > 1:
            dropped["contradictory"] += 1
        elif same in seen:
            dropped["repeated"] += 1
        else:
            seen.add(same)
            examples.add(text, label)
    return examples, dropped


def split_examples(examples: Examples) -> dict[str, Examples]:
    """Return the lines that belong to "train", "dev" and "test", in file order."""
    parts = {split: Examples() for split in ("train", "dev", "test")}
    for text, label in zip(examples.texts, examples.labels, strict=True):
        fraction = keyed_fraction(text, SPLIT_KEY)
        split = "train" if fraction < TRAIN_SHARE else "dev" if fraction < TRAIN_SHARE + DEV_SHARE else "test"
        parts[split].add(text, label)
    return parts


def evaluate_xed(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score an encoder on XED, trained on English.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see the top of this module.
        languages: codes in any spelling; None: fi and 18 projected ones. English always takes part.
        strict: a missing file is an error; otherwise its language is listed under "skipped". English is always needed.
        registry: knows the languages' spellings.

    Returns:
        One record, "xed", as `ems.eval.record` describes it.

    Raises:
        InputError: no files, none of the languages, an unknown language, or a file that cannot be used (names file and
            line).
        ValueError: the encoder did not return one finite vector a text.
    """
    folder = find_folder(Path(data_folder))
    if folder is None:
        raise InputError(f"{data_folder}: no XED files here or in xed/ (annotated.en.tsv or annotated.en.tsv.gz)")
    chosen = choose_languages(languages, MEMBERS, registry, lambda code: find_file(folder, _names(code)) is not None)
    tests: dict[str, Examples] = {}
    dropped: dict[str, dict[str, int]] = {}
    training: dict[str, Examples] = {}
    skipped = []
    for language in dict.fromkeys((ENGLISH, *chosen)):
        path = find_file(folder, _names(language))
        if path is None:
            missing = folder / f"projected.{language}.tsv"
            skipped.append(missing_language("XED", MEMBERS, language, missing, strict))
            continue
        examples, counts = read_language(path)
        parts = split_examples(examples)
        dropped[language] = dict(sorted(counts.items()))
        if not parts["test"].texts:
            raise InputError(f"{path}: no line of its {len(examples.texts)} usable ones falls into the test part")
        tests[language] = parts["test"]
        if language == ENGLISH:
            training = {split: parts[split] for split in ("train", "dev")}
            check_trainable(path, parts["train"])
            if not parts["dev"].texts:
                raise InputError(f"{path}: no line of its {len(examples.texts)} usable ones falls into the dev part")
    check_any_left(folder, tests.keys() - {ENGLISH}, skipped)
    return [
        english_record(
            "xed",
            "polarity (emotions 5, 8 against 1, 3, 4, 6; both or neither: dropped) of film subtitles; trained on "
            "English; split 80/10/10 by a digest of the text, but projected lines are translations of annotated ones, "
            "and many test lines may have their original in the training split; the mean is without English",
            encoder=encoder,
            training=training,
            tests=tests,
            languages=chosen,
            members=MEMBERS,
            num_classes=2,
            skipped=skipped,
            dropped=dropped,
        )
    ]
