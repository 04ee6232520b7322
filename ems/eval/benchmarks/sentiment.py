"""Score sentiment by a linear classifier on frozen embeddings: what AfriSenti, NusaX and XED have in common.

Here are the choice of languages and the way from labelled texts to a record; what is peculiar to one set stands in its
own module. The classifier is multinomial logistic regression only: the small network of the document protocols is made
for a thousand training rows, and these sets have up to ten thousand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ems.errors import InputError
from ems.eval.benchmarks.labelled_text import Examples
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.parallel_text import digest_lines
from ems.eval.record import Outcome, Record, make_record, mean_over
from ems.eval.transfer import score_predictions, train_logistic_regression
from ems.languages import LanguageRegistry

logger = logging.getLogger(__name__)

ENGLISH = "en"
COLUMNS = ("macro_f1", "accuracy")
CLASSIFIER = "multinomial logistic regression (the only classifier here) on frozen embeddings, C chosen on dev"


def choose_languages(
    languages: Sequence[str] | None,
    members: Sequence[str],
    registry: LanguageRegistry,
    is_there: Callable[[str], bool],
) -> list[str]:
    """Return the codes of the languages asked for, each once.

    Args:
        languages: codes in any spelling; None: all members.
        members: codes of the languages of the test set.
        registry: knows the spellings.
        is_there: whether there are files of a code; lets codes through that the registry does not know.

    Raises:
        InputError: an unknown language.
    """
    if languages is None:
        return list(members)
    return list(
        dict.fromkeys(
            language if language not in registry and is_there(language) else registry.resolve(language)
            for language in languages
        )
    )


def missing_language(name: str, members: Sequence[str], language: str, missing: Path, strict: bool) -> dict[str, str]:
    """Return the entry of "skipped" for a language without a file.

    Raises:
        InputError: `strict`, and the language belongs to the set.
    """
    if language not in members:
        return {"language": language, "reason": f"not in {name}"}
    if strict:
        raise InputError(f"{missing}: no such file, plain or .gz")
    return {"language": language, "reason": f"{missing.name} is missing"}


@dataclass(frozen=True)
class Probed:
    """How a classifier did on the test splits.

    Attributes:
        scores: by test, {"n", "macro_f1", "accuracy"}.
        outcomes: by test, as in a record.
        selected: the C that was chosen, and its accuracy on dev.
    """

    scores: dict[str, dict[str, float]]
    outcomes: dict[str, dict[str, Outcome]]
    selected: dict[str, Any]


def probe(
    encoder: SupportsEncode, train: Examples, dev: Examples, tests: Mapping[str, Examples], num_classes: int
) -> Probed:
    """Train logistic regression on one split, choose its C on the second, and score it on the others.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        train: at least two classes.
        dev: of the same language.
        tests: by name.
        num_classes: labels are 0 to num_classes - 1.

    Raises:
        ValueError: no rows to train on or to choose by, or the encoder did not return one finite vector a text.
    """
    predictions = train_logistic_regression(
        train.embedded(encoder, "the training split"),
        dev.embedded(encoder, "the dev split"),
        {name: embed(encoder, test.texts, f"{name} test") for name, test in tests.items()},
        num_classes=num_classes,
    )
    gold = {name: test.gold() for name, test in tests.items()}
    scores, outcomes = score_predictions(gold, predictions, num_classes)
    return Probed(
        scores,
        outcomes,
        {"C": predictions.selected[0], "dev_accuracy": predictions.dev_accuracy[0]},
    )


def sentiment_record(
    task: str,
    protocol: str,
    *,
    direction: str,
    languages: Sequence[str],
    members: Sequence[str],
    probed: Mapping[str, Probed],
    used: Mapping[str, Examples],
    skipped: Sequence[Mapping[str, str]],
    **details: Any,
) -> Record:
    """Return the record of a sentiment set.

    Args:
        task: name of the result.
        protocol: what is peculiar to the set, as a sentence without a full stop.
        direction: names the language of training.
        languages: those asked for that the mean is over; others than members count if they have scores.
        members: all languages of the set that the mean could be over.
        probed: by language of training.
        used: every split that was read, by file name, for the digest.
        skipped: as in a record.
        **details: further entries.
    """
    scores = {language: row for result in probed.values() for language, row in result.scores.items()}
    outcomes = {language: row for result in probed.values() for language, row in result.outcomes.items()}
    asked = [language for language in languages if language in members or language in scores]
    found = [language for language in asked if language in scores]
    language_set = f"{task}{len(members)}" if set(asked) == set(members) else "chosen"
    for language in found:
        logger.info("%s %s: %.4f", task, language, scores[language]["accuracy"])
    return make_record(
        task,
        f"{protocol}; {CLASSIFIER}; accuracy and macro-averaged F1; plain mean over languages",
        split="test",
        direction=direction,
        language_set=language_set,
        n=sum(int(row["n"]) for row in scores.values()),
        data_digest=digest_lines((name, examples.lines()) for name, examples in used.items()),
        columns=COLUMNS,
        scores=scores,
        means={language_set: mean_over(found, scores, COLUMNS, len(asked))},
        members={language_set: found},
        skipped=skipped,
        outcomes=outcomes,
        selected={language: result.selected for language, result in probed.items()},
        **details,
    )


def english_record(
    task: str,
    protocol: str,
    *,
    encoder: SupportsEncode,
    training: Mapping[str, Examples],
    tests: Mapping[str, Examples],
    languages: Sequence[str],
    members: Sequence[str],
    num_classes: int,
    skipped: Sequence[Mapping[str, str]],
    **details: Any,
) -> Record:
    """Train on English, test in every language, and return the record, whose mean leaves English out.

    Args:
        task: name of the result.
        protocol: what is peculiar to the set, as a sentence without a full stop.
        encoder: has `encode(list of N str) -> (N, D) array`.
        training: the English split to train on and the one to choose by, in this order, by name.
        tests: by language.
        languages: those asked for, with or without a test.
        members: all languages of the set but English.
        num_classes: labels are 0 to num_classes - 1.
        skipped: as in a record.
        **details: further entries.

    Raises:
        ValueError: as `probe`.
    """
    train, dev = training.values()
    return sentiment_record(
        task,
        protocol,
        direction="en->x",
        languages=[language for language in languages if language != ENGLISH],
        members=members,
        probed={ENGLISH: probe(encoder, train, dev, tests, num_classes)},
        used={f"{ENGLISH}.{split}": part for split, part in training.items()}
        | {f"{language}.test": part for language, part in tests.items()},
        skipped=skipped,
        **details,
    )
