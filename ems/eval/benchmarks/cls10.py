"""Webis-CLS-10: are German, French and Japanese product reviews positive, for a classifier trained on English ones?

Three categories (books, dvd, music), 2000 reviews to train on and 2000 to test on for each language, half of them
positive. Released by Prettenhofer and Stein, "Cross-Language Text Classification using Structural Correspondence
Learning", ACL 2010. The texts must be the unprocessed ones: the processed release holds word counts without order.

A classifier learns from four fifths of the English training reviews of a category; the fifth whose texts have the
lowest keyed digests is held out to choose by. It is tested on the other languages' test reviews of the same category.
Two classifiers: logistic regression, the headline, and LASER's perceptron, five seeds.

Files: `<language>/<category>/train.review` and `test.review` in `cls-acl10-unprocessed/`, also below `webis-cls-10/`,
or the folder itself; Japanese is `jp` there. `ems.eval.benchmarks.reviews` reads them; the items that it leaves out are
counted under "skipped".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError
from ems.eval.benchmarks.labelled_text import Examples, check_trainable, keyed_fraction
from ems.eval.benchmarks.reviews import RELEASED, read_reviews
from ems.eval.encoders import SupportsEncode
from ems.eval.parallel_text import check_any_left, digest_lines
from ems.eval.record import Outcome, Record, make_record
from ems.eval.transfer import (
    EPOCHS,
    SEEDS,
    Labelled,
    Predictions,
    columns_of,
    mean_over_tests,
    predict_tests,
    score_predictions,
    train_logistic_regression,
    train_mlps,
)
from ems.languages import LANGUAGES, LanguageRegistry

logger = logging.getLogger(__name__)

ENGLISH = "en"
MEMBERS = ("de", "fr", "ja")
CATEGORIES = ("books", "dvd", "music")
CLASSIFIERS = ("logreg", "mlp")
HELD_OUT_SHARE = 0.2
HELD_OUT_KEY = "ems.cls10.1"


def _languages_folder(language: str) -> str:
    return "jp" if language == "ja" else language


def find_folder(data_folder: Path) -> Path | None:
    """Return the folder at or below `data_folder` that holds the languages' folders with .review files, or None."""
    nested = data_folder / "webis-cls-10"
    for folder in (data_folder / RELEASED, nested / RELEASED, nested, data_folder):
        if any((folder / ENGLISH / category / "train.review").is_file() for category in CATEGORIES):
            return folder
    return None


def _why_none(data_folder: Path) -> str:
    for folder in (data_folder, data_folder / "webis-cls-10"):
        for processed in (folder / "cls-acl10-processed", folder):
            if next(processed.glob("??/*/*.processed"), None) is not None:
                return (
                    f"{processed} is the processed release of Webis-CLS-10, word counts without their order, which no "
                    f"sentence encoder can read; get {RELEASED}"
                )
    return f"{data_folder}: no Webis-CLS-10 files here or in {RELEASED}/ (en/books/train.review)"


def hold_out(reviews: Examples) -> tuple[Examples, Examples]:
    """Return reviews to train on and, held out to choose by, the fifth with the lowest keyed digests of their text."""
    by_digest = sorted(range(len(reviews.texts)), key=lambda row: keyed_fraction(reviews.texts[row], HELD_OUT_KEY))
    held_out = set(by_digest[: round(HELD_OUT_SHARE * len(by_digest))])
    train, dev = Examples(), Examples()
    for row, (text, label) in enumerate(zip(reviews.texts, reviews.labels, strict=True)):
        (dev if row in held_out else train).add(text, label)
    return train, dev


class _Files:
    """Read review files, and collect what the record has to say of them."""

    def __init__(self, folder: Path, strict: bool) -> None:
        self.folder, self.strict = folder, strict
        self.skipped: list[dict[str, str]] = []
        self.used: dict[str, Examples] = {}

    def read(self, language: str, category: str, split: str) -> Examples | None:
        name = f"{_languages_folder(language)}/{category}/{split}.review"
        path = self.folder / name
        if not path.is_file():
            if self.strict:
                raise InputError(f"{path}: no such file")
            self.skipped.append({"language": f"{language} {category}", "reason": f"{name} is missing"})
            return None
        examples, left_out = read_reviews(path)
        self.used[name] = examples
        for reason, count in sorted(left_out.items()):
            self.skipped.append({"language": f"{language} {category}", "reason": f"{count} items of {name}: {reason}"})
        if split == "train":
            check_trainable(path, examples)
        return examples


@dataclass(frozen=True)
class _Embedded:
    """The embeddings of one category."""

    train: Labelled
    dev: Labelled
    tests: dict[str, Labelled]  # by name, "de books"

    def vectors(self) -> dict[str, NDArray[np.float32]]:
        return {name: test.vectors for name, test in self.tests.items()}


def _predict(
    classifier: str, categories: Mapping[str, _Embedded], seeds: Sequence[int], epochs: int
) -> dict[str, Predictions]:
    """Return the predictions of one classifier by category."""
    if classifier == "logreg":
        return {
            category: train_logistic_regression(sets.train, sets.dev, sets.vectors(), num_classes=2)
            for category, sets in categories.items()
        }
    # All categories at a time, which costs little more than one.
    trained = train_mlps(
        [(sets.train, sets.dev) for sets in categories.values()], num_classes=2, seeds=seeds, epochs=epochs
    )
    return {
        category: predict_tests(perceptrons, sets.vectors())
        for (category, sets), perceptrons in zip(categories.items(), trained, strict=True)
    }


