"""BUCC 2018: find the few thousand translations hidden among some hundred thousand sentences of two languages.

German, French, Russian and Chinese, each with English. Pairs are mined by margin score and taken above a threshold:
"bucc-xtreme" chooses it on the small split `sample` and applies it to `training`, as the XTREME benchmark does;
"bucc-laser-train" chooses it on the gold pairs of `training` that it is scored on, as most published tables do, which
flatters; "bucc-test" applies the threshold of "bucc-laser-train" to `test`, whose gold pairs were not given out: where
they are missing, `extract_test_pairs` writes what was found.

Source: Zweigenbaum, Sharoff and Rapp, "Overview of the Third BUCC Shared Task", 2018. Duplicates are treated as by
LASER's programs, see `ems.eval.bitext`; as each distinct line is encoded once, first and last occurrence are one.

Files: see `ems.eval.bucc_files`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ems.errors import InputError
from ems.eval.bitext import (
    Pair,
    Threshold,
    highest_scores,
    named_pairs,
    pair_counts,
    scan_threshold,
    score_at_threshold,
)
from ems.eval.bucc_files import BUCC_LANGUAGES, ENGLISH, MiningCorpus, find_folder, missing_files, read_split
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.parallel_text import check_any_left, digest_lines
from ems.eval.record import Outcome, Record, make_record, outcome
from ems.eval.retrieval import check_margin
from ems.files import atomic_write
from ems.languages import LANGUAGES, LanguageRegistry
from ems.mining import mine_bitext

logger = logging.getLogger(__name__)

COLUMNS = ("precision", "recall", "f1")
_LARGEST_DIGIT = 9

Candidate = tuple[float, str, str]


def mine_corpus(encoder: SupportsEncode, corpus: MiningCorpus, *, margin: str = "ratio", k: int = 4) -> list[Candidate]:
    """Return the pairs (score, foreign id, English id) found in a corpus, best first.

    Only distinct lines are encoded, and their vectors go to the search as they come: no other copy is held here.
    """
    scores, source_index, target_index = mine_bitext(
        embed(encoder, list(dict.fromkeys(corpus.source_sentences))),
        embed(encoder, list(dict.fromkeys(corpus.target_sentences))),
        margin=margin,
        strategy="max",
        k=k,
    )
    return named_pairs(
        scores,
        source_index,
        target_index,
        source_ids=corpus.source_ids,
        source_sentences=corpus.source_sentences,
        target_ids=corpus.target_ids,
        target_sentences=corpus.target_sentences,
    )


def scored_row(
    candidates: Sequence[Candidate], gold: Collection[Pair], source_ids: Sequence[str], chosen: Threshold
) -> tuple[dict[str, float], dict[str, Outcome]]:
    """Score candidates at a threshold that was chosen on them or elsewhere.

    Args:
        candidates: (score, source id, target id).
        gold: the right pairs, at least one.
        source_ids: N ids, among them all that occur in the pairs.
        chosen: from `scan_threshold`.

    Returns:
        The entry of a record's scores, counts among it, and the outcomes by source id (N digits). A column has none
        where the pairs of one sentence are too many for a digit.
    """
    found = score_at_threshold(candidates, gold, chosen.threshold)
    right, wrong, missed = pair_counts(candidates, gold, chosen.threshold, source_ids)
    row: dict[str, float] = {
        "gold": len(set(gold)),
        "candidates": len(highest_scores(candidates)),
        "taken": int((right + wrong).sum()),
        "correct": int(right.sum()),
        "precision": found.precision,
        "recall": found.recall,
        "f1": found.f1,
        "threshold": chosen.threshold,
        "at_last_candidate": chosen.at_last_candidate,
    }
    ratios = {
        "precision": (right, right + wrong),
        "recall": (right, right + missed),
        "f1": (2 * right, 2 * right + wrong + missed),
    }
    return row, {
        # No numerator is above its denominator.
        column: outcome(score, of)
        for column, (score, of) in ratios.items()
        if of.max() <= _LARGEST_DIGIT
    }


def _choose_languages(
    languages: Sequence[str] | None, registry: LanguageRegistry
) -> tuple[str, list[str], list[dict[str, str]]]:
    """Return the name of the language set, its members, and languages that are not in BUCC."""
    asked = BUCC_LANGUAGES if languages is None else dict.fromkeys(registry.resolve(code) for code in languages)
    chosen = [code for code in BUCC_LANGUAGES if code in asked]
    absent = [code for code in asked if code not in BUCC_LANGUAGES and code != ENGLISH]
    name = f"bucc{len(BUCC_LANGUAGES)}" if len(chosen) == len(BUCC_LANGUAGES) else "chosen"
    return name, chosen, [{"language": code, "reason": "not in BUCC"} for code in absent]


def _require_folder(data_folder: Path | str) -> Path:
    folder = find_folder(Path(data_folder))
    if folder is None:
        raise InputError(f"{data_folder}: no BUCC files here, in bucc2018/ or in bucc/ (de-en/de-en.training.de)")
    return folder


def _read_all(
    folder: Path, languages: Sequence[str], strict: bool
) -> tuple[dict[str, dict[str, MiningCorpus]], dict[str, list[dict[str, str]]]]:
    """Return the corpora by split and language, and what is missing by split; `test` is read only with its gold."""
    corpora: dict[str, dict[str, MiningCorpus]] = {"training": {}, "sample": {}, "test": {}}
    skipped: dict[str, list[dict[str, str]]] = {split: [] for split in corpora}
    for split, read in corpora.items():
        for language in languages:
            missing = missing_files(folder, language, split)
            no_gold = f"{language}-{ENGLISH}.{split}.gold" in missing
            if missing and strict and not (split == "test" and no_gold):
                raise InputError(f"{folder}: {missing[0]} is missing, here and in {language}-{ENGLISH}/")
            if missing:
                skipped[split].append({"language": language, "reason": f"{' and '.join(missing)} missing"})
            else:
                read[language] = read_split(folder, language, split)
    return corpora, skipped


def _merged(skipped: Mapping[str, Sequence[Mapping[str, str]]], splits: Sequence[str]) -> list[dict[str, str]]:
    """Return one entry a language, with what is missing of all the splits that a task needs."""
    reasons: dict[str, list[str]] = {}
    for split in splits:
        for entry in skipped[split]:
            reasons.setdefault(entry["language"], []).append(entry["reason"])
    return [{"language": language, "reason": "; ".join(found)} for language, found in reasons.items()]


def evaluate_bucc(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    margin: str = "ratio",
    k: int = 4,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Score an encoder on BUCC.

    Memory beyond the text: the embeddings of one split of one language pair, and what `mine_bitext` makes of them.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see `ems.eval.bucc_files`.
        languages: codes in any spelling; None: all four.
        margin: "ratio", as all published tables, "distance" or "absolute".
        k: neighbours for the margin.
        strict: a missing file of `sample` or `training` is an error, or one of `test` beside its gold file; otherwise
            it is listed under "skipped".
        registry: knows the languages' spellings.

    Returns:
        Records as `ems.eval.record` describes them: "bucc-xtreme" if there is a sample, "bucc-laser-train", and
        "bucc-test" if there are gold pairs of the test. Rows hold the threshold, whether the scan that chose it was
        best at its last candidate, and counts beside the scores. Outcomes are those of F1, one a foreign sentence.

    Raises:
        InputError: no files, none of the languages, an unknown language, a malformed line, or a missing file if strict.
        ValueError: an unknown margin or k, or an encoder that returns other than one finite vector a sentence.
    """
    check_margin(margin, k)
    folder = _require_folder(data_folder)
    language_set, chosen, absent = _choose_languages(languages, registry)
    corpora, skipped = _read_all(folder, chosen, strict)
    check_any_left(folder, corpora["training"], absent + skipped["training"])
    scores: dict[str, dict[str, dict[str, float]]] = {"xtreme": {}, "laser-train": {}, "test": {}}
    outcomes: dict[str, dict[str, dict[str, Outcome]]] = {task: {} for task in scores}

    def score(task: str, language: str, split: str, candidates: Sequence[Candidate], threshold: Threshold) -> None:
        corpus = corpora[split][language]
        row, found = scored_row(candidates, corpus.gold, corpus.source_ids, threshold)
        scores[task][language] = {"n": len(corpus.source_ids), "english": len(corpus.target_ids), **row}
        # Of F1 only: with hundreds of thousands of rows, each column adds a megabyte to results.json.
        outcomes[task][language] = {"f1": found["f1"]} if "f1" in found else {}
        logger.info("bucc %s %s: F1 %.4f", task, language, row["f1"])

    for language, training in corpora["training"].items():
        candidates = mine_corpus(encoder, training, margin=margin, k=k)
        of_training = scan_threshold(candidates, training.gold)
        score("laser-train", language, "training", candidates, of_training)
        if language in corpora["sample"]:
            sample = corpora["sample"][language]
            of_sample = scan_threshold(mine_corpus(encoder, sample, margin=margin, k=k), sample.gold)
            score("xtreme", language, "training", candidates, of_sample)
        if language in corpora["test"]:
            found = mine_corpus(encoder, corpora["test"][language], margin=margin, k=k)
            score("test", language, "test", found, of_training)

    chosen_on = {
        "xtreme": ("sample", "training", "chosen on the sample and applied unchanged to training"),
        "laser-train": ("training", "training", "chosen on the same gold pairs"),
        "test": ("training", "test", "chosen on training and applied unchanged to test"),
    }
    records = []
    for task, (tuned_on, split, words) in chosen_on.items():
        if task != "laser-train" and not corpora["sample" if task == "xtreme" else "test"]:
            continue
        used = list(dict.fromkeys((tuned_on, split)))
        records.append(
            make_record(
                f"bucc-{task}",
                f"precision, recall and F1 of pairs mined by {margin} margin, k = {k}, strategy max, with the "
                f"threshold {words}; plain mean over languages",
                split=split,
                direction="both",
                language_set=language_set,
                of=len(chosen),
                margin=margin,
                k=k,
                n=sum(int(row["n"]) for row in scores[task].values()),
                data_digest=digest_lines(
                    (f"{language}/{part}", [corpora[part][language].digest])
                    for language in scores[task]
                    for part in used
                ),
                columns=COLUMNS,
                scores=scores[task],
                skipped=absent + _merged(skipped, used),
                outcomes=outcomes[task],
            )
        )
    return records


