"""What finished runs say: accuracy by language group, curves, and what a step costs."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from ems.benchmark.flops import step_flops
from ems.config import Config
from ems.data.holdout import hold_out
from ems.data.loader import chooses_among_the_step, drawn_steps, vocabulary_of
from ems.data.preparation import PreparedCorpus
from ems.data.stream import PairStream
from ems.errors import InputError
from ems.experiments.variants import Run
from ems.training.tracking import read_metrics

logger = logging.getLogger(__name__)

_FIRST_STEPS = 10  # slower than the others: memory and threads are new


@dataclass(frozen=True)
class Groups:
    """Languages put together for a table: by script, and by how many pairs with the hub they have.

    Attributes:
        hub: the language that is in most language pairs.
        members: languages other than the hub by the name of their group.
    """

    hub: str
    members: Mapping[str, tuple[str, ...]]


def group_languages(corpus: PreparedCorpus) -> Groups:
    """Group the languages of a corpus: Latin or another script, more or fewer pairs than the median."""
    codes = [pair for total in corpus.shards.manifest.language_pairs for pair in total.languages]
    hub = max(corpus.languages, key=codes.count)
    pairs = dict.fromkeys((code for code in corpus.languages if code != hub), 0)
    for total in corpus.shards.manifest.language_pairs:
        if hub in total.languages:
            pairs[next(code for code in total.languages if code != hub)] += total.pairs
    median = float(np.median(list(pairs.values())))
    latin = [code for code in pairs if corpus.registry[code].script == "Latn"]
    members = {
        "Latin script": tuple(latin),
        "other script": tuple(code for code in pairs if code not in latin),
        "more data": tuple(code for code in pairs if pairs[code] >= median),
        "less data": tuple(code for code in pairs if pairs[code] < median),
    }
    return Groups(hub, {name: codes for name, codes in members.items() if codes})


@dataclass(frozen=True)
class Outcome:
    """What one finished run reached.

    Attributes:
        trained: mean accuracy of the language pairs with the hub, both directions, a fraction.
        unseen: mean accuracy of the other pairs; None if there is none.
        by_language: accuracy of each language with the hub.
        step_seconds: time of a training step, median over windows of `batching.length_window` steps.
        curve: (pairs seen, seconds of training, `trained`) at each validation.
    """

    trained: float
    unseen: float | None
    by_language: dict[str, float]
    step_seconds: float
    curve: tuple[tuple[int, float, float], ...]

    def group(self, codes: Sequence[str]) -> float:
        """Mean accuracy of some languages with the hub."""
        return float(np.mean([self.by_language[code] for code in codes]))


def _partner(pair: str, hub: str) -> str | None:
    codes = pair.split("-")
    return next((code for code in codes if code != hub), None) if hub in codes else None


def _curve(
    records: Sequence[Mapping[str, Any]], metric: str, trained: Sequence[str]
) -> tuple[tuple[int, float, float], ...]:
    points, pairs, seconds = [], 0, 0.0
    for record in records:
        pairs, seconds = record.get("train/pairs_seen", pairs), record.get("time/train_seconds", seconds)
        if f"validation/{metric}" in record:
            scores = [record[f"validation/{metric}/{pair}"] for pair in trained]
            points.append((pairs, seconds, float(np.mean(scores))))
    return tuple(points)


def _step_seconds(rates: Sequence[float], pairs: int, window: int) -> float:
    """Return the time of a step from the pairs per second of all: of the mean of a window, the median over windows."""
    seconds = pairs / np.array(rates)
    skipped = ceil(_FIRST_STEPS / window) * window
    seconds = seconds[skipped:] if len(seconds) >= skipped + window else seconds
    window = min(window, len(seconds))
    whole = seconds[: len(seconds) // window * window].reshape(-1, window)
    return float(np.median(whole.mean(axis=1)))


def read_outcome(run: Run, groups: Groups) -> Outcome:
    """Read the folder of a finished run; accuracy is that of `validation.metric` after the last step.

    Raises:
        InputError: the run is not finished, its records are damaged, or no language pair with the hub was scored.
    """
    try:
        return _outcome(run, groups)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        if isinstance(error, InputError):
            raise
        path = run.folder / "metrics.jsonl"
        raise InputError(f"{path} is damaged ({error!r:.100}); delete {run.folder}, and it is trained again") from None


def _outcome(run: Run, groups: Groups) -> Outcome:
    metric = run.variant.config.validation.metric
    records = read_metrics(run.folder / "metrics.jsonl")
    scored = [record for record in records if f"validation/{metric}" in record]
    if not scored or scored[-1]["step"] != run.max_steps:
        raise InputError(f"{run.folder} holds no scores of step {run.max_steps}; delete it, and it is trained again")
    prefix = f"validation/{metric}/"
    by_pair = {key.removeprefix(prefix): value for key, value in scored[-1].items() if key.startswith(prefix)}
    by_language = {code: value for pair, value in by_pair.items() if (code := _partner(pair, groups.hub))}
    if not by_language:
        raise InputError(f"{run.folder}: validation.metric {metric!r} has no language pair with {groups.hub!r}")
    unseen = [value for pair, value in by_pair.items() if _partner(pair, groups.hub) is None]
    batching = run.variant.config.batching
    rates = [record["time/pairs_per_second"] for record in records if "time/pairs_per_second" in record]
    if len(rates) != run.max_steps:
        raise ValueError(f"{len(rates)} steps of {run.max_steps}")
    return Outcome(
        trained=float(np.mean(list(by_language.values()))),
        unseen=float(np.mean(unseen)) if unseen else None,
        by_language=by_language,
        step_seconds=_step_seconds(rates, batching.pairs, batching.length_window),
        curve=_curve(records, metric, [pair for pair in by_pair if _partner(pair, groups.hub) is not None]),
    )


def scored_groups(groups: Groups, outcomes: Iterable[Mapping[str, Sequence[Outcome]]]) -> Groups:
    """Leave out of the groups what some run was not scored on, and say so."""
    every = [outcome for own in outcomes for runs in own.values() for outcome in runs]
    scored = set.intersection(*(set(outcome.by_language) for outcome in every))
    missing = sorted({code for codes in groups.members.values() for code in codes} - scored)
    if missing:
        logger.warning("not in the groups of the tables, as validation.metric has no score of them: %s", missing)
    members = {name: tuple(code for code in codes if code in scored) for name, codes in groups.members.items()}
    return Groups(groups.hub, {name: codes for name, codes in members.items() if codes})


def flops_of_a_step(config: Config, corpus: PreparedCorpus, steps: int = 20) -> float:
    """Count the floating-point operations of a training step: the mean of the run's first `steps`, in whole windows."""
    steps = ceil(steps / config.batching.length_window) * config.batching.length_window
    holdout = hold_out(
        corpus.shards, pairs_per_language_pair=config.validation.pairs_per_language_pair, seed=config.run.seed
    )
    stream = PairStream(
        holdout.counts,
        pairs=config.batching.pairs,
        sampling_temperature=config.batching.sampling_temperature,
        seed=config.run.seed,
    )
    counts = []
    for _, pair_index, rows, _ in itertools.islice(drawn_steps(corpus.shards, holdout, stream, config), steps):
        lengths = np.minimum(np.concatenate(corpus.shards.lengths(pair_index, rows)), config.model.max_tokens)
        few = chooses_among_the_step(config)
        vocabulary = vocabulary_of(corpus.shards.fetch(pair_index, rows), config) if few else None
        vocab_size = corpus.tokenizer.vocab_size if vocabulary is None else len(vocabulary)
        counts.append(step_flops(lengths, config.model, vocab_size, config.objective))
    return float(np.mean(counts))
