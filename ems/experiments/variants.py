"""The variants that an experiment compares, and the runs that it takes to compare them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ems.config import Config, load_config
from ems.errors import InputError, nearest
from ems.strict_yaml import parse_yaml


@dataclass(frozen=True)
class Variant:
    """One config of an experiment.

    Attributes:
        name: of its file, without `.yaml`.
        path: the file.
        title: its first comment, which says what it is.
        config: as loaded, with the overrides that all variants share.
    """

    name: str
    path: Path
    title: str
    config: Config

    @property
    def cost_digest(self) -> str:
        """Digest of all in the config that a step's cost depends on: steps planned for another are no longer equal."""
        config = self.config.model_dump(mode="json")
        sections = {key: config[key] for key in ("corpus", "tokenizer", "batching", "model", "objective")}
        run, training = self.config.run, self.config.training
        text = json.dumps([sections, run.device, run.precision, training.optimizer, training.amsgrad], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8-sig").partition("\n")[0]
    return first.lstrip("#").strip().rstrip(".:") if first.startswith("#") else ""


def _sets_the_seed(override: str) -> bool:
    """Say whether an override is of the seed, alone or with the whole section."""
    place, _, value = override.partition("=")
    if place.strip() == "run":
        section, _ = parse_yaml(value, f"--set {override}")
        return isinstance(section, dict) and "seed" in section
    return place.strip() == "run.seed"


def _check_overrides(overrides: Sequence[str]) -> None:
    if any(map(_sets_the_seed, overrides)):
        raise InputError("--set run.seed: an experiment gives each run its own; use --seeds")


def read_variants(paths: Sequence[Path | str], overrides: Sequence[str]) -> dict[str, Variant]:
    """Load the configs of an experiment, by name, in the order given.

    Raises:
        InputError: a config cannot be used or may stop early, two have one name, or validation.metric differs; or an
            override is of the seed, which each run has its own of.
    """
    _check_overrides(overrides)
    variants: dict[str, Variant] = {}
    for path in map(Path, paths):
        config = load_config(path, list(overrides))
        if path.stem in variants:
            raise InputError(f"{path} has the name of {variants[path.stem].path}; give each config a name of its own")
        if config.training.patience is not None:
            raise InputError(f"{path}: training.patience ends runs early; budgets need null, and runs of full length")
        variants[path.stem] = Variant(path.stem, path, _title(path), config)
    metrics = {variant.name: variant.config.validation.metric for variant in variants.values()}
    if len(set(metrics.values())) > 1:
        raise InputError(f"the configs have several validation.metric, which cannot be compared: {metrics}")
    return variants


def choose_reference(variants: dict[str, Variant], name: str | None) -> Variant:
    """Find the variant that the others are compared with: the named one, else `full`, else the first.

    Raises:
        InputError: no variant has that name.
    """
    if name is None:
        return variants.get("full", next(iter(variants.values())))
    if name not in variants:
        raise InputError(f"--reference {name} is none of the configs; did you mean {nearest(name, variants)!r}?")
    return variants[name]


@dataclass(frozen=True)
class Run:
    """One training run of an experiment.

    Attributes:
        variant: what is trained.
        seed: of the run.
        folder: its run folder.
        max_steps: optimizer steps.
    """

    variant: Variant
    seed: int
    folder: Path
    max_steps: int

    def overrides(self, shared: Sequence[str]) -> list[str]:
        """List the overrides that make the variant's config this run's."""
        config = self.variant.config
        folder = json.dumps(str(self.folder), ensure_ascii=False)  # YAML would end it at " #"
        own = [f"run.folder={folder}", f"run.seed={self.seed}", f"training.max_steps={self.max_steps}"]
        if config.training.validate_every_steps == config.training.max_steps:  # at the end only
            own.append(f"training.validate_every_steps={self.max_steps}")
        return [*shared, *own]


def plan(variants: dict[str, Variant], steps: dict[str, int], seeds: Sequence[int], output: Path) -> list[Run]:
    """List runs seed by seed, so that a drift of the machine meets all variants alike.

    A folder is named after what makes the run, `<variant>/<steps>-steps/seed-<n>`: budgets at which a variant takes the
    same steps share it.

    Args:
        variants: by name.
        steps: optimizer steps of each variant.
        seeds: of the runs of each variant.
        output: folder of the experiment.
    """
    return [
        Run(variant, seed, output / name / f"{steps[name]}-steps" / f"seed-{seed}", steps[name])
        for seed in seeds
        for name, variant in variants.items()
    ]