def extract_test_pairs(
    encoder: SupportsEncode,
    data_folder: Path | str,
    output_folder: Path | str,
    *,
    languages: Sequence[str] | None = None,
    margin: str = "ratio",
    k: int = 4,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> dict[str, Path]:
    """Write the pairs found in the test sentences, for those who have the gold pairs to score.

    The threshold is chosen on the training gold and applied unchanged.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see `ems.eval.bucc_files`.
        output_folder: gets `<p>.test.tsv` with lines `foreign id<TAB>English id`, best first; made when needed.
        languages: codes in any spelling; None: all four.
        margin: "ratio", "distance" or "absolute".
        k: neighbours for the margin.
        strict: a missing file is an error; otherwise its language is left out, with a warning.
        registry: knows the languages' spellings.

    Returns:
        The files written, by language.

    Raises:
        InputError: no files, none of the languages, an unknown language, a malformed line, or a missing file if strict.
        ValueError: an unknown margin or k, or an encoder that returns other than one finite vector a sentence.
    """
    check_margin(margin, k)
    folder = _require_folder(data_folder)
    corpora: dict[str, tuple[MiningCorpus, MiningCorpus]] = {}
    _, chosen, skipped = _choose_languages(languages, registry)
    for language in chosen:
        missing = missing_files(folder, language, "training") + missing_files(folder, language, "test", gold=False)
        if missing and strict:
            raise InputError(f"{folder}: {missing[0]} is missing, here and in {language}-{ENGLISH}/")
        if missing:
            skipped.append({"language": language, "reason": f"{' and '.join(missing)} missing"})
            logger.warning("%s: %s left out: %s", folder, language, skipped[-1]["reason"])
            continue
        corpora[language] = read_split(folder, language, "training"), read_split(folder, language, "test", gold=False)
    check_any_left(folder, corpora, skipped)
    output = Path(output_folder)
    output.mkdir(parents=True, exist_ok=True)
    written = {}
    for language, (training, test) in corpora.items():
        threshold = scan_threshold(mine_corpus(encoder, training, margin=margin, k=k), training.gold).threshold
        written[language] = output / f"{language}-{ENGLISH}.test.tsv"
        with atomic_write(written[language], "w") as file:
            for score, source_id, target_id in mine_corpus(encoder, test, margin=margin, k=k):
                if score >= threshold:
                    file.write(f"{source_id}\t{target_id}\n")
    return written
