"""The `experiment` command: train every variant with every seed, at one budget or several, and compare them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ems.data.preparation import PreparedCorpus, prepare_corpus
from ems.errors import InputError
from ems.experiments.budgets import planned_steps
from ems.experiments.curves import draw
from ems.experiments.outcomes import (
    Groups,
    Outcome,
    flops_of_a_step,
    group_languages,
    read_outcome,
)
from ems.experiments.runner import Device, find_devices, train_all
from ems.experiments.table import accuracy_table, describe_groups
from ems.experiments.variants import Run, Variant, choose_reference, plan, read_variants
from ems.files import atomic_write

logger = logging.getLogger(__name__)

_PLAN = "plan.json"


@dataclass(frozen=True)
class _Experiment:
    """What all parts of one experiment share."""

    variants: dict[str, Variant]
    reference: Variant
    seeds: tuple[int, ...]
    shared: tuple[str, ...]
    output: Path
    devices: list[Device]

    @property
    def own_steps(self) -> dict[str, int]:
        return {name: variant.config.training.max_steps for name, variant in self.variants.items()}

    def run(self, steps: Mapping[str, int]) -> dict[str, list[Run]]:
        """Train all variants for so many steps and return their runs by variant."""
        runs = plan(self.variants, dict(steps), self.seeds, self.output)
        train_all(runs, self.devices, self.shared)
        return {name: [run for run in runs if run.variant.name == name] for name in self.variants}


def _mean_step_seconds(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, float]:
    return {name: float(np.median([outcome.step_seconds for outcome in own])) for name, own in outcomes.items()}


def _corpora(variants: Mapping[str, Variant]) -> dict[str, PreparedCorpus]:
    """Prepare the text of every variant, before the first run: many share one."""
    by_place: dict[Path, PreparedCorpus] = {}
    corpora = {}
    for name, variant in variants.items():
        place = variant.config.prepared_folder
        if place not in by_place:
            by_place[place] = prepare_corpus(variant.config, progress=True)
        corpora[name] = by_place[place]
    return corpora


def _check_shared_text(variants: Mapping[str, Variant]) -> None:
    for variant in variants.values():
        if variant.config.corpus.prepared is None:
            raise InputError(
                f"{variant.path}: corpus.prepared is not set; runs of an experiment have to share their prepared text"
            )


def run_experiment(
    configs: Sequence[Path | str],
    output: Path | str,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    budgets: Sequence[str] = ("steps",),
    reference: str | None = None,
    overrides: Sequence[str] = (),
    jobs: int | None = None,
) -> str:
    """Train and compare variants; runs that are done are not trained again.

    Below `output` lie the run folders, `<variant>/<steps>-steps/seed-<n>`; `plan.json` with the steps of each budget
    but that of equal steps; `table.md`, and `<budget>.png` with the curves.

    Args:
        configs: one YAML file a variant.
        output: folder of the experiment.
        seeds: each variant is trained with each.
        budgets: what variants have in common: "steps" (those of each config), "seconds" of training or "flops" (as
            many as the reference spends in its own steps).
        reference: name of the variant that others are compared with; None: `full`, or else the first.
        overrides: of all configs.
        jobs: runs at a time; None: one for each GPU, or one on the CPU.

    Returns:
        The tables, as Markdown.

    Raises:
        InputError: configs that cannot be used or compared.
        RunError: runs failed.
        Interrupted: a signal came; the same call goes on.
    """
    variants = read_variants(configs, overrides)
    _check_shared_text(variants)
    chosen = choose_reference(variants, reference)
    devices = find_devices(jobs, chosen.config.run.device)
    experiment = _Experiment(variants, chosen, tuple(seeds), tuple(overrides), Path(output), devices)
    corpora = _corpora(variants)
    groups = group_languages(corpora[chosen.name])
    steps_of = {"steps": experiment.own_steps}
    outcomes = {"steps": _read(experiment.run(experiment.own_steps), groups)}
    for budget in (name for name in budgets if name != "steps"):
        if budget == "seconds":
            cost = _mean_step_seconds(outcomes["steps"])
        else:
            cost = {name: flops_of_a_step(variant.config, corpora[name]) for name, variant in variants.items()}
        steps_of[budget] = planned_steps(
            experiment.output / _PLAN, budget, cost, own=experiment.own_steps, reference=chosen.name
        )
        outcomes[budget] = _read(experiment.run(steps_of[budget]), groups)
    for budget, own in outcomes.items():
        draw(own, experiment.output / f"{budget}.png")
    metric = chosen.config.validation.metric
    text = f"Retrieval accuracy on {metric}, percent, mean of both directions; {describe_groups(groups)}. "
    text += f"Mean ± deviation over {len(seeds)} seeds.\n"
    for budget, own in outcomes.items():
        text += f"\nEqual {budget}:\n\n{accuracy_table(variants, own, chosen.name, groups, steps_of[budget])}"
    with atomic_write(experiment.output / "table.md", "w") as file:
        file.write(text)
    return text


def _read(runs: Mapping[str, Sequence[Run]], groups: Groups) -> dict[str, list[Outcome]]:
    return {name: [read_outcome(run, groups) for run in own] for name, own in runs.items()}
