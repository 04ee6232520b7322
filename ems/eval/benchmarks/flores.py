"""FLORES-200: 1012 (devtest) or 997 (dev) sentences of Wikipedia in all languages, all parallel by row.

Two tasks: P@1, how often a sentence's nearest neighbour is its translation; and xsim, the error rate by margin score.
Released by the NLLB team, "No Language Left Behind", 2022; CC BY-SA 4.0.

Files: `<code>.<split>`, such as `deu_Latn.devtest`, in `flores/<split>/`, `flores200_dataset/<split>/`,
`flores200/<split>/`, `<split>/` or the folder itself.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ems.errors import InputError
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.parallel_text import check_any_left, check_same_length, digest_lines, read_lines
from ems.eval.record import Outcome, Record, RetrievalEvidence, both_outcomes, both_ways, make_record, outcome
from ems.eval.retrieval import accuracy, check_margin, margin_winners, wrong_rows
from ems.languages import LANGUAGES, LanguageRegistry
from ems.mining import UnitRows, mutual_neighbours, unit_rows

logger = logging.getLogger(__name__)

SPLITS = ("devtest", "dev")
ENGLISH = "en"
BOTH_WAYS = ("x->en", "en->x", "mean")
BASES = ("flores", "flores200_dataset", "flores200", "")  # folders that releases unpack to


def find_folder(data_folder: Path, split: str) -> Path | None:
    """Return the folder below `data_folder` that holds the files of a split, or None."""
    for folder in [*(data_folder / base / split for base in BASES), data_folder]:
        if next(folder.glob(f"???_????.{split}"), None) is not None:
            return folder
    return None


def require_folder(data_folder: Path, split: str) -> Path:
    """Return the folder of a split as `find_folder` does, but refuse what is not there.

    Raises:
        InputError: no such split, or no files.
    """
    if split not in SPLITS:
        raise InputError(f"unknown FLORES split '{split}'; there are {' and '.join(SPLITS)}")
    folder = find_folder(data_folder, split)
    if folder is None:
        raise InputError(f"{data_folder}: no FLORES files here or in flores/{split}/ (deu_Latn.{split})")
    return folder


def file_codes(languages: Sequence[str] | None, registry: LanguageRegistry) -> tuple[str, dict[str, str]]:
    """Return the name of the language set, and file codes by language, without English.

    Args:
        languages: codes in any spelling, also FLORES codes that the registry does not know; None: all of the registry.
        registry: knows the languages.

    Raises:
        InputError: an unknown language.
    """
    every = {code: registry[code].flores for code in registry if code != ENGLISH}
    if languages is None:
        return f"ems{len(every) + 1}", every
    codes: dict[str, str] = {}
    for language in languages:
        if language not in registry and re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", language):
            codes[language] = language  # one of the 204 that the registry does not know
        elif (code := registry.resolve(language)) != ENGLISH:
            codes[code] = registry[code].flores
    return (f"ems{len(every) + 1}" if set(codes) == set(every) else "chosen"), codes


def read_texts(
    folder: Path, split: str, codes: Mapping[str, str], strict: bool
) -> tuple[dict[str, list[str]], list[dict[str, str]]]:
    """Read the sentences of every language that has a file.

    Args:
        folder: from `find_folder`.
        split: "dev" or "devtest".
        codes: file code by language, English among them.
        strict: raise for a missing file instead of skipping its language.

    Returns:
        Sentences by language, row-aligned, and the languages that have no file, with the reason.

    Raises:
        InputError: a file is unusable, or two differ in length.
    """
    texts: dict[str, list[str]] = {}
    skipped = []
    english_file = folder / f"{codes[ENGLISH]}.{split}"
    for language, code in codes.items():
        path = folder / f"{code}.{split}"
        if not path.is_file() and language != ENGLISH and not strict:
            skipped.append({"language": language, "reason": f"{path.name} is missing"})
            continue
        texts[language] = read_lines(path)
        check_same_length(english_file, texts[ENGLISH], path, texts[language])
    return texts, skipped


def _all_pairs(rows: Mapping[str, UnitRows]) -> dict[str, dict[str, float]]:
    """Return accuracies by source language and target language; both ways from one similarity matrix."""
    matrix: dict[str, dict[str, float]] = {language: {} for language in rows}
    for first, second in itertools.combinations(rows, 2):
        forward, backward = mutual_neighbours(rows[first], rows[second], 1)
        matrix[first][second] = accuracy(forward.nearest())
        matrix[second][first] = accuracy(backward.nearest())
    return matrix


def evaluate_flores(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    split: str = "devtest",
    languages: Sequence[str] | None = None,
    all_pairs: bool = False,
    margin: str = "ratio",
    k: int = 4,
    text_mode: bool = True,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score an encoder on FLORES; every language is encoded once.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see the top of this module.
        split: "devtest" or "dev".
        languages: codes in any spelling; None: all of the registry. English always takes part. FLORES codes of
            languages that the registry does not know are taken too.
        all_pairs: score every language against every other as well, not against English only.
        margin: of xsim: "ratio", "distance" or "absolute".
        k: neighbours for the margin.
        text_mode: xsim takes another row with the same English text as right; False: only the row itself is.
        strict: a missing file is an error; otherwise it is listed under "skipped". English is always needed.
        registry: knows the languages' spellings and file codes.

    Returns:
        Records as `ems.eval.record` describes them: P@1 with English, xsim into English, and P@1 of all pairs if asked.

    Raises:
        InputError: no files, none of the languages, an unknown language or split, unequal lengths, text that is not
            UTF-8, or a file missing that is needed.
        ValueError: an unknown margin or k, or an encoder that returns other than one finite vector a sentence.
    """
    check_margin(margin, k)
    folder = require_folder(Path(data_folder), split)
    language_set, codes = file_codes(languages, registry)
    files = {ENGLISH: registry[ENGLISH].flores, **codes}
    texts, skipped = read_texts(folder, split, files, strict)
    check_any_left(folder, texts.keys() - {ENGLISH}, skipped)
    rows: dict[str, UnitRows] = {}
    dimension = None
    for language, lines in texts.items():
        rows[language] = unit_rows(embed(encoder, lines, files[language], dimension))
        dimension = rows[language].rows.shape[1]

    found: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    found_outcomes: dict[str, dict[str, Outcome]] = {}
    error_outcomes: dict[str, dict[str, Outcome]] = {}
    evidence = RetrievalEvidence()
    every = np.arange(len(rows[ENGLISH]))
    for language in rows:
        if language == ENGLISH:
            continue
        # One similarity matrix gives both directions, and both tasks.
        forward, backward = mutual_neighbours(rows[language], rows[ENGLISH], k)
        to_english, from_english = forward.nearest() == every, backward.nearest() == every
        found[language] = both_ways(to_english, from_english)
        found_outcomes[language] = both_outcomes(to_english, from_english)
        evidence.add(language, forward.nearest(), rows[language], rows[ENGLISH], texts[language], texts[ENGLISH])
        wrong = np.isin(
            every, wrong_rows(margin_winners(forward, backward, margin), texts[ENGLISH] if text_mode else None)
        )
        errors[language] = {"x->en": float(wrong.mean()), "errors": int(wrong.sum())}
        error_outcomes[language] = {"x->en": outcome(wrong)}
        logger.info("flores %s: %.4f", language, found[language]["mean"])

    shared: dict[str, Any] = {
        "split": split,
        "language_set": language_set,
        "of": len(codes),
        "n": len(rows[ENGLISH]),
        "data_digest": digest_lines((language, lines) for language, lines in texts.items()),
        "skipped": skipped,
        "parallel_rows": True,
    }
    nearest = "P@1: accuracy of the nearest neighbour by cosine"
    mode = "text" if text_mode else "index"
    records = [
        make_record(
            "flores",
            f"{nearest}, with English; plain mean over languages",
            direction="both",
            columns=BOTH_WAYS,
            scores=found,
            k=1,
            outcomes=found_outcomes,
            evidence=evidence,
            **shared,
        ),
        make_record(
            "flores-xsim",
            f"xsim: error rate of the best {margin} margin among k = {k}, {mode} mode; plain mean over languages",
            direction="x->en",
            columns=("x->en",),
            scores=errors,
            higher_is_better=False,
            margin=margin,
            k=k,
            outcomes=error_outcomes,
            **shared,
        ),
    ]
    if all_pairs:
        matrix = _all_pairs(rows)
        sides = {
            language: {
                "to others": float(np.mean([*to.values()])),
                "from others": float(np.mean([matrix[other][language] for other in to])),
            }
            for language, to in matrix.items()
            if to
        }
        records.append(
            make_record(
                "flores-all-pairs",
                f"{nearest}, every language against every other; plain mean over directions",
                direction="all pairs",
                columns=("to others", "from others"),
                scores=sides,
                k=1,
                matrix=matrix,
                # English is one of the languages here, not the other side of all.
                **{**shared, "of": len(codes) + 1},
            )
        )
    return records
