"""FLORES xsim++: does a sentence find its English translation among altered forms of it, a number or a name apart?

The sources are the rows of a language; the targets are the English rows followed by altered ones, 44,033 of them for
devtest. An error is a row whose best target by margin score has another text than its translation. Released by Chen,
Heffernan, Çelebi, Mourachko and Schwenk, "xSIM++: An Improved Proxy to Bitext Mining Performance for Low-Resource
Languages", ACL 2023.

Files, beside the folders `<split>/` of FLORES: `<split>_augmented/eng_Latn_augmented.<split>`, one altered sentence a
line, and `<split>_augmented/eng_Latn_errtype.<split>.json`, {altered sentence: {"src": original, "errtype": kind}}.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ems.errors import InputError, nearest
from ems.eval.benchmarks import flores
from ems.eval.benchmarks.flores import BASES, ENGLISH
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.parallel_text import check_any_left, digest_lines, read_lines, read_text
from ems.eval.record import Outcome, Record, RetrievalEvidence, make_record, outcome
from ems.eval.retrieval import check_margin, error_kinds, margin_winners, wrong_rows
from ems.languages import LANGUAGES, LanguageRegistry
from ems.mining import UnitRows, mutual_neighbours, unit_rows

logger = logging.getLogger(__name__)

ENGLISH_FILE = "eng_Latn"  # altered sentences have been released for English only
FIELDS = ("src", "errtype")


def find_folder(data_folder: Path, split: str) -> Path | None:
    """Return the folder below `data_folder` that holds the altered sentences of a split, or None."""
    for base in BASES:
        folder = data_folder / base / f"{split}_augmented"
        if next(folder.glob(f"{ENGLISH_FILE}_*.{split}*"), None) is not None:
            return folder
    return None


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, but refuse keys that stand in it twice, of which a dict would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"'{twice[:60]}' stands in it twice")
    return found


def read_errtypes(path: Path) -> dict[str, dict[str, str]]:
    """Read the kinds of alteration.

    Returns:
        For every altered sentence {"src": the original sentence, "errtype": name of the alteration}.

    Raises:
        InputError: no such file, not JSON, not of that form, or a sentence stands in it twice.
    """
    text = read_text(path)
    try:
        entries = json.loads(text, object_pairs_hook=_distinct_keys)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{path}: must be an object of altered sentences, not {json.dumps(entries)[:60]}")
    for altered, entry in entries.items():
        if not isinstance(entry, dict):
            raise InputError(
                f"{path}: '{altered[:60]}' must have an object with 'src' and 'errtype', not {entry!r:.60}"
            )
        for field in FIELDS:
            if field not in entry:
                near = nearest(field, entry)
                instead = f"; it has '{near}'" if near else ""
                raise InputError(f"{path}: '{altered[:60]}' has no '{field}'{instead}")
            if not isinstance(entry[field], str):
                raise InputError(f"{path}: '{field}' of '{altered[:60]}' must be text, not {entry[field]!r:.60}")
    return {altered: {field: entry[field] for field in FIELDS} for altered, entry in entries.items()}


@dataclass(frozen=True)
class Augmentation:
    """The altered English sentences of a split.

    Attributes:
        lines: altered sentences, in file order.
        errtypes: from `read_errtypes`.
        counts: how many "lines" there are; how many of their kinds are known ("with_kind"); how many of those are said
            to alter a sentence that is none of the originals ("of_unknown_original"); how many are word for word an
            original ("unaltered") or an earlier line ("repeated"); and how many "originals" have an altered form.
    """

    lines: list[str]
    errtypes: dict[str, dict[str, str]]
    counts: dict[str, int]


def read_augmentation(folder: Path, split: str, originals: Sequence[str]) -> Augmentation:
    """Read the altered sentences of a split and match them with the originals.

    A line whose kind is not known, or that is said to alter a sentence that is not there, can still win, and its errors
    count as "Misaligned", as in the xsim++ program; both are counted and warned of.

    Args:
        folder: from `find_folder`.
        split: "dev" or "devtest".
        originals: the English sentences of the split.

    Raises:
        InputError: a file is missing or unusable, or the two do not belong together or not to the originals.
    """
    lines_file = folder / f"{ENGLISH_FILE}_augmented.{split}"
    errtypes_file = folder / f"{ENGLISH_FILE}_errtype.{split}.json"
    lines, errtypes = read_lines(lines_file), read_errtypes(errtypes_file)
    texts = {line.strip() for line in originals}
    kinds = [errtypes[line.strip()] for line in lines if line.strip() in errtypes]
    if not kinds:
        raise InputError(f"{errtypes_file}: holds none of the {len(lines)} sentences of {lines_file.name}")
    sources = {entry["src"] for entry in kinds} & texts
    if not sources:
        example = kinds[0]["src"][:60]
        raise InputError(f"{errtypes_file}: no 'src' is an English sentence of {split}, such as '{example}'")
    counts = {
        "lines": len(lines),
        "with_kind": len(kinds),
        "of_unknown_original": sum(entry["src"] not in texts for entry in kinds),
        "unaltered": len(set(originals) & set(lines)),
        "repeated": len(lines) - len(set(lines)),
        "originals": len(sources),
    }
    if counts["with_kind"] < len(lines):
        without = len(lines) - len(kinds)
        logger.warning("%s: no kind for %d of %d altered lines: Misaligned", errtypes_file, without, len(lines))
    if counts["of_unknown_original"]:
        unknown = counts["of_unknown_original"]
        logger.warning("%s: 'src' of %d altered lines is no original: Misaligned", errtypes_file, unknown)
    return Augmentation(lines, errtypes, counts)


def _embed_targets(encoder: SupportsEncode, originals: list[str], altered: list[str]) -> UnitRows:
    """Return the embeddings of the originals followed by the altered sentences."""
    # Two calls, so that a cache finds the originals where another FLORES task left them. An altered line that equals an
    # original may so get other last digits, which is no matter: text is compared, not rows.
    first = embed(encoder, originals, ENGLISH_FILE)
    second = embed(encoder, altered, f"the altered {ENGLISH_FILE}", first.shape[1])
    return unit_rows(np.concatenate([first, second]))


def _digest(texts: Mapping[str, Sequence[str]], originals: Sequence[str], augmentation: Augmentation) -> str:
    kinds = [json.dumps([altered, entry["src"], entry["errtype"]]) for altered, entry in augmentation.errtypes.items()]
    return digest_lines([(ENGLISH, originals), *texts.items(), ("augmented", augmentation.lines), ("errtypes", kinds)])


def evaluate_xsimpp(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    split: str = "devtest",
    languages: Sequence[str] | None = None,
    margin: str = "ratio",
    k: int = 4,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score an encoder on xsim++ into English; every language, and the altered sentences, are encoded once.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see the top of this module and of `ems.eval.benchmarks.flores`.
        split: "devtest" or "dev".
        languages: codes in any spelling; None: all of the registry. FLORES codes of languages that the registry does
            not know are taken too.
        margin: "ratio" (published tables), "distance" or "absolute".
        k: neighbours that are scored, and over which means are taken.
        strict: a missing file is an error; otherwise it is listed under "skipped". English is always needed.
        registry: knows the languages' spellings and file codes.

    Returns:
        One record as `ems.eval.record` describes it, with "by_type" (errors by language and kind of alteration),
        "by_type_total" and "augmentation" (see `Augmentation.counts`).

    Raises:
        InputError: no files, none of the languages, an unknown language or split, a file that is unusable or missing.
        ValueError: an unknown margin or k, or an encoder that returns other than one finite vector a sentence.
    """
    data_folder = Path(data_folder)
    check_margin(margin, k)
    flores_folder = flores.require_folder(data_folder, split)
    folder = find_folder(data_folder, split)
    if folder is None:
        raise InputError(
            f"{data_folder}: no altered sentences in {split}_augmented/ or flores/{split}_augmented/ "
            f"({ENGLISH_FILE}_augmented.{split})"
        )
    language_set, codes = flores.file_codes(languages, registry)
    texts, skipped = flores.read_texts(flores_folder, split, {ENGLISH: registry[ENGLISH].flores, **codes}, strict)
    originals = texts.pop(ENGLISH)
    check_any_left(flores_folder, texts, skipped)
    augmentation = read_augmentation(folder, split, originals)

    target, target_texts = _embed_targets(encoder, originals, augmentation.lines), [*originals, *augmentation.lines]

    scores: dict[str, dict[str, float]] = {}
    outcomes: dict[str, dict[str, Outcome]] = {}
    by_type: dict[str, dict[str, int]] = {}
    evidence = RetrievalEvidence()
    every = np.arange(len(originals))
    for language, lines in texts.items():
        source = unit_rows(embed(encoder, lines, codes[language], target.rows.shape[1]))
        winners = margin_winners(*mutual_neighbours(source, target, k), margin)
        wrong = wrong_rows(winners, target_texts)
        is_wrong = np.isin(every, wrong)
        scores[language] = {"x->en": float(is_wrong.mean()), "errors": len(wrong)}
        outcomes[language] = {"x->en": outcome(is_wrong)}
        by_type[language] = error_kinds(wrong, winners, target_texts, augmentation.errtypes)
        # A winner elsewhere with the right text is no confusion.
        evidence.add(language, np.where(is_wrong, winners, every), source, target, lines, target_texts)
        logger.info("flores-xsimpp %s: %.4f", language, scores[language]["x->en"])

    total = sum((Counter(kinds) for kinds in by_type.values()), Counter[str]())
    return [
        make_record(
            "flores-xsimpp",
            f"xsim++: error rate of the best {margin} margin among k = {k}, text mode, {len(originals)} English "
            f"sentences and {len(augmentation.lines)} altered ones; plain mean over languages",
            split=split,
            direction="x->en",
            language_set=language_set,
            of=len(codes),
            margin=margin,
            k=k,
            n=len(originals),
            data_digest=_digest(texts, originals, augmentation),
            columns=("x->en",),
            scores=scores,
            higher_is_better=False,
            skipped=skipped,
            outcomes=outcomes,
            evidence=evidence,
            parallel_rows=True,
            by_type=by_type,
            by_type_total=dict(total.most_common()),
            augmentation=augmentation.counts,
        )
    ]
