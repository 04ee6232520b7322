"""SIB-200: seven topics of Wikipedia sentences; learnt from English embeddings, tested in all languages.

701 sentences to train, 99 to choose and 204 to test, the same in every language; they are sentences of FLORES-200.
Two tasks, one for each classifier: multinomial logistic regression, which is the steadier, and LASER's perceptron.
Released by Adelani et al., "SIB-200: A Simple, Inclusive, and Big Evaluation Dataset for Topic Classification in 200+
Languages and Dialects", EACL 2024; text CC BY-SA 4.0.

Files: `<code>/{train,dev,test}.tsv` with the columns index_id, category and text, as released; or `<code>.tsv` with a
column split before these; each also packed (.tsv.gz). `<code>` is that of FLORES-200, such as `deu_Latn`. They lie in
`sib200/`, `sib-200/`, `SIB-200/` or the folder itself, or in `data/annotated/` of one of these.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError, nearest
from ems.eval.benchmarks.flores import file_codes
from ems.eval.benchmarks.labelled_text import Examples, find_file, read_table
from ems.eval.encoders import SupportsEncode
from ems.eval.parallel_text import check_any_left, digest_lines
from ems.eval.record import Record, make_record
from ems.eval.transfer import (
    EPOCHS,
    SEEDS,
    Predictions,
    columns_of,
    mean_over_tests,
    perceptron_words,
    score_predictions,
    train_logistic_regression,
    train_mlp,
)
from ems.languages import LANGUAGES, LanguageRegistry

logger = logging.getLogger(__name__)

ENGLISH = "en"
CATEGORIES = ("entertainment", "geography", "health", "politics", "science/technology", "sports", "travel")
SPLITS = ("train", "dev", "test")
COLUMNS = ("index_id", "category", "text")


def find_folder(data_folder: Path) -> Path | None:
    """Return the folder below `data_folder` that holds SIB-200 files, or None."""
    for base in [data_folder / name for name in ("sib200", "sib-200", "SIB-200", "")]:
        for folder in (base, base / "data" / "annotated"):
            for pattern in ("???_????.tsv*", "???_????/test.tsv*"):
                if next(folder.glob(pattern), None) is not None:
                    return folder
    return None


def _read_file(path: Path, splits: dict[str, Examples], split: str | None) -> None:
    """Add the rows of a file to `splits`; `split` is that of all rows, or None where a column names it.

    Raises:
        InputError: as `read_language`.
    """
    header, *rows = read_table(path, "\t")
    columns = COLUMNS if split is not None else ("split", *COLUMNS)
    if tuple(header.cells) != columns:
        raise InputError(
            f"{header.where}: the columns must be {', '.join(columns)}, not {', '.join(header.cells)[:80]}"
        )
    seen = {name for part in splits.values() for name in part.ids}
    for row in rows:
        row.check_width(columns)
        name, category, text = row.cells[-3:]
        if (row_split := split or row.cells[0]) not in SPLITS:
            raise InputError(f"{row.where}: unknown split '{row_split[:40]}'; nearest: '{nearest(row_split, SPLITS)}'")
        if category not in CATEGORIES:
            raise InputError(
                f"{row.where}: unknown category '{category[:40]}'; nearest: '{nearest(category, CATEGORIES)}'"
            )
        if not name.strip() or name in seen:
            raise InputError(f"{row.where}: index_id '{name[:40]}' " + ("occurs twice" if name.strip() else "is blank"))
        if not text.strip():
            raise InputError(f"{row.where}: the text is blank")
        # A sentence never holds a tab or a line end: in one they mean a quotation mark that has swallowed rows.
        if "\t" in text or "\n" in text:
            raise InputError(f"{row.where}: a tab or line end within the text; a quotation mark is not closed")
        seen.add(name)
        splits[row_split].ids.append(name)
        splits[row_split].add(text, CATEGORIES.index(category))


def read_language(folder: Path, code: str, needed: Sequence[str] = SPLITS) -> dict[str, Examples] | None:
    """Read one language; None where it has neither a file nor a folder.

    Args:
        folder: from `find_folder`.
        code: file code, such as "deu_Latn".
        needed: the splits to return.

    Returns:
        The splits by name, with each row's index_id, and places in `CATEGORIES`.

    Raises:
        InputError: a file is missing or unusable: other columns, an unknown split or category, an index_id that
            occurs twice, a blank text; or one of the needed splits has no row.
    """
    splits = {split: Examples() for split in SPLITS}
    path = find_file(folder, [f"{code}.tsv"])
    if path is not None:
        _read_file(path, splits, None)
    elif (folder / code).is_dir():
        path = folder / code
        for split in needed:
            file = find_file(path, [f"{split}.tsv"])
            if file is None:
                raise InputError(f"{path}: {split}.tsv is missing")
            _read_file(file, splits, split)
    else:
        return None
    for split in needed:
        if not splits[split].ids:
            raise InputError(f"{path}: no row of split '{split}'")
    return {split: splits[split] for split in needed}


def _in_order_of(english: Examples, split: Examples, where: str) -> Examples:
    """Return `split` with its rows in the order of the English ones.

    Raises:
        InputError: the two differ in their index_ids, or in the category of one.
    """
    places = {name: row for row, name in enumerate(split.ids)}
    if unmatched := set(places) ^ set(english.ids):
        raise InputError(f"{where}: index_id {min(unmatched)} is only in this test set or only in the English one")
    order = [places[name] for name in english.ids]
    aligned = Examples([split.texts[row] for row in order], [split.labels[row] for row in order], english.ids)
    for name, label, english_label in zip(aligned.ids, aligned.labels, english.labels, strict=True):
        if label != english_label:
            raise InputError(
                f"{where}: index_id {name} is of category '{CATEGORIES[label]}', but '{CATEGORIES[english_label]}' in "
                "English"
            )
    return aligned


def _record(
    task: str, classifier: str, predictions: Predictions, gold: NDArray[np.int64], of: int, shared: Mapping[str, Any]
) -> Record:
    """Return the record of one classifier; all test sets have the same classes."""
    gold_by_test = dict.fromkeys(predictions.predicted, gold)
    scores, outcomes = score_predictions(gold_by_test, predictions, len(CATEGORIES))
    others = [language for language in scores if language != ENGLISH]
    language_set = shared["language_set"]
    members = {f"{language_set} without en": others, language_set: [*scores]}
    means = {
        name: mean_over_tests(tests, gold_by_test, predictions, scores, of - (tests is others))
        for name, tests in members.items()
    }
    return make_record(
        task,
        f"topics, {classifier} on frozen embeddings, trained on English train, chosen on English dev; accuracy and "
        "macro-F1 on test, plain mean over languages",
        columns=columns_of(scores),
        scores=scores,
        means=means,
        members=members,
        parallel_rows=True,
        outcomes=outcomes,
        selected=predictions.selected,
        dev_accuracy=predictions.dev_accuracy,
        **shared,
    )


def evaluate_sib200(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    seeds: Sequence[int] = SEEDS,
    epochs: int = EPOCHS,
    device: str = "cpu",
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score an encoder on SIB-200: train on English, test on every language.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see the top of this module.
        languages: codes in any spelling; None: all of the registry. English always takes part. FLORES codes of
            languages that the registry does not know are taken too.
        seeds: of the perceptron, 1 to 9.
        epochs: of the perceptron.
        device: where to train the perceptron.
        strict: a missing file is an error; otherwise it is listed under "skipped". English is always needed.
        registry: knows the languages' spellings and file codes.

    Returns:
        Records "sib200-logreg" and "sib200-mlp" as `ems.eval.record` describes them; rows of outcomes are in the order
        of the English test file. Also in them: "training" (rows by split), "selected" (C, or the epoch of each seed)
        and "dev_accuracy".

    Raises:
        InputError: no files, an unknown language, an unusable file, test sets that do not match, or a file missing
            that is needed.
        ValueError: the encoder did not return one finite vector a sentence, or unusable seeds.
    """
    folder = find_folder(Path(data_folder))
    if folder is None:
        raise InputError(
            f"{data_folder}: no SIB-200 files here, in sib200/ or in sib-200/data/annotated/ (deu_Latn.tsv.gz, or "
            "deu_Latn/test.tsv)"
        )
    language_set, others = file_codes(languages, registry)
    codes = {ENGLISH: registry[ENGLISH].flores, **others}
    english = read_language(folder, codes[ENGLISH])
    if english is None:
        raise InputError(f"{folder}: {codes[ENGLISH]}.tsv, or a folder of that name, is missing; English is needed")
    if len(set(english["train"].labels)) < 2:
        raise InputError(f"{folder}: the English training split has fewer than two categories")
    tests = {ENGLISH: english["test"]}
    skipped = []
    for language, code in codes.items():
        if language == ENGLISH:
            continue
        splits = read_language(folder, code, ["test"])
        if splits is not None:
            tests[language] = _in_order_of(english["test"], splits["test"], f"{folder}, {code}")
            continue
        reason = f"{code}.tsv, or a folder of that name, is missing"
        if strict:
            raise InputError(f"{folder}: {reason}")
        skipped.append({"language": language, "reason": reason})

    check_any_left(folder, tests.keys() - {ENGLISH}, skipped)

    train = english["train"].embedded(encoder, "SIB-200, English train")
    dimension = train.vectors.shape[1]
    dev = english["dev"].embedded(encoder, "SIB-200, English dev", dimension)
    vectors = {
        language: test.embedded(encoder, f"SIB-200, {language} test", dimension).vectors
        for language, test in tests.items()
    }
    shared: dict[str, Any] = {
        "split": "test",
        "direction": ENGLISH,
        "language_set": language_set,
        "n": len(english["test"].ids),
        "data_digest": digest_lines(
            (f"{language}/{split}", part.lines(CATEGORIES))
            for language, test in tests.items()
            for split, part in (english.items() if language == ENGLISH else [("test", test)])
        ),
        "skipped": skipped,
        "training": {split: len(english[split].ids) for split in ("train", "dev")},
    }
    gold = english["test"].gold()
    num_classes = len(CATEGORIES)
    logger.info("sib200: training on %d English sentences", len(train.labels))
    regression = train_logistic_regression(train, dev, vectors, num_classes=num_classes)
    perceptrons = train_mlp(train, dev, vectors, num_classes=num_classes, seeds=seeds, epochs=epochs, device=device)
    perceptron = perceptron_words(num_classes, epochs, seeds)
    return [
        _record("sib200-logreg", "multinomial logistic regression", regression, gold, len(codes), shared),
        _record("sib200-mlp", perceptron, perceptrons, gold, len(codes), {**shared, "seeds": list(seeds)}),
    ]
