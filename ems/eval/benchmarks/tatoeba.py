"""Tatoeba: does each of up to 1000 short sentences find its English translation, and the other way round?

112 languages, each with an English side of its own, so that scores of two languages are not comparable and averages are
plain means over languages. Released by Artetxe and Schwenk, "Massively Multilingual Sentence Embeddings for Zero-Shot
Cross-Lingual Transfer and Beyond", TACL 2019; CC BY 2.0 FR.

Files: `tatoeba.<xxx>-eng.<xxx>` and `tatoeba.<xxx>-eng.eng`, in the folder itself, `tatoeba/` or `tatoeba/v1/`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ems.errors import InputError, nearest
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.line_files import looks_swapped
from ems.eval.parallel_text import check_any_left, check_same_length, digest_lines, read_lines
from ems.eval.record import Outcome, Record, RetrievalEvidence, both_outcomes, both_ways, make_record, mean_over
from ems.eval.retrieval import bitext_metrics, check_margin, margin_winners
from ems.languages import LANGUAGES, LanguageRegistry
from ems.mining import mutual_neighbours, unit_rows

logger = logging.getLogger(__name__)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FILE_CODES = _words(
    "afr amh ang ara arq arz ast awa aze bel ben ber bos bre bul cat cbk ceb ces cha cmn cor csb cym dan deu dsb dtp "
    "ell epo est eus fao fin fra fry gla gle glg gsw heb hin hrv hsb hun hye ido ile ina ind isl ita jav jpn kab kat "
    "kaz khm kor kur kzj lat lfn lit lvs mal mar max mhr mkd mon nds nld nno nob nov oci orv pam pes pms pol por ron "
    "rus slk slv spa sqi srp swe swg swh tam tat tel tgl tha tuk tur tzl uig ukr urd uzb vie war wuu xho yid yue "
    "zsm"
)
XTREME36 = _words(
    "afr ara bul ben deu ell spa est eus pes fin fra heb hin hun ind ita jpn jav kat kaz kor mal mar nld por rus swh "
    "tam tel tha tgl tur urd vie cmn"
)
EMS58 = tuple(code for code in (LANGUAGES[language].tatoeba for language in LANGUAGES) if code is not None)
LANGUAGE_SETS: Mapping[str, tuple[str, ...]] = {"ems58": EMS58, "xtreme36": XTREME36, "laser112": FILE_CODES}

BOTH_WAYS = ("x->en", "en->x", "mean")
# What the published tables of a set hold: XTREME asks in English only; LASER prints 1 - accuracy, both ways and their
# mean; MTEB's table of all 112 is the F1 column.
PUBLISHED_COLUMNS: Mapping[str, tuple[str, ...]] = {"xtreme36": ("en->x",), "laser112": (*BOTH_WAYS, "mteb_f1")}


def find_folder(data_folder: Path) -> Path | None:
    """Return the folder below `data_folder` that holds Tatoeba files, or None."""
    for folder in (data_folder, data_folder / "tatoeba", data_folder / "tatoeba" / "v1"):
        if next(folder.glob("tatoeba.*-eng.eng"), None) is not None:
            return folder
    return None


def _file_codes(languages: str | Sequence[str] | None, registry: LanguageRegistry) -> tuple[str, list[str], list[str]]:
    """Return the name of the language set, its file codes, and languages that are not in Tatoeba."""
    if languages is None:
        languages = "ems58"
    if isinstance(languages, str):
        if languages not in LANGUAGE_SETS:
            near = nearest(languages, LANGUAGE_SETS)
            raise InputError(f"unknown Tatoeba language set '{languages}'; did you mean '{near}'?")
        return languages, list(LANGUAGE_SETS[languages]), []
    codes: list[str] = []
    absent: list[str] = []
    for language in languages:
        if language in FILE_CODES:  # before the registry, to which "arz" may be Arabic
            codes.append(language)
            continue
        known = registry[language]
        if known.tatoeba is not None:
            codes.append(known.tatoeba)
        elif known.code != "en":  # English is the other side of every file
            absent.append(known.code)
    codes = list(dict.fromkeys(codes))
    named = [name for name, members in LANGUAGE_SETS.items() if set(members) == set(codes)]
    return named[0] if named else "chosen", codes, absent


@dataclass(frozen=True)
class AlignedSet:
    """One language's two files.

    Attributes:
        code: file code, such as "deu".
        foreign: N sentences.
        english: their translations.
    """

    code: str
    foreign: list[str]
    english: list[str]


def read_language(folder: Path, code: str) -> AlignedSet | None:
    """Read the two files of a language; None where one is missing.

    Raises:
        InputError: a file is unusable, or the two differ in length.
    """
    foreign_file, english_file = folder / f"tatoeba.{code}-eng.{code}", folder / f"tatoeba.{code}-eng.eng"
    if not (foreign_file.is_file() and english_file.is_file()):
        return None
    foreign, english = read_lines(foreign_file), read_lines(english_file)
    check_same_length(foreign_file, foreign, english_file, english)
    return AlignedSet(code, foreign, english)


def _check_not_swapped(folder: Path, language: str | None, aligned_set: AlignedSet, registry: LanguageRegistry) -> None:
    if language and looks_swapped(aligned_set.foreign, aligned_set.english, (language, "en"), registry):
        file = folder / f"tatoeba.{aligned_set.code}-eng.{aligned_set.code}"
        raise InputError(f"{file} looks like English and the .eng beside it like '{language}'; swap their endings")


def _score(
    encoder: SupportsEncode,
    language: str,
    aligned_set: AlignedSet,
    margin: str | None,
    k: int,
    evidence: RetrievalEvidence,
) -> tuple[dict[str, float], dict[str, Outcome]]:
    """Return the scores of one language and its outcomes by row; adds to the evidence."""
    foreign = unit_rows(embed(encoder, aligned_set.foreign, aligned_set.code))
    dimension = foreign.rows.shape[1]
    english = unit_rows(embed(encoder, aligned_set.english, f"the English side of {aligned_set.code}", dimension))
    forward, backward = mutual_neighbours(foreign, english, k)
    if margin is None:
        found, found_back = forward.nearest(), backward.nearest()
    else:
        found, found_back = margin_winners(forward, backward, margin), margin_winners(backward, forward, margin)
    evidence.add(language, found, foreign, english, aligned_set.foreign, aligned_set.english)
    every = np.arange(len(found))
    scores = {"n": len(found), **both_ways(found == every, found_back == every)}
    if margin is None:
        scores["mteb_f1"] = bitext_metrics(every, found)["f1"]
    return scores, both_outcomes(found == every, found_back == every)


def evaluate_tatoeba(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    languages: str | Sequence[str] | None = None,
    margin: str | None = None,
    k: int = 4,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> Record:
    """Score an encoder on Tatoeba, both ways.

    Args:
        encoder: has `encode(list of N str) -> (N, D) array`.
        data_folder: where the files lie; see the top of this module.
        languages: "ems58" (default), "xtreme36", "laser112", or codes in any spelling; file codes of languages that
            the registry does not know are taken too.
        margin: None for the nearest neighbour by cosine, as every published table; else "ratio", "distance" or
            "absolute".
        k: neighbours for the margin; without one it has no say.
        strict: a missing file is an error; otherwise it is listed under "skipped".
        registry: knows the languages' spellings and file codes.

    Returns:
        A record as `ems.eval.record` describes it. Scores are accuracies, and MTEB's F1 (foreign queries, English
        candidates). Languages are keyed by their code, or by file code where the registry has none.

    Raises:
        InputError: no files, none of the languages, an unknown language, unequal lengths, text that is not UTF-8, or,
            if strict, a missing file.
        ValueError: an unknown margin or k, or an encoder that returns other than one finite vector a sentence.
    """
    if margin is not None:
        check_margin(margin, k)
    folder = find_folder(Path(data_folder))
    if folder is None:
        raise InputError(f"{data_folder}: no Tatoeba files here, in tatoeba/ or in tatoeba/v1/ (tatoeba.xxx-eng.eng)")
    language_set, codes, absent = _file_codes(languages, registry)
    skipped = [{"language": code, "reason": "not in Tatoeba"} for code in absent]
    names = {registry[code].tatoeba: code for code in registry}
    aligned_sets: dict[str, AlignedSet] = {}
    for code in codes:  # all files first, so that a bad one is found before time goes into encoding
        aligned_set = read_language(folder, code)
        if aligned_set is not None:
            _check_not_swapped(folder, names.get(code), aligned_set, registry)
            aligned_sets[names.get(code, code)] = aligned_set
            continue
        reason = f"tatoeba.{code}-eng.{code} or its .eng is missing"
        if strict:
            raise InputError(f"{folder}: {reason}")
        skipped.append({"language": names.get(code, code), "reason": reason})
    check_any_left(folder, aligned_sets, skipped)
    scores: dict[str, dict[str, float]] = {}
    outcomes: dict[str, dict[str, Outcome]] = {}
    evidence = RetrievalEvidence()
    k = 1 if margin is None else k
    for language, aligned_set in aligned_sets.items():
        scores[language], outcomes[language] = _score(encoder, language, aligned_set, margin, k, evidence)
        logger.info("tatoeba %s: %.4f", language, scores[language]["mean"])
    columns = BOTH_WAYS if margin is not None else (*BOTH_WAYS, "mteb_f1")
    means: dict[str, dict[str, float]] = {}
    members_found: dict[str, list[str]] = {}
    for name, members in {language_set: tuple(codes), **LANGUAGE_SETS}.items():
        found = [names.get(code, code) for code in members if names.get(code, code) in scores]
        # A set other than the one asked for is only named when it is complete.
        if found and (name == language_set or len(found) == len(members)):
            shown = columns if name == language_set else PUBLISHED_COLUMNS.get(name, columns)
            members_found[name] = found
            means[name] = mean_over(found, scores, [column for column in shown if column in columns], len(members))
    neighbour = "nearest neighbour by cosine" if margin is None else f"best {margin} margin among k = {k}"
    return make_record(
        "tatoeba",
        f"accuracy, {neighbour}; plain mean over languages"
        + ("; mteb_f1: weighted F1, foreign queries, English candidates" if margin is None else ""),
        split="test",
        direction="both",
        language_set=language_set,
        margin=margin,
        k=k,
        n=sum(len(aligned_set.foreign) for aligned_set in aligned_sets.values()),
        data_digest=digest_lines(
            (f"{aligned_set.code}/{side}", lines)
            for aligned_set in aligned_sets.values()
            for side, lines in ((aligned_set.code, aligned_set.foreign), ("eng", aligned_set.english))
        ),
        columns=columns,
        scores=scores,
        means=means,
        skipped=skipped,
        outcomes=outcomes,
        evidence=evidence,
        members=members_found,
    )
