"""The named sets that a run is scored on: found before the first step, scored during and after training."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ems.config import ScoringConfig, ValidationConfig
from ems.data import grammar
from ems.errors import InputError
from ems.eval.benchmarks import flores, tatoeba
from ems.eval.retrieval import accuracy
from ems.inference import SentenceEncoder
from ems.languages import LanguageRegistry
from ems.mining import UnitRows, mutual_neighbours, unit_rows

logger = logging.getLogger(__name__)

Stage = Literal["validation", "evaluation"]


@dataclass(frozen=True)
class SetScore:
    """Retrieval accuracy of one set.

    Attributes:
        by_pair: accuracy of each language pair, the mean of both directions, as a fraction.
        candidates: sentences that each query is ranked against; the least of all pairs.
        by_direction: accuracy of each direction, `en->de`, where both were computed.
    """

    by_pair: dict[str, float]
    candidates: int
    by_direction: dict[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Plain mean over language pairs."""
        return float(np.mean(list(self.by_pair.values())))


ScoredSet = Callable[[SentenceEncoder], SetScore]


def score_pairs(pairs: Mapping[tuple[str, str], tuple[UnitRows, UnitRows]]) -> SetScore:
    """Rank row-aligned embeddings of each language pair in both directions, from one similarity matrix."""
    by_pair, by_direction = {}, {}
    for (a, b), (left, right) in pairs.items():
        forward, backward = mutual_neighbours(left, right, 1)
        there, back = accuracy(forward.nearest()), accuracy(backward.nearest())
        by_direction[f"{a}->{b}"], by_direction[f"{b}->{a}"] = there, back
        by_pair[f"{a}-{b}"] = (there + back) / 2
    return SetScore(by_pair, min(len(left) for left, _ in pairs.values()), by_direction)


def _vectors(encoder: SentenceEncoder, texts: Sequence[str]) -> UnitRows:
    # Not `encode`: its warnings about cut sentences would come again for every set at every validation.
    return unit_rows(encoder.encode_tokens(*encoder.tokenizer.encode_flat(texts)).numpy())


def score_parallel(encoder: SentenceEncoder, sentences: Mapping[str, Sequence[str]]) -> SetScore:
    """Rank every language against every other: row i of one is the translation of row i of all."""
    vectors = {lang: _vectors(encoder, texts) for lang, texts in sentences.items()}
    return score_pairs({(a, b): (vectors[a], vectors[b]) for a, b in itertools.combinations(vectors, 2)})


def _grammar_set(stage: Stage, languages: Sequence[str]) -> ScoredSet:
    split = "validation" if stage == "validation" else "test"
    sentences = {lang: texts for lang, texts in grammar.held_out(split=split).items() if lang in languages}
    if len(sentences) < 2:
        raise InputError(f"set 'embedded:grammar' has no two of this run's languages ({', '.join(languages)})")
    return lambda encoder: score_parallel(encoder, sentences)


def _flores_set(data_folder: Path, split: str, registry: LanguageRegistry, languages: Sequence[str]) -> ScoredSet:
    folder = flores.find_folder(data_folder, split)
    if folder is None:
        raise InputError(f"no FLORES files (such as flores/{split}/deu_Latn.{split}) below {data_folder}")
    codes = {"en": registry["en"].flores} | {lang: registry[lang].flores for lang in languages}
    texts, skipped = flores.read_texts(folder, split, codes, strict=False)
    for entry in skipped:
        logger.warning("FLORES %s: %s is left out, %s", split, entry["language"], entry["reason"])
    sentences = {lang: texts[lang] for lang in languages if lang in texts}
    if len(sentences) < 2:
        raise InputError(f"FLORES {split} in {folder} has no two of this run's languages ({', '.join(languages)})")
    return lambda encoder: score_parallel(encoder, sentences)


def _tatoeba_set(data_folder: Path, registry: LanguageRegistry, languages: Sequence[str]) -> ScoredSet:
    folder = tatoeba.find_folder(data_folder)
    if folder is None:
        raise InputError(f"no Tatoeba files (such as tatoeba/tatoeba.deu-eng.deu) below {data_folder}")
    codes = {lang: registry[lang].tatoeba for lang in languages if lang != "en"}
    read = {lang: tatoeba.read_language(folder, code) for lang, code in codes.items() if code is not None}
    texts = {lang: aligned for lang, aligned in read.items() if aligned is not None}
    for lang in codes.keys() - texts.keys():
        logger.warning("Tatoeba: %s is left out, it has no files in %s", lang, folder)
    if not texts:
        raise InputError(f"Tatoeba in {folder} has none of this run's languages ({', '.join(languages)})")
    return lambda encoder: score_pairs(
        {("en", lang): (_vectors(encoder, t.english), _vectors(encoder, t.foreign)) for lang, t in texts.items()}
    )


def _is_there(name: str, data_folder: Path) -> bool:
    if name == "tatoeba":
        return tatoeba.find_folder(data_folder) is not None
    if name.startswith("flores"):
        return flores.find_folder(data_folder, "dev" if name == "flores-dev" else "devtest") is not None
    return True


def find_sets(config: ScoringConfig) -> None:
    """Look for the files of every set: the first thing a run does, before it prepares text for hours.

    Raises:
        InputError: a set's files are not there.
    """
    for name in config.sets:
        if not _is_there(name, Path(config.folder)):
            chooses = isinstance(config, ValidationConfig) and config.metric == name
            raise InputError(
                f"no files of set {name!r} below {config.folder}; see docs/data.md, or leave it out of the sets"
                + (", with validation.metric: held_out" if chooses else "")
            )


def open_sets(
    config: ScoringConfig, stage: Stage, registry: LanguageRegistry, languages: Sequence[str]
) -> dict[str, ScoredSet]:
    """Find the sets of a config section, so that a missing one is known before anything is computed.

    Args:
        config: names the sets and the folder with the test sets.
        stage: the embedded grammar has one half for validation and one for evaluation.
        registry: file codes of the languages.
        languages: those of the run; a set's other languages are not scored.

    Raises:
        InputError: a set's files are not there, or hold too few of the languages.
    """
    folder = Path(config.folder)
    openers: dict[str, Callable[[], ScoredSet]] = {
        "embedded:grammar": lambda: _grammar_set(stage, languages),
        "tatoeba": lambda: _tatoeba_set(folder, registry, languages),
        "flores": lambda: _flores_set(folder, "devtest", registry, languages),
        "flores-dev": lambda: _flores_set(folder, "dev", registry, languages),
    }
    return {name: openers[name]() for name in config.sets}