def _record(
    classifier: str,
    categories: Mapping[str, _Embedded],
    predictions: Mapping[str, Predictions],
    languages: Sequence[str],
    how: str,
    **shared: Any,
) -> Record:
    """Return the record of one classifier; its rows are sorted by language, as in the published tables."""
    scores: dict[str, dict[str, float]] = {}
    outcomes: dict[str, dict[str, Outcome]] = {}
    gold = {name: test.labels for of_category in categories.values() for name, test in of_category.tests.items()}
    # The categories' classifiers have the same seeds; a mean over categories is taken seed by seed.
    everywhere = Predictions({name: rows for of in predictions.values() for name, rows in of.predicted.items()}, [], [])
    for category, predicted in predictions.items():
        of_category = {name: gold[name] for name in categories[category].tests}
        category_scores, category_outcomes = score_predictions(of_category, predicted, 2)
        scores |= category_scores
        outcomes |= category_outcomes
    scores = {name: scores[name] for name in sorted(scores, key=lambda name: languages.index(name.split()[0]))}
    for name, row in scores.items():
        logger.info("cls10-%s %s: %.4f", classifier, name, row["accuracy"])
    language_set = "cls10" if set(languages) == set(MEMBERS) else "chosen"
    sizes = {language_set: len(CATEGORIES) * len(languages)} | dict.fromkeys(languages, len(CATEGORIES))
    members = {language_set: list(scores)} | {
        language: [name for name in scores if name.split()[0] == language] for language in languages
    }
    return make_record(
        f"cls10-{classifier}",
        f"sentiment of product reviews, headline and whole text, cut at the encoder's own limit; {how}, on 20 % of the "
        "English training reviews of a category, held out by a digest of their text; accuracy on the same category in "
        "other languages; plain mean over pairs of language and category",
        split="test",
        direction="en->x",
        language_set=language_set,
        n=sum(int(row["n"]) for row in scores.values()),
        columns=columns_of(scores),
        scores=scores,
        means={
            name: mean_over_tests(found, gold, everywhere, scores, sizes[name])
            for name, found in members.items()
            if found
        },
        members=members,
        outcomes=outcomes,
        selected={
            category: {"C" if classifier == "logreg" else "epochs": list(predicted.selected)}
            | {"dev_accuracy": list(predicted.dev_accuracy)}
            for category, predicted in predictions.items()
        },
        **shared,
    )


def evaluate_cls10(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
    classifiers: Sequence[str] = CLASSIFIERS,
    seeds: Sequence[int] = SEEDS,
    epochs: int = EPOCHS,
) -> list[Record]:
    """Score an encoder on Webis-CLS-10, trained on English.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`. It gets whole reviews, and cuts them where it must.
        data_folder: where the files lie; see the top of this module.
        languages: codes in any spelling; None: de, fr and ja.
        strict: a missing file is an error; otherwise what needs it is listed under "skipped".
        registry: knows the languages' spellings.
        classifiers: out of "logreg" and "mlp".
        seeds: of the perceptron, up to 9.
        epochs: of the perceptron.

    Returns:
        A record "cls10-logreg" or "cls10-mlp" for each classifier, as `ems.eval.record` describes it. Scores are keyed
        "de books"; means are over all pairs of language and category, and over a language's categories ("de").

    Raises:
        InputError: no files, only the processed release, none of the languages, an unknown language or classifier, or a
            file that cannot be used (names file and line).
        ValueError: the encoder did not return one finite vector a text.
    """
    for classifier in classifiers:
        if classifier not in CLASSIFIERS:
            raise InputError(f"unknown classifier '{classifier}'; there are {' and '.join(CLASSIFIERS)}")
    folder = find_folder(Path(data_folder))
    if folder is None:
        raise InputError(_why_none(Path(data_folder)))
    asked = dict.fromkeys(registry.resolve(language) for language in (MEMBERS if languages is None else languages))
    chosen = [language for language in asked if language in MEMBERS]
    files = _Files(folder, strict)
    files.skipped += [
        {"language": language, "reason": "not in Webis-CLS-10"}
        for language in asked
        if language not in (*MEMBERS, ENGLISH)
    ]
    texts: dict[str, tuple[Examples, dict[str, Examples]]] = {}
    for category in CATEGORIES:  # all files first, so that a bad one is found before time goes into encoding
        english = files.read(ENGLISH, category, "train")
        found = {f"{language} {category}": files.read(language, category, "test") for language in chosen}
        tests = {name: test for name, test in found.items() if test is not None}
        if english is not None and tests:
            texts[category] = english, tests
    check_any_left(folder, texts, files.skipped)
    halves = {category: hold_out(english) for category, (english, _) in texts.items()}
    for category, parts in halves.items():
        if any(len(set(part.labels)) < 2 for part in parts):
            file = folder / ENGLISH / category / "train.review"
            raise InputError(f"{file}: too few reviews to train on and to choose by")
    categories: dict[str, _Embedded] = {}
    for category, (_, tests) in texts.items():
        train, dev = halves[category]
        categories[category] = _Embedded(
            train.embedded(encoder, f"en {category} train"),
            dev.embedded(encoder, f"en {category} train"),
            {name: test.embedded(encoder, f"{name} test") for name, test in tests.items()},
        )
    hows = {
        "logreg": "multinomial logistic regression, C chosen",
        "mlp": f"multilayer perceptron 10-8, the latest best of {epochs} epochs chosen, mean of {len(seeds)} seeds",
    }
    return [
        _record(
            classifier,
            categories,
            _predict(classifier, categories, seeds, epochs),
            chosen,
            hows[classifier],
            data_digest=digest_lines((name, examples.lines()) for name, examples in files.used.items()),
            skipped=files.skipped,
        )
        for classifier in classifiers
    ]
