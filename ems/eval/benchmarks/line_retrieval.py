"""Retrieval on your own text: does a line find its translation among many lines that are not?

For any pair of line-aligned files, with as many further lines (distractors) of either language as there are: the
setting that the EMS paper takes for ParaCrawl is 2,000 queries and 200,000 keys. The keys of a direction are the lines
of the side searched in and its distractors, distinct after stripping white space: a distractor that equals a line or
an earlier distractor is left out, and lines that equal each other are one key, the first of them, which is right for
all their queries. Nearest neighbour by cosine, both ways. What lines are taken decides the numbers, so they compare
encoders on the same files only.

Source: Mao, Chu and Kurohashi, "EMS: Efficient and Effective Massively Multilingual Sentence Embedding Learning",
IEEE/ACM TASLP, 2024. Its sample of ParaCrawl was not published.

Files: see `ems.eval.line_files`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.line_files import FOLDER, SetFiles, find_folder, find_sets, read_set
from ems.eval.parallel_text import check_any_left, digest_lines
from ems.eval.record import Outcome, Record, RetrievalEvidence, make_record, outcome
from ems.languages import LANGUAGES, LanguageRegistry
from ems.mining import Index, UnitRows, mutual_neighbours, unit_rows

logger = logging.getLogger(__name__)

ENGLISH = "en"
COLUMNS = ("src->tgt", "tgt->src", "mean")


@dataclass(frozen=True)
class Side:
    """Hold the lines of one language, as queries and as keys.

    Attributes:
        texts: N lines, where one that equals an earlier one after stripping stands as that one does, and then the
            distractors that are left.
        keys: distinct texts.
        repeated_lines: lines that equal an earlier line.
        equal_to_line: distractors left out since they equal a line.
        repeated_distractors: distractors left out since they equal an earlier distractor.
    """

    texts: list[str]
    keys: int
    repeated_lines: int
    equal_to_line: int
    repeated_distractors: int


def distinct_keys(lines: Sequence[str], distractors: Sequence[str]) -> Side:
    """Make lines and distractors distinct after stripping, as the top of this module says."""
    first: dict[str, str] = {}
    texts = [first.setdefault(line.strip(), line) for line in lines]
    num_lines = len(first)
    equal_to_line = 0
    kept: dict[str, str] = {}
    for line in distractors:
        stripped = line.strip()
        if stripped in first:
            equal_to_line += 1
        else:
            kept.setdefault(stripped, line)
    return Side(
        texts=texts + list(kept.values()),
        keys=num_lines + len(kept),
        repeated_lines=len(lines) - num_lines,
        equal_to_line=equal_to_line,
        repeated_distractors=len(distractors) - equal_to_line - len(kept),
    )


def retrieve(queries: UnitRows, keys: UnitRows) -> Index:
    """Return int64 (N,): the nearest of M keys by cosine for each of N queries, of equal ones the first."""
    return mutual_neighbours(queries, keys, 1)[0].nearest()


def _rows_of(encoder: SupportsEncode, texts: Sequence[str], num_queries: int) -> tuple[UnitRows, UnitRows]:
    """Return the first lines as queries, and all as keys; equal texts have equal rows, so that they tie exactly."""
    vectors = embed(encoder, texts)
    return unit_rows(vectors[:num_queries]), unit_rows(vectors)


def _right(found: Index, keys: Sequence[str], num_queries: int) -> NDArray[np.bool_]:
    """Return bool (N,): whether the text found is that of the query's own row."""
    return np.array([keys[key] == keys[row] for row, key in zip(range(num_queries), found.tolist(), strict=True)])


def _add_evidence(
    evidence: RetrievalEvidence,
    name: str,
    found: Index,
    right: NDArray[np.bool_],
    queries: UnitRows,
    keys: UnitRows,
    query_texts: Sequence[str],
    key_texts: Sequence[str],
) -> None:
    """Give the evidence the keys that matter, the right ones and those found, instead of a copy of all."""
    every = np.arange(len(found))
    rows = np.concatenate([every, found])
    evidence.add(
        name,
        np.where(right, every, len(found) + every),
        queries,
        UnitRows(keys.rows, keys.row_of[rows]),
        query_texts,
        [key_texts[row] for row in rows.tolist()],
    )


