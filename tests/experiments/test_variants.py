"""Variants of an experiment, and the runs that compare them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ems.config import load_config
from ems.errors import InputError
from ems.experiments.variants import choose_reference, plan, read_variants

GENERAL = """\
# The whole of it.
run:
  folder: runs/full
corpus:
  files: [embedded:grammar]
training:
  max_steps: 10
  validate_every_steps: 10
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path, "bare", "# Without heads:\nextends: full.yaml\nrun:\n  seed: 5\n"),
        write(tmp_path, "full", GENERAL),
        write(tmp_path, "untitled", "extends: full.yaml\ntraining:\n  validate_every_steps: 5\n"),
    ]


def test_a_variant_has_the_name_of_its_file_and_its_first_comment_as_title(paths: list[Path]) -> None:
    variants = read_variants(paths, ["training.max_steps=20"])
    assert [(v.name, v.title) for v in variants.values()] == [
        ("bare", "Without heads"),
        ("full", "The whole of it"),
        ("untitled", ""),
    ]
    assert {variant.config.training.max_steps for variant in variants.values()} == {20}


ADAMW = ("training.optimizer=adamw", "training.table_learning_rate=null")


@pytest.mark.parametrize(
    ("before", "changes", "override"),
    [
        ([], True, "batching.pairs=7"),
        ([], True, "model.num_layers=2"),
        ([], True, "run.precision=bf16"),
        ([], True, "run.device=cpu"),
        (ADAMW, True, "training.amsgrad=true"),
        ([], False, "training.max_steps=9"),
        ([], False, "training.learning_rate=0.5"),
        ([], False, "run.folder=elsewhere"),
    ],
)
def test_the_digest_of_costs_changes_with_what_a_step_costs(
    paths: list[Path], before: Sequence[str], changes: bool, override: str
) -> None:
    old, new = (read_variants(paths, list(own))["full"].cost_digest for own in (before, [*before, override]))
    assert (old != new) == changes


@pytest.mark.parametrize("override", ["run.seed=3", " run = {device: cpu, seed: 3}"])
def test_the_seed_cannot_be_set_for_all_runs(paths: list[Path], override: str) -> None:
    with pytest.raises(InputError, match=r"--set run\.seed: .*; use --seeds"):
        read_variants(paths, [override])


def test_the_reference_is_the_named_one_or_full_or_the_first(paths: list[Path]) -> None:
    variants = read_variants(paths, [])
    assert choose_reference(variants, None).name == "full"
    assert choose_reference(variants, "bare").name == "bare"
    assert choose_reference({"bare": variants["bare"], "untitled": variants["untitled"]}, None).name == "bare"
    with pytest.raises(InputError, match="--reference ful is none of the configs; did you mean 'full'"):
        choose_reference(variants, "ful")


def test_runs_come_seed_by_seed_with_folders_of_their_own(paths: list[Path], tmp_path: Path) -> None:
    variants = read_variants(paths[:2], [])
    runs = plan(variants, {"bare": 7, "full": 10}, [3, 4], tmp_path)
    assert [(run.variant.name, run.seed, run.max_steps) for run in runs] == [
        ("bare", 3, 7),
        ("full", 3, 10),
        ("bare", 4, 7),
        ("full", 4, 10),
    ]
    assert runs[0].folder == tmp_path / "bare" / "7-steps" / "seed-3"
    assert runs[1].folder == tmp_path / "full" / "10-steps" / "seed-3"


def test_a_run_overrides_folder_seed_and_steps_after_what_all_share(paths: list[Path], tmp_path: Path) -> None:
    variants = read_variants([paths[0], paths[2]], [])
    ended, between = plan(variants, {"bare": 7, "untitled": 7}, [3], tmp_path)
    shared = ["run.device=cpu"]
    assert ended.overrides(shared) == [
        "run.device=cpu",
        f'run.folder="{tmp_path / "bare" / "7-steps" / "seed-3"}"',
        "run.seed=3",
        "training.max_steps=7",
        "training.validate_every_steps=7",  # as in the config: after the last step only
    ]
    assert "validate_every_steps" not in " ".join(between.overrides(shared))


def test_a_folder_is_taken_as_it_stands_whatever_yaml_makes_of_it(paths: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / "try #1: no"
    (run,) = plan(read_variants(paths[:1], []), {"bare": 7}, [3], odd)
    assert load_config(run.variant.path, run.overrides([])).run.folder == str(odd / "bare" / "7-steps" / "seed-3")


def test_runs_that_may_end_early_are_refused(paths: list[Path]) -> None:
    with pytest.raises(InputError, match=r"bare\.yaml: training\.patience ends runs early"):
        read_variants(paths, ["training.patience=3"])


def test_configs_that_cannot_be_compared_are_refused(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    twin = write(tmp_path / "more", "full", GENERAL)
    with pytest.raises(InputError, match="has the name of"):
        read_variants([*paths, twin], [])
    other = write(tmp_path, "other", "extends: full.yaml\nvalidation:\n  sets: [flores-dev]\n  metric: flores-dev\n")
    with pytest.raises(InputError, match=r"several validation\.metric, which cannot be compared"):
        read_variants([*paths, other], [])
