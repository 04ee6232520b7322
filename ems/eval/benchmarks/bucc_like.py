"""Mining quality on a test set that is parallel by row: hide translations among sentences that have none, and mine.

BUCC has four languages and files that must be asked for; FLORES has every language. For each language, with English, a
quarter of the rows stand on both sides: these are the gold pairs. Half of the other rows stand on the foreign side only
and half on the English side only: their translations are withheld. The threshold is chosen on the rows of `dev` and
applied unchanged to those of `devtest`, as "bucc-xtreme" does; "f1_own_threshold" is chosen on `devtest` itself, which
flatters, and the difference between the two says how well a threshold carries over.

Why a quarter: of the 1012 rows of devtest 253 are gold, among 632 or 633 sentences a side (40 %; in BUCC 2 to 4 % of
some hundred thousand, so that numbers here are higher and not comparable with BUCC's). Fewer gold pairs would come
nearer to BUCC, but the uncertainty of F1 grows as one over their square root: with 253 the 95 % interval reaches some 5
points each way for one language, 1.5 for the mean of 61 (measured at F1 of 0.65 and 0.26); with 30 (3 %) three times as
far.

Which rows are gold is a keyed hash of seed and language code: the same on every machine, for every choice of other
languages. Ratio margin, k = 4, strategy max; duplicates cost recall as in BUCC, see `ems.eval.bitext`.

Files: those of FLORES, `dev` and `devtest`, see `ems.eval.benchmarks.flores`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ems.data.keyed import keyed_hash
from ems.eval.benchmarks import flores
from ems.eval.benchmarks.bucc import scored_row
from ems.eval.bitext import bucc_candidates, scan_threshold
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.parallel_text import NoLanguageLeft, check_any_left, digest_lines
from ems.eval.record import Outcome, Record, make_record
from ems.eval.retrieval import check_margin
from ems.languages import LANGUAGES, LanguageRegistry
from ems.mining import Index

logger = logging.getLogger(__name__)

ENGLISH = "en"
TUNED_ON, SCORED_ON = "dev", "devtest"
GOLD_SHARE = 0.25
COLUMNS = ("precision", "recall", "f1_own_threshold", "f1")


@dataclass(frozen=True)
class HiddenTranslations:
    """Say which rows of a parallel text stand on which side.

    Attributes:
        source_rows: int64 (S,), ascending.
        target_rows: int64 (T,), ascending; rows on both sides are the gold pairs.
    """

    source_rows: Index
    target_rows: Index

    def gold(self) -> Index:
        """Return int64 (G,): the rows that stand on both sides, ascending."""
        return np.intersect1d(self.source_rows, self.target_rows, assume_unique=True)


def hide_translations(
    num_rows: int, language: str, *, seed: int = 0, gold_share: float = GOLD_SHARE
) -> HiddenTranslations:
    """Choose which rows of a parallel text keep their translation, and on which side the others stand.

    Rows are put in the order of a keyed hash: the first are gold, the next stand on the source side only, and the rest
    on the target side only.

    Args:
        num_rows: N, rows of the text.
        language: code of the source language; another language is another, independent choice.
        seed: any integer; another seed likewise.
        gold_share: gold rows divided by N, from 0 to 1, rounded to whole rows.

    Raises:
        ValueError: the share is out of range.
    """
    if not 0 <= gold_share <= 1:
        raise ValueError(f"gold_share must lie between 0 and 1, not {gold_share}")
    word = int.from_bytes(blake2b(language.encode(), digest_size=8).digest(), "little")
    order = np.argsort(keyed_hash(seed, word, np.arange(num_rows)))
    num_gold = round(num_rows * gold_share)
    num_source = num_gold + (num_rows - num_gold) // 2
    gold, source_only, target_only = order[:num_gold], order[num_gold:num_source], order[num_source:]
    return HiddenTranslations(
        np.sort(np.concatenate([gold, source_only])), np.sort(np.concatenate([gold, target_only]))
    )


def _mine_hidden(
    hidden: HiddenTranslations,
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    source_texts: Sequence[str],
    target_texts: Sequence[str],
    margin: str,
    k: int,
) -> list[tuple[float, str, str]]:
    """Mine the sentences that are left of one split; ids are row numbers."""
    return bucc_candidates(
        source[hidden.source_rows],
        target[hidden.target_rows],
        source_ids=[str(row) for row in hidden.source_rows],
        source_sentences=[source_texts[row] for row in hidden.source_rows],
        target_ids=[str(row) for row in hidden.target_rows],
        target_sentences=[target_texts[row] for row in hidden.target_rows],
        margin=margin,
        k=k,
    )


def find_folder(data_folder: Path) -> Path | None:
    """Return the folder below `data_folder` that holds the devtest files of FLORES, if there are dev files too."""
    if flores.find_folder(data_folder, TUNED_ON) is None:
        return None
    return flores.find_folder(data_folder, SCORED_ON)


def evaluate_bucc_like(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    margin: str = "ratio",
    k: int = 4,
    seed: int = 0,
    gold_share: float = GOLD_SHARE,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score how well an encoder mines FLORES with some of its translations hidden; every file is encoded once.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see `ems.eval.benchmarks.flores`.
        languages: codes in any spelling; None: all of the registry. English always takes part. FLORES codes of
            languages that the registry does not know are taken too.
        margin: "ratio", "distance" or "absolute".
        k: neighbours for the margin.
        seed: of the choice of rows. Scores with other seeds are of other test sets.
        gold_share: rows that keep their translation divided by all rows; so is this.
        strict: a missing file is an error; otherwise it is listed under "skipped". English is always needed.
        registry: knows the languages' spellings and file codes.

    Returns:
        One record as `ems.eval.record` describes it. Rows hold thresholds and counts beside the scores. Outcomes are by
        row of devtest, in all languages alike: what is not on the foreign side counts 0 of 0.

    Raises:
        InputError: no files, none of the languages, an unknown language, unequal lengths, text that is not UTF-8, or a
            file missing that is needed.
        ValueError: an unknown margin or k, a share that leaves no gold pair or is above 1, or an encoder that returns
            other than one finite vector a sentence.
    """
    check_margin(margin, k)
    language_set, codes = flores.file_codes(languages, registry)
    texts: dict[str, dict[str, list[str]]] = {}
    missing: dict[str, list[str]] = {}
    for split in (TUNED_ON, SCORED_ON):
        folder = flores.require_folder(Path(data_folder), split)
        files = {ENGLISH: registry[ENGLISH].flores, **codes}
        texts[split], absent = flores.read_texts(folder, split, files, strict)
        for entry in absent:
            missing.setdefault(entry["language"], []).append(entry["reason"])
    skipped = [{"language": language, "reason": "; ".join(reasons)} for language, reasons in missing.items()]
    chosen = [language for language in codes if language not in missing]
    check_any_left(Path(data_folder), chosen, skipped)
    for split, lines in texts.items():
        if not len(hide_translations(len(lines[ENGLISH]), "", gold_share=gold_share).gold()):
            count = len(lines[ENGLISH])
            raise NoLanguageLeft(f"{data_folder}: with gold_share {gold_share} none of {count} rows of {split} is gold")

    english = {split: embed(encoder, texts[split][ENGLISH]) for split in texts}
    ids = [str(row) for row in range(len(english[SCORED_ON]))]
    scores: dict[str, dict[str, float]] = {}
    outcomes: dict[str, dict[str, Outcome]] = {}
    for language in chosen:
        hidden, candidates, gold = {}, {}, {}
        for split, lines in texts.items():
            rows = hide_translations(len(lines[ENGLISH]), language, seed=seed, gold_share=gold_share)
            hidden[split], gold[split] = rows, {(str(row), str(row)) for row in rows.gold()}
            candidates[split] = _mine_hidden(
                rows, embed(encoder, lines[language]), english[split], lines[language], lines[ENGLISH], margin, k
            )
        chosen_on_dev = scan_threshold(candidates[TUNED_ON], gold[TUNED_ON])
        own = scan_threshold(candidates[SCORED_ON], gold[SCORED_ON])
        row, found = scored_row(candidates[SCORED_ON], gold[SCORED_ON], ids, chosen_on_dev)
        own_row, own_found = scored_row(candidates[SCORED_ON], gold[SCORED_ON], ids, own)
        scores[language] = {
            "n": len(hidden[SCORED_ON].source_rows),
            "english": len(hidden[SCORED_ON].target_rows),
            **row,
            "f1_own_threshold": own_row["f1"],
            "own_threshold": own.threshold,
            "own_at_last_candidate": own.at_last_candidate,
        }
        outcomes[language] = {**found, "f1_own_threshold": own_found["f1"]}
        logger.info("bucc-like %s: F1 %.4f", language, row["f1"])
    return [
        make_record(
            "bucc-like",
            f"precision, recall and F1 of FLORES pairs mined by {margin} margin, k = {k}, strategy max, with the "
            f"threshold chosen on dev; {gold_share:.0%} of the rows on both sides, the others on one (seed {seed}); "
            "f1_own_threshold: chosen on the same gold pairs; plain mean over languages",
            split=SCORED_ON,
            direction="both",
            language_set=language_set,
            of=len(codes),
            margin=margin,
            k=k,
            n=len(ids),
            data_digest=digest_lines(
                (f"{split}/{language}", lines[language])
                for split, lines in texts.items()
                for language in (ENGLISH, *chosen)
            ),
            columns=COLUMNS,
            scores=scores,
            skipped=skipped,
            outcomes=outcomes,
            parallel_rows=True,
            seed=seed,
            gold_share=gold_share,
        )
    ]