def _choose_sets(
    folder: Path, languages: Sequence[str] | None, strict: bool, registry: LanguageRegistry
) -> tuple[list[SetFiles], list[dict[str, str]]]:
    """Return the complete sets whose languages are asked for, and what is missing."""
    sets = find_sets(folder, registry)
    skipped: list[dict[str, str]] = []
    if languages is not None:
        asked = {ENGLISH} | {registry.resolve(code) for code in languages}
        sets = [files for files in sets if set(files.languages) <= asked]
        held = {code for files in sets for code in files.languages}
        skipped += [{"language": code, "reason": "no test set"} for code in sorted(asked - held - {ENGLISH})]
    complete = []
    for files in sets:
        missing = [files.languages[side] for side in (0, 1) if (side, False) not in files.files]
        if missing:
            skipped.append({"language": files.name, "reason": f"{files.name}.{missing[0]} is missing"})
        else:
            complete.append(files)
    if strict and skipped:
        raise InputError(f"{folder}: {skipped[0]['language']}: {skipped[0]['reason']}")
    return complete, skipped


def evaluate_line_retrieval(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score an encoder on retrieval among the user's own lines.

    Memory beyond the text: the embeddings of one test set, twice for a moment.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: has the folder `retrieval`; see `ems.eval.line_files`.
        languages: codes in any spelling: sets whose two languages are among these and English; None: all sets.
        strict: a set that lacks a file, or a language without a set, is an error; otherwise it is listed under
            "skipped". Distractors may always be missing.
        registry: knows the languages' spellings and scripts.

    Returns:
        One record as `ems.eval.record` describes it, with a row a test set. "keys" says how many keys there are on
        each side, and how many lines and distractors were left out for being equal to another.

    Raises:
        InputError: no files, no complete set, an unknown language, unequal lengths, sides in each other's script, text
            that is not UTF-8, or a missing file if strict.
        ValueError: an encoder that returns other than one finite vector a sentence.
    """
    folder = find_folder(Path(data_folder))
    if folder is None:
        raise InputError(f"{data_folder}: no test sets in {FOLDER}/ (NAME.de-en.de and NAME.de-en.en)")
    chosen, skipped = _choose_sets(folder, languages, strict, registry)
    check_any_left(folder, [files.name for files in chosen], skipped)
    test_sets = {files.name: read_set(files, registry) for files in chosen}

    scores: dict[str, dict[str, float]] = {}
    outcomes: dict[str, dict[str, Outcome]] = {}
    keys: dict[str, dict[str, Any]] = {}
    evidence = RetrievalEvidence()
    for name, test_set in test_sets.items():
        source, target = (distinct_keys(*side) for side in zip(test_set.lines, test_set.distractors, strict=True))
        n = len(test_set.lines[0])
        source_queries, source_keys = _rows_of(encoder, source.texts, n)
        target_queries, target_keys = _rows_of(encoder, target.texts, n)
        found, found_back = retrieve(source_queries, target_keys), retrieve(target_queries, source_keys)
        right, right_back = _right(found, target.texts, n), _right(found_back, source.texts, n)
        there, back = float(right.mean()), float(right_back.mean())
        scores[name] = {"n": n, "src->tgt": there, "tgt->src": back, "mean": (there + back) / 2}
        outcomes[name] = {
            "src->tgt": outcome(right),
            "tgt->src": outcome(right_back),
            "mean": outcome(right.astype(np.int64) + right_back, 2),
        }
        keys[name] = {
            which: {
                "keys": side.keys,
                "repeated_lines": side.repeated_lines,
                "distractors_equal_to_a_line": side.equal_to_line,
                "repeated_distractors": side.repeated_distractors,
            }
            for which, side in (("src", source), ("tgt", target))
        }
        _add_evidence(evidence, name, found, right, source_queries, target_keys, test_set.lines[0], target.texts)
        logger.info("retrieval %s: %.4f among %d and %d keys", name, scores[name]["mean"], target.keys, source.keys)
    return [
        make_record(
            "retrieval",
            "P@1: accuracy of the nearest neighbour by cosine among lines and distractors that are distinct after "
            "stripping; plain mean over test sets",
            split="test",
            direction="both",
            language_set="all" if languages is None else "chosen",
            of=len(chosen) + len(skipped),
            k=1,
            n=sum(int(row["n"]) for row in scores.values()),
            data_digest=digest_lines(
                (f"{name}/{part}/{side}", lines)
                for name, test_set in test_sets.items()
                for part, sides in (("lines", test_set.lines), ("distractors", test_set.distractors))
                for side, lines in zip(("src", "tgt"), sides, strict=True)
            ),
            columns=COLUMNS,
            scores=scores,
            skipped=skipped,
            outcomes=outcomes,
            evidence=evidence,
            keys=keys,
        )
    ]
