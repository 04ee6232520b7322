"""MLDoc: four topics of Reuters news in eight languages; learnt from the embeddings of one, tested in all.

Two tasks, one for each classifier: multinomial logistic regression, which is the steadier, and LASER's perceptron. The
headline is trained on English and tested on the seven others; every other training language is in the matrix.
Source: Schwenk and Li, "A Corpus for Multilingual Document Classification in Eight Languages", LREC 2018. The text
needs a licence for RCV1 and RCV2; the corpus's own program then writes the files.

Files: `<language>.<part>`, such as `german.test`, part being train.1000 (or 2000, 5000, 10000), dev or test, in
`mldoc/`, `MLDoc/` or the folder itself; `ems.eval.benchmarks.documents` reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError, nearest
from ems.eval.benchmarks.documents import DOCUMENTS, LABELS, embed_documents, read_documents
from ems.eval.benchmarks.labelled_text import Examples
from ems.eval.encoders import SupportsEncode
from ems.eval.parallel_text import check_any_left, digest_lines
from ems.eval.record import Record, make_record
from ems.eval.transfer import (
    EPOCHS,
    SEEDS,
    Labelled,
    Predictions,
    columns_of,
    mean_over_tests,
    perceptron_words,
    predict_tests,
    score_predictions,
    train_logistic_regression,
    train_mlps,
)
from ems.languages import LANGUAGES, LanguageRegistry

logger = logging.getLogger(__name__)

ENGLISH = "en"
FILE_NAMES: Mapping[str, str] = {
    "en": "english",
    "de": "german",
    "es": "spanish",
    "fr": "french",
    "it": "italian",
    "ja": "japanese",
    "ru": "russian",
    "zh": "chinese",
}
TRAIN_SIZES = (1000, 2000, 5000, 10000)


def find_folder(data_folder: Path) -> Path | None:
    """Return the folder below `data_folder` that holds MLDoc files, or None."""
    for folder in (data_folder / "mldoc", data_folder / "MLDoc", data_folder):
        if any((folder / f"{name}.test").is_file() for name in FILE_NAMES.values()):
            return folder
    return None


def _choose_languages(
    languages: Sequence[str] | None, registry: LanguageRegistry
) -> tuple[str, list[str], list[dict[str, str]]]:
    """Return the name of the set of languages without English, all languages with English first, and the skipped."""
    chosen = list(FILE_NAMES) if languages is None else [registry.resolve(language) for language in languages]
    skipped = [{"language": code, "reason": "not in MLDoc"} for code in dict.fromkeys(chosen) if code not in FILE_NAMES]
    codes = [code for code in FILE_NAMES if code == ENGLISH or code in chosen]
    return ("mldoc7" if len(codes) == len(FILE_NAMES) else "chosen without en"), codes, skipped


def _read_parts(
    folder: Path, codes: Sequence[str], train_part: str, strict: bool
) -> tuple[dict[str, dict[str, Examples]], list[dict[str, str]]]:
    """Return the parts of every language that can be tested or trained on, and what is skipped.

    A language without its test file is left out; one without its training or development file is tested only.
    """
    parts: dict[str, dict[str, Examples]] = {}
    skipped = []
    for code in codes:
        paths = {part: folder / f"{FILE_NAMES[code]}.{part}" for part in (train_part, "dev", "test")}
        missing = [path.name for path in paths.values() if not path.is_file()]
        if missing:
            reason = f"{' and '.join(missing)} missing"
            if strict or code == ENGLISH:
                raise InputError(f"{folder}: {reason}" + ("; English is needed" if code == ENGLISH else ""))
            if paths["test"].name in missing:
                skipped.append({"language": code, "reason": reason})
                continue
            skipped.append({"language": code, "reason": f"{reason}; tested, but not trained on"})
            paths = {"test": paths["test"]}
        parts[code] = {part: read_documents(path) for part, path in paths.items()}
        if "dev" in parts[code] and len(set(parts[code][train_part].labels)) < 2:
            raise InputError(f"{paths[train_part]}: fewer than two labels to train on")
    return parts, skipped


def _record(
    task: str,
    classifier: str,
    protocol: str,
    by_training: Mapping[str, Predictions],
    gold_by_test: Mapping[str, NDArray[np.int64]],
    asked: int,
    **details: Any,
) -> Record:
    """Return the record of one classifier.

    Args:
        task: name of the record.
        classifier: for the protocol.
        protocol: its end.
        by_training: predictions of all test sets, by training language.
        gold_by_test: labels, by test language.
        asked: how many languages were asked for, English included.
        **details: further entries of the record.
    """
    scored = {code: score_predictions(gold_by_test, of_code, len(LABELS)) for code, of_code in by_training.items()}
    predictions, (scores, outcomes) = by_training[ENGLISH], scored[ENGLISH]
    columns = columns_of(scores)
    for name, column in (("matrix", "accuracy"), ("matrix_sd", "accuracy_sd")):
        if column in columns:
            details[name] = {
                code: {test: row[column] for test, row in of_code.items()} for code, (of_code, _) in scored.items()
            }
    others = [code for code in scores if code != ENGLISH]
    members = {details["language_set"]: others}
    means = {details["language_set"]: mean_over_tests(others, gold_by_test, predictions, scores, asked - 1)}
    if len(scores) == len(FILE_NAMES):
        members["mldoc8"] = [*scores]
        means["mldoc8"] = mean_over_tests([*scores], gold_by_test, predictions, scores, len(FILE_NAMES))
    return make_record(
        task,
        f"topics, {classifier} on frozen embeddings, {protocol}",
        split="test",
        direction=ENGLISH,
        columns=columns,
        scores=scores,
        means=means,
        members=members,
        outcomes=outcomes,
        selected={code: of_code.selected for code, of_code in by_training.items()},
        dev_accuracy={code: of_code.dev_accuracy for code, of_code in by_training.items()},
        **details,
    )


def evaluate_mldoc(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    train_size: int = 1000,
    document: str = "truncate",
    seeds: Sequence[int] = SEEDS,
    epochs: int = EPOCHS,
    device: str = "cpu",
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score an encoder on MLDoc: train on each language, test on every language.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see the top of this module.
        languages: codes in any spelling; None: all eight. English always takes part; others than the eight are listed
            under "skipped".
        train_size: which training files, by their names: 1000, 2000, 5000 or 10000. The largest has fewer rows in
            Spanish (9458) and Russian (5216).
        document: "truncate" or "sentences"; see `DOCUMENTS`.
        seeds: of the perceptron, 1 to 9.
        epochs: of the perceptron.
        device: where to train the perceptron.
        strict: a missing file is an error; otherwise it is listed under "skipped": without a test file a language is
            left out, without one of the others it is tested only. English is always needed whole.
        registry: knows the languages' spellings.

    Returns:
        Records "mldoc-logreg" and "mldoc-mlp" as `ems.eval.record` describes them. Scores are of training on English;
        the first mean is that of the other test languages. Also in them: "matrix" {training language: {test language:
        accuracy}}, of the perceptron "matrix_sd" likewise (deviations over seeds), "sizes" (rows by language and part),
        "empty_documents" (by language, if any), "document", and by training language "selected" (C, or the epoch of
        each seed) and "dev_accuracy".

    Raises:
        InputError: no files, an unknown language, training size or treatment of documents, an unusable file, or a file
            missing that is needed.
        ValueError: the encoder did not return one finite vector a sentence, or unusable seeds.
    """
    if train_size not in TRAIN_SIZES:
        raise InputError(f"MLDoc has no train.{train_size}; there are {', '.join(map(str, TRAIN_SIZES))}")
    if document not in DOCUMENTS:
        near = nearest(document, DOCUMENTS)
        raise InputError(f"unknown treatment of documents '{document}'; did you mean '{near}'?")
    folder = find_folder(Path(data_folder))
    if folder is None:
        raise InputError(
            f"{data_folder}: no MLDoc files here, in mldoc/ or in MLDoc/ (english.train.{train_size}, english.dev, "
            "english.test, german.test, ...); the corpus needs a licence for Reuters RCV1 and RCV2"
        )
    train_part = f"train.{train_size}"
    language_set, codes, skipped = _choose_languages(languages, registry)
    parts, incomplete = _read_parts(folder, codes, train_part, strict)
    check_any_left(folder, parts.keys() - {ENGLISH}, skipped + incomplete)

    labelled: dict[str, dict[str, Labelled]] = {}
    dimension = None
    for code, documents_by_part in parts.items():
        labelled[code] = {}
        for part, documents in documents_by_part.items():
            what = f"MLDoc, {FILE_NAMES[code]}.{part}"
            vectors = embed_documents(encoder, documents.texts, document, what, dimension)
            dimension = vectors.shape[1]
            labelled[code][part] = Labelled(vectors, documents.gold())
        logger.info("mldoc: %s embedded", code)
    tests = {code: of_code["test"].vectors for code, of_code in labelled.items()}
    sets = {code: (of_code[train_part], of_code["dev"]) for code, of_code in labelled.items() if "dev" in of_code}

    regression = {
        code: train_logistic_regression(train, dev, tests, num_classes=len(LABELS))
        for code, (train, dev) in sets.items()
    }
    logger.info("mldoc: training %d perceptrons for %d epochs", len(sets) * len(seeds), epochs)
    trained = train_mlps([*sets.values()], num_classes=len(LABELS), seeds=seeds, epochs=epochs, device=device)
    perceptrons = {code: predict_tests(of_code, tests) for code, of_code in zip(sets, trained, strict=True)}
    protocol = (
        f"trained on {train_part} of English, chosen on its dev; {DOCUMENTS[document]}; accuracy and macro-F1, plain "
        "mean over test languages"
    )
    empty = {
        code: sum(not text.strip() for documents in of_code.values() for text in documents.texts)
        for code, of_code in parts.items()
    }
    shared: dict[str, Any] = {
        "gold_by_test": {code: of_code["test"].labels for code, of_code in labelled.items()},
        "asked": len(codes),
        "language_set": language_set,
        "n": sum(map(len, tests.values())),
        "data_digest": digest_lines(
            (f"{code}/{part}", documents.lines(LABELS))
            for code, of_code in parts.items()
            for part, documents in of_code.items()
        ),
        "skipped": skipped + incomplete,
        "document": document,
        "sizes": {code: {part: len(rows.labels) for part, rows in of_code.items()} for code, of_code in parts.items()},
        "empty_documents": {code: count for code, count in empty.items() if count},
    }
    perceptron = perceptron_words(len(LABELS), epochs, seeds)
    return [
        _record("mldoc-logreg", "multinomial logistic regression", protocol, regression, **shared),
        _record("mldoc-mlp", perceptron, protocol, perceptrons, **shared, seeds=list(seeds)),
    ]
