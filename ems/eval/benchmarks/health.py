"""The health of an embedding space on FLORES sentences: alignment, uniformity, hubs, a language probe, and tokens."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ems.errors import InputError
from ems.eval.benchmarks.flores import ENGLISH, file_codes, read_texts, require_folder
from ems.eval.encoders import SupportsEncode, embed
from ems.eval.health import alignment, language_identity, occurrences, uniformity
from ems.eval.parallel_text import check_any_left, digest_lines
from ems.eval.record import Record, make_record
from ems.languages import LANGUAGES, LanguageRegistry
from ems.mining import Floats

logger = logging.getLogger(__name__)

K = 10
PROBE_ROWS = 400  # of each language: half of them train the probe
COLUMNS = ("alignment", "uniformity", "hubs", "language identity")


def _tokens_over_english(encoder: SupportsEncode, texts: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """Return {language: {"tokens": ratio}}, empty rows for an encoder that does not tell how it cuts sentences up."""
    count = getattr(encoder, "count_tokens", None)
    if count is None:
        return {language: {} for language in texts}
    totals = {language: sum(count(list(lines))) for language, lines in texts.items()}
    return {language: {"tokens": total / max(1, totals[ENGLISH])} for language, total in totals.items()}


def evaluate_health(
    encoder: SupportsEncode,
    data_folder: Path | str,
    *,
    split: str = "devtest",
    languages: Sequence[str] | None = None,
    strict: bool = False,
    registry: LanguageRegistry = LANGUAGES,
) -> list[Record]:
    """Measure an encoder's embedding space; arguments and errors are those of `evaluate_flores`.

    Returns:
        One record with, for each language: `alignment` with English; `uniformity`; `hubs`, the share of English
        sentences that are among the 10 nearest of none of this language's; and `language identity`, the share of its
        sentences whose language a linear probe recognises; and, of an encoder that has `count_tokens`, `tokens`, those
        of all its sentences over those of the English ones. Lower is better in all of them.
    """
    folder = require_folder(Path(data_folder), split)
    language_set, codes = file_codes(languages, registry)
    files = {ENGLISH: registry[ENGLISH].flores, **codes}
    texts, skipped = read_texts(folder, split, files, strict)
    check_any_left(folder, texts.keys() - {ENGLISH}, skipped)
    if len(texts[ENGLISH]) < 2:
        raise InputError(f"{folder}: needs at least two sentences a language to judge an embedding space by")
    vectors: dict[str, Floats] = {}
    for language, lines in texts.items():
        dimension = None if not vectors else vectors[ENGLISH].shape[1]
        vectors[language] = embed(encoder, lines, files[language], dimension)
    recognised = language_identity({language: rows[:PROBE_ROWS] for language, rows in vectors.items()})
    english = vectors[ENGLISH]
    tokens = _tokens_over_english(encoder, texts)
    scores = {
        language: {
            "alignment": alignment(rows, english),
            "uniformity": uniformity(rows),
            "hubs": float((occurrences(rows, english, k=K) == 0).mean()),
            "language identity": recognised[language],
            **tokens[language],
        }
        for language, rows in vectors.items()
        if language != ENGLISH
    }
    return [
        make_record(
            "health",
            "health of the embedding space, all values times 100: squared distance of translations (alignment), log of "
            f"the mean of exp(-2 d²) (uniformity), English sentences among the {K} nearest of none (hubs), sentences "
            f"whose language a linear probe on {PROBE_ROWS // 2} sentences a language recognises, tokens over those of "
            "English",
            split=split,
            direction="x->en",
            language_set=language_set,
            n=len(english),
            of=len(codes),
            data_digest=digest_lines((language, lines) for language, lines in texts.items()),
            columns=(*COLUMNS, *tokens[ENGLISH]),
            scores=scores,
            k=K,
            higher_is_better=False,
            skipped=skipped,
        )
    ]
