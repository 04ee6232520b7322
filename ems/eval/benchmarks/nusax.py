"""NusaX: the sentiment of the same 1000 short texts in Indonesian languages and English, trained on English.

Released by Winata et al., "NusaX: Multilingual Parallel Sentiment Dataset for 10 Indonesian Local Languages", EACL
2023; CC BY-SA 4.0. All languages share texts and splits (500 train, 100 validation, 400 test), so that no test text is
a translation of a training text. Here are the languages that `ems` knows: Indonesian and Javanese, and English, on
which the classifier is trained; English's own test split is scored too, but is not part of the mean. Other languages
can be asked for by their file codes.

Files: `<language>.<split>.csv` or `<English name>/<split>.csv`, split train, valid, test, plain or .gz, in `nusax/`,
`nusax/datasets/sentiment/` or the folder itself; a header names the columns `text` and `label`.

Splits are kept as released. Texts that stand in the training split with different labels, and test rows whose text is
also in the training split, are counted in the record's "repeats".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ems.errors import InputError
from ems.eval.benchmarks.labelled_text import POLARITIES, check_trainable, count_repeats, find_file, read_polarities
from ems.eval.benchmarks.sentiment import ENGLISH, choose_languages, english_record, missing_language
from ems.eval.encoders import SupportsEncode
from ems.eval.parallel_text import check_any_left
from ems.eval.record import Record
from ems.languages import LANGUAGES, LanguageRegistry

MEMBERS = ("id", "jv")


def _names(language: str, split: str, registry: LanguageRegistry) -> list[str]:
    folder = registry[language].name.lower() if language in registry else language
    return [f"{language}.{split}.csv", f"{folder}/{split}.csv"]


def find_folder(data_folder: Path, registry: LanguageRegistry = LANGUAGES) -> Path | None:
    """Return the folder at or below `data_folder` that holds NusaX files, or None."""
    for folder in (data_folder / "nusax", data_folder / "nusax" / "datasets" / "sentiment", data_folder):
        if find_file(folder, _names(ENGLISH, "valid", registry)):
            return folder
    return None


def evaluate_nusax(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score an encoder on NusaX, trained on English.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see the top of this module.
        languages: codes in any spelling; None: id and jv. English always takes part.
        strict: a missing test file is an error; otherwise its language is listed under "skipped". The English files
            for training are always needed.
        registry: knows the languages' spellings and names.

    Returns:
        One record, "nusax", as `ems.eval.record` describes it.

    Raises:
        InputError: no files, none of the languages, an unknown language, or a file that cannot be used (names file and
            line).
        ValueError: the encoder did not return one finite vector a text.
    """
    folder = find_folder(Path(data_folder), registry)
    if folder is None:
        raise InputError(f"{data_folder}: no NusaX files here or in nusax/ (en.valid.csv or en.valid.csv.gz)")
    chosen = choose_languages(
        languages, MEMBERS, registry, lambda code: find_file(folder, _names(code, "test", registry)) is not None
    )
    training = {}
    for split in ("train", "valid"):
        path = find_file(folder, _names(ENGLISH, split, registry))
        if path is None:
            raise InputError(f"{folder / f'{ENGLISH}.{split}.csv'}: no such file, plain or .gz; training needs it")
        training[split] = read_polarities(path, ",", "text")
        if split == "train":
            check_trainable(path, training[split])
    tests = {}
    skipped = []
    for language in dict.fromkeys((ENGLISH, *chosen)):
        names = _names(language, "test", registry)
        path = find_file(folder, names)
        if path is None:
            skipped.append(missing_language("NusaX", (ENGLISH, *MEMBERS), language, folder / names[0], strict))
        else:
            tests[language] = read_polarities(path, ",", "text")
    check_any_left(folder, tests.keys() - {ENGLISH}, skipped)
    return [
        english_record(
            "nusax",
            "sentiment of the same short texts in all languages in three classes; trained on the English training "
            "split, and the mean is without English",
            encoder=encoder,
            training=training,
            tests=tests,
            languages=chosen,
            members=MEMBERS,
            num_classes=len(POLARITIES),
            skipped=skipped,
            # Equal labels in equal order: the files are aligned, so that row i is one text in all languages.
            parallel_rows=len({tuple(test.labels) for test in tests.values()}) == 1,
            repeats={language: count_repeats(training["train"], test) for language, test in tests.items()},
        )
    ]
