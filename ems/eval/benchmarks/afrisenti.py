"""AfriSenti: the sentiment of tweets (negative, neutral, positive), trained and tested in the same language.

It has no English part, so that a classifier is trained on every language's own training split. Released by Muhammad et
al., "AfriSenti: A Twitter Sentiment Analysis Benchmark for African Languages", EMNLP 2023; CC BY 4.0. Here are the
languages that `ems` knows: Swahili, Yoruba and (Mozambican) Portuguese; others can be asked for by their file codes.
The shared task's own score is a weighted F1, which is not reported here.

Files: `<language>.<split>.tsv` or `<language>/<split>.tsv`, split train, dev, test, plain or .gz, in `afrisenti/` or
the folder itself; a header names the columns `tweet` and `label`. They are read as a spreadsheet writes them, which is
what the shared task's starter program does: quotation marks around a whole tweet do not belong to it.

Splits are kept as released. Texts that stand in a training split with different labels, and test rows whose text is
also in the training split, are counted in the record's "repeats".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ems.errors import InputError
from ems.eval.benchmarks.labelled_text import (
    POLARITIES,
    Examples,
    check_trainable,
    count_repeats,
    find_file,
    read_polarities,
)
from ems.eval.benchmarks.sentiment import choose_languages, missing_language, probe, sentiment_record
from ems.eval.encoders import SupportsEncode
from ems.eval.parallel_text import check_any_left
from ems.eval.record import Record
from ems.languages import LANGUAGES, LanguageRegistry

MEMBERS = ("pt", "sw", "yo")
SPLITS = ("train", "dev", "test")


def _names(language: str, split: str) -> list[str]:
    return [f"{language}.{split}.tsv", f"{language}/{split}.tsv"]


def find_folder(data_folder: Path) -> Path | None:
    """Return the folder at or below `data_folder` that holds AfriSenti files, or None."""
    for folder in (data_folder / "afrisenti", data_folder):
        if any(find_file(folder, _names(language, "train")) for language in MEMBERS):
            return folder
    return None


def evaluate_afrisenti(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score an encoder on AfriSenti.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see the top of this module.
        languages: codes in any spelling; None: pt, sw and yo.
        strict: a missing file is an error; otherwise its language is listed under "skipped".
        registry: knows the languages' spellings.

    Returns:
        One record, "afrisenti", as `ems.eval.record` describes it.

    Raises:
        InputError: no files, none of the languages, an unknown language, or a file that cannot be used (names file and
            line).
        ValueError: the encoder did not return one finite vector a text.
    """
    folder = find_folder(Path(data_folder))
    if folder is None:
        raise InputError(f"{data_folder}: no AfriSenti files here or in afrisenti/ (sw.train.tsv or sw.train.tsv.gz)")
    chosen = choose_languages(
        languages, MEMBERS, registry, lambda code: find_file(folder, _names(code, "train")) is not None
    )
    splits: dict[str, dict[str, Examples]] = {}
    skipped = []
    for language in chosen:
        paths = {split: find_file(folder, _names(language, split)) for split in SPLITS}
        missing = [split for split, path in paths.items() if path is None]
        if missing:
            first_missing = folder / _names(language, missing[0])[0]
            skipped.append(missing_language("AfriSenti", MEMBERS, language, first_missing, strict))
            continue
        found = {split: path for split, path in paths.items() if path is not None}
        splits[language] = {split: read_polarities(path, "\t", "tweet") for split, path in found.items()}
        check_trainable(found["train"], splits[language]["train"])
    check_any_left(folder, splits, skipped)
    return [
        sentiment_record(
            "afrisenti",
            "sentiment of tweets in three classes; trained on each language's own training split",
            direction="own language",
            languages=chosen,
            members=MEMBERS,
            probed={
                language: probe(encoder, parts["train"], parts["dev"], {language: parts["test"]}, len(POLARITIES))
                for language, parts in splits.items()
            },
            used={f"{language}.{split}": part for language, parts in splits.items() for split, part in parts.items()},
            skipped=skipped,
            repeats={language: count_repeats(parts["train"], parts["test"]) for language, parts in splits.items()},
        )
    ]
