"""Results as an evaluation leaves them, small and made up, for what reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ems.eval.record import NUM_BINS, Record, both_outcomes, both_ways, make_record

HOSTILE = "</script><b onload=alert(1)>&amp;'\"\u202eevil\x00 | \ud800"
ARABIC = "السلام عليكم (hello) 123"


def flores_record(chances: dict[str, float], *, rows: int = 200, seed: int = 0, **more: Any) -> Record:
    """A record like that of FLORES, in which each language finds its share of the same sentences."""
    random = np.random.default_rng(seed)
    hard = random.random(rows)
    scores, outcomes = {}, {}
    for language, chance in chances.items():
        there, back = (chance + 0.3 * (random.random(rows) - 0.5) > hard for _ in range(2))
        scores[language], outcomes[language] = both_ways(there, back), both_outcomes(there, back)
    counts = np.bincount(random.integers(20, 45, 100), minlength=NUM_BINS).tolist()
    confusions = [
        {
            "language": language,
            "row": row,
            "query": f"query {language} {row}",
            "expected": "expected",
            "found": "found",
            "cosine_expected": 0.1 * row,
            "cosine_found": 0.9,
        }
        for language in chances
        for row in range(2)
    ]
    settings: dict[str, Any] = {
        "task": "flores", "protocol": "P@1", "split": "devtest", "direction": "both", "language_set": "chosen", "k": 1,
        "n": rows, "data_digest": "0123456789abcdef", "columns": ["x->en", "en->x", "mean"], "scores": scores,
        "outcomes": outcomes, "parallel_rows": True,
        "cosines": {"edges": [-1.0, 1.0], "translations": counts, "others": counts[::-1]}, "confusions": confusions,
    }  # fmt: skip
    return make_record(**(settings | more))


def bare_record(**more: Any) -> Record:
    """A record of an unknown task, with nothing in it that can be left out."""
    settings: dict[str, Any] = {
        "task": "t", "protocol": "p", "split": "s", "direction": "d", "language_set": "a|b", "n": 1, "data_digest": "0",
        "columns": ["x|y"], "scores": {"de": {"x|y": 0.12345}}, "higher_is_better": False,
    }  # fmt: skip
    record = make_record(**(settings | more))
    del record["outcomes"]
    return record


def results_of(*records: list[Record]) -> dict[str, Any]:
    """Results of one encoder for each list of records."""
    return {
        "format": 1,
        "ems_version": "0.1.0",
        "encoders": [
            {"name": f"encoder {number}", "fingerprint": f"{number:016x}", "records": list(these)}
            for number, these in enumerate(records, 1)
        ],
    }
