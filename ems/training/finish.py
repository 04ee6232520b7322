"""The end of a run: score the best model once, and write scores.json, the model card and the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ems.config import Config
from ems.data.holdout import HoldOut
from ems.data.preparation import PreparedCorpus
from ems.files import atomic_write, write_json
from ems.inference import load
from ems.model.folder import rewrite_card
from ems.training.report import write_report
from ems.training.scoring import ScoredSet, SetScore
from ems.training.validation import score_held_out

logger = logging.getLogger(__name__)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _summary(score: SetScore, trained: set[frozenset[str]]) -> dict[str, Any]:
    """Average trained and unseen language pairs apart."""
    seen = {pair: frozenset(pair.split("-")) in trained for pair in score.by_pair}
    return {
        "retrieval_accuracy": score.by_pair,
        "mean_trained_pairs": _mean([value for pair, value in score.by_pair.items() if seen[pair]]),
        "mean_unseen_pairs": _mean([value for pair, value in score.by_pair.items() if not seen[pair]]),
        "mean": score.mean,
        "candidates": score.candidates,
        "by_direction": score.by_direction,
    }


def _card_scores(summaries: Mapping[str, dict[str, Any]], trained: set[frozenset[str]]) -> dict[str, dict[str, float]]:
    """Choose what the model card shows of each set: its means, and every trained pair."""
    shown = {}
    for name, summary in summaries.items():
        means = {"mean, trained language pairs": summary["mean_trained_pairs"]}
        means["mean, language pairs never trained on"] = summary["mean_unseen_pairs"]
        kept = {label: value for label, value in means.items() if value is not None}
        by_pair = summary["retrieval_accuracy"]
        kept |= {pair: value for pair, value in by_pair.items() if frozenset(pair.split("-")) in trained}
        shown[f"{name}: retrieval accuracy, mean of both directions, {summary['candidates']} candidates"] = kept
    return shown


def finish(
    config: Config, corpus: PreparedCorpus, holdout: HoldOut, sets: Mapping[str, ScoredSet], folder: Path
) -> dict[str, Any]:
    """Score the best model on every evaluation set, or on the held-out pairs where none is named.

    Args:
        config: of the run.
        corpus: its text, for the languages and the held-out pairs.
        holdout: what was held out.
        sets: the opened evaluation sets.
        folder: run folder; scores.json is written last, which marks the run as finished.

    Returns:
        The content of scores.json: the first set's scores on top, all sets below `sets`.
    """
    encoder = load(folder / "model", device=config.run.device if config.run.device != "auto" else None)
    trained = {frozenset(pair) for pair in corpus.shards.language_pairs}
    scores = {name: score(encoder) for name, score in sets.items()}
    if not scores:
        chose = " (also chose the best step)" if config.validation.metric == "held_out" else ""
        scores[f"held_out{chose}"] = score_held_out(encoder, corpus, holdout)
    summaries = {name: _summary(score, trained) for name, score in scores.items()}
    first = next(iter(summaries))
    content = {**summaries[first], "set": first, "sets": summaries}
    rewrite_card(folder / "model", _card_scores(summaries, trained))
    with atomic_write(folder / "report.md", "w") as file:
        file.write(write_report(config, corpus, holdout, summaries, folder))
    write_json(folder / "scores.json", content)
    for name, summary in summaries.items():
        logger.info("%s: retrieval accuracy %.1f %% of %d", name, 100 * summary["mean"], summary["candidates"])
    logger.info("%s has the curves and all scores", folder / "report.md")
    return content
