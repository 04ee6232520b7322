"""report.md of a run: what was trained on what, the curves, and the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ems.config import Config
from ems.data.holdout import HoldOut
from ems.data.preparation import PreparedCorpus
from ems.training.figures import blank_figure, save_figure
from ems.training.tracking import read_metrics


def _smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Average over a trailing window, shorter at the start."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    stops = np.arange(1, len(values) + 1)
    starts = np.maximum(0, stops - window)
    return np.asarray((sums[stops] - sums[starts]) / (stops - starts))


def _column(records: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    chosen = [record for record in records if record.get(key) is not None]  # null: a step that was left out
    return [record["step"] for record in chosen], [record[key] for record in chosen]


def draw_curves(records: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw losses and validation scores over steps as a PNG.

    Args:
        records: lines of metrics.jsonl.
        path: file to write.

    Returns:
        False, with a line in the log, where matplotlib is not installed.
    """
    figure = blank_figure(10, 3.6)
    if figure is None:
        return False
    losses, scores = figure.subplots(1, 2)
    for key, label in (
        ("train/loss", "loss"),
        ("train/loss_xtr", "reconstruction (XTR)"),
        ("train/loss_contrastive", "contrastive"),
        ("train/loss_distillation", "distance to the teacher"),
    ):
        steps, values = _column(records, key)
        if steps:
            losses.plot(steps, _smooth(values, max(1, len(values) // 50)), label=label)
    losses.set(xlabel="step", ylabel="nats (running mean)", title="training loss")
    losses.legend()
    for key in dict.fromkeys(
        k for record in records for k in record if k.count("/") == 1 and k.startswith("validation/")
    ):
        steps, values = _column(records, key)
        scores.plot(steps, 100 * np.asarray(values), marker=".", label=key.removeprefix("validation/"))
    scores.set(xlabel="step", ylabel="%", title="validation: retrieval accuracy")
    scores.legend()
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
    save_figure(figure, path)
    return True


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _matrix(summary: Mapping[str, Any]) -> list[str]:
    """Lay the directions out as a table: queries in rows, candidates in columns."""
    directions = {tuple(name.split("->")): value for name, value in summary["by_direction"].items()}
    queries = list(dict.fromkeys(a for a, _ in directions))
    columns = list(dict.fromkeys(b for _, b in directions))
    lines = ["| query \\ candidates | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for query in queries:
        cells = [_percent(directions.get((query, column))) if query != column else "" for column in columns]
        lines.append(f"| {query} | " + " | ".join(cells) + " |")
    return lines


def _list(summary: Mapping[str, Any]) -> list[str]:
    lines = ["| language pair | → | ← | mean |", "| --- | ---: | ---: | ---: |"]
    for pair, value in summary["retrieval_accuracy"].items():
        a, b = pair.split("-")
        there, back = (summary["by_direction"].get(f"{x}->{y}") for x, y in ((a, b), (b, a)))
        lines.append(f"| {pair} | {_percent(there)} | {_percent(back)} | {_percent(value)} |")
    return lines


def _scores(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, summary in summaries.items():
        languages = {lang for pair in summary["retrieval_accuracy"] for lang in pair.split("-")}
        complete = len(summary["retrieval_accuracy"]) == len(languages) * (len(languages) - 1) / 2
        table = _matrix(summary) if complete and 2 < len(languages) <= 20 else _list(summary)
        lines += [
            f"### {name}",
            "",
            f"Retrieval accuracy in percent (cosine, nearest neighbour), {summary['candidates']} candidates. "
            f"Mean of language pairs trained on: {_percent(summary['mean_trained_pairs'])}; "
            f"of language pairs never trained on: {_percent(summary['mean_unseen_pairs'])}.",
            "",
            *table,
            "",
        ]
    return lines


def write_report(
    config: Config,
    corpus: PreparedCorpus,
    holdout: HoldOut,
    summaries: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> str:
    """Compose report.md and draw curves.png beside it.

    Args:
        config: of the run.
        corpus: its text.
        holdout: what of it was held out.
        summaries: scores by set, as in scores.json.
        folder: run folder, with metrics.jsonl.

    Returns:
        The Markdown.
    """
    records = read_metrics(folder / "metrics.jsonl")
    last = next(record for record in reversed(records) if "train/loss" in record)
    counts = ", ".join(
        f"{a}-{b} {count:,}" for (a, b), count in zip(corpus.shards.language_pairs, holdout.counts, strict=True)
    )
    held_out, rejected = sum(map(len, holdout.validation)), sum(corpus.shards.manifest.rejected.values())
    drawn = draw_curves(records, folder / "curves.png")
    lines = [
        f"# Run {folder.name}",
        "",
        f"- Steps: {last['step']:,} of {config.training.max_steps:,}; pairs seen: {last['train/pairs_seen']:,}; "
        f"tokens seen: {last['train/tokens_seen']:,}",
        f"- Training time: {last['time/train_seconds']:,.0f} s, "
        f"{last['train/pairs_seen'] / last['time/train_seconds']:,.0f} pairs/s",
        f"- Sentence pairs trained on: {counts}; held out: {held_out:,}; corpus lines rejected: {rejected:,}",
        "- The whole configuration is in `config.yaml`, every step in `metrics.jsonl`, the model in `model/`",
        "",
        *(["![curves](curves.png)", ""] if drawn else []),
        "## Scores",
        "",
        *_scores(summaries),
    ]
    return "\n".join(lines).rstrip() + "\n"
