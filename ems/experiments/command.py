"""The `experiment` command: train every variant with every seed, at one budget or several, and compare them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ems.config import SEEDS
from ems.data.preparation import PreparedCorpus, prepare_corpus
from ems.errors import InputError
from ems.experiments.budgets import planned_steps, read_plan
from ems.experiments.curves import draw
from ems.experiments.outcomes import (
    Groups,
    Outcome,
    flops_of_a_step,
    group_languages,
    read_outcome,
    scored_groups,
)
from ems.experiments.runner import Device, find_devices, train_all
from ems.experiments.step_seconds import check_measurable, seconds_of_a_step
from ems.experiments.table import Outcomes, accuracy_table, describe_groups
from ems.experiments.variants import Run, Variant, choose_reference, plan, read_variants
from ems.files import atomic_write
from ems.training.scoring import find_sets

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


def _corpora(variants: Mapping[str, Variant]) -> dict[str, PreparedCorpus]:
    """Prepare the text of every variant, before the first run: many share one.

    Raises:
        InputError: text cannot be prepared, or a prepared folder holds another text or tokenizer than the variant's.
    """
    prepared: dict[str, PreparedCorpus] = {}
    corpora = {}
    for name, variant in variants.items():
        wanted = f"{variant.config.corpus!r} {variant.config.tokenizer!r}"
        if wanted not in prepared:
            prepared[wanted] = prepare_corpus(variant.config, progress=True)
        corpora[name] = prepared[wanted]
    return corpora


def _check_files(variants: Mapping[str, Variant]) -> None:
    """Look for what the runs will read, before the first of them computes anything."""
    for variant in variants.values():
        if variant.config.corpus.prepared is None:
            raise InputError(
                f"{variant.path}: corpus.prepared is not set; runs of an experiment share their prepared text: "
                "add --set corpus.prepared=FOLDER"
            )
        find_sets(variant.config.validation)
        find_sets(variant.config.evaluation)
        objective = variant.config.objective
        if objective.teacher is not None and objective.distillation_weight:
            for key in ("sentences", "vectors"):
                place = getattr(objective.teacher, key)
                if not Path(place).is_file():
                    raise InputError(f"{variant.path}: objective.teacher.{key}: there is no {place}")


def _check_languages(
    variants: Mapping[str, Variant], corpora: Mapping[str, PreparedCorpus], reference: Variant
) -> None:
    wanted = corpora[reference.name].languages
    for name, corpus in corpora.items():
        if set(corpus.languages) != set(wanted):
            raise InputError(
                f"{variants[name].path}: its text has the languages {', '.join(corpus.languages)}, that of "
                f"{reference.path} {', '.join(wanted)}; their means cannot be compared"
            )


def _check_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output} cannot be made: {error.strerror}") from None
    read_plan(output / _PLAN)


def _check_seeds(seeds: Sequence[int]) -> None:
    for seed in seeds:
        if not 0 <= seed < SEEDS:
            raise InputError(f"--seeds {seed}: a seed is a number from 0 to {SEEDS - 1}")
    twice = next((seed for seed in seeds if list(seeds).count(seed) > 1), None)
    if twice is not None:
        raise InputError(f"--seeds names {twice} twice; a seed makes one run of each variant")


def _read(runs: Mapping[str, Sequence[Run]], groups: Groups) -> dict[str, list[Outcome]]:
    return {name: [read_outcome(run, groups) for run in own] for name, own in runs.items()}


def _costs(
    experiment: _Experiment, budget: str, corpora: Mapping[str, PreparedCorpus], names: Sequence[str]
) -> dict[str, float]:
    """Say what a step of some variants, and of the reference, costs: operations, or seconds over the reference's."""
    reference = experiment.reference
    variants = [experiment.variants[name] for name in dict.fromkeys([reference.name, *names])]
    if budget == "flops":
        return {own.name: flops_of_a_step(own.config, corpora[own.name]) for own in variants}
    logger.info("measuring steps in turn, for equal seconds")
    return seconds_of_a_step(variants, reference, experiment.shared, experiment.devices[0])


def _tables(experiment: _Experiment, groups: Groups, compared: Mapping[str, tuple[dict[str, int], Outcomes]]) -> str:
    metric = experiment.reference.config.validation.metric
    several = f"Mean ± deviation over {len(experiment.seeds)} seeds" if len(experiment.seeds) > 1 else "One seed"
    text = f"Retrieval accuracy on {metric}, percent, mean of both directions; {describe_groups(groups)}. {several}.\n"
    for budget, (steps, outcomes) in compared.items():
        table = accuracy_table(experiment.variants, outcomes, experiment.reference.name, groups, steps)
        text += f"\nEqual {budget}:\n\n{table}"
    return text


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
            many as the reference spends in its own steps; matrix products of the model, not those of its optimizer).
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
    _check_seeds(seeds)
    variants = read_variants(configs, overrides)
    _check_files(variants)
    if "seconds" in budgets:
        check_measurable(variants.values())
    chosen = choose_reference(variants, reference)
    _check_output(Path(output))
    devices = find_devices(jobs, chosen.config.run.device)
    experiment = _Experiment(variants, chosen, tuple(seeds), tuple(overrides), Path(output), devices)
    corpora = _corpora(variants)
    _check_languages(variants, corpora, chosen)
    groups = group_languages(corpora[chosen.name])
    compared: dict[str, tuple[dict[str, int], Outcomes]] = {}
    text = ""
    for budget in dict.fromkeys(budgets):
        steps = experiment.own_steps
        if budget != "steps":
            cost_of = partial(_costs, experiment, budget, corpora)
            costs = {name: variant.cost_digest for name, variant in variants.items()}
            path = experiment.output / _PLAN
            steps = planned_steps(path, budget, cost_of, own=steps, costs=costs, reference=chosen.name)
        compared[budget] = steps, _read(experiment.run(steps), groups)
        draw(compared[budget][1], experiment.output / f"{budget}.png")
        # After each budget, as the next may take hours.
        text = _tables(experiment, scored_groups(groups, [outcomes for _, outcomes in compared.values()]), compared)
        with atomic_write(experiment.output / "table.md", "w") as file:
            file.write(text)
    return text
