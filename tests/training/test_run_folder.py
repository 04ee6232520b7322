"""A run folder belongs to one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ems.config import Config, dump_config, load_config, with_max_tokens
from ems.errors import InputError
from ems.training.run_folder import as_started, check_run_folder, claim_run_folder


def claim(config: Config, *, resume: bool) -> Path:
    folder = check_run_folder(config, resume=resume)
    claim_run_folder(config)
    return folder


def make_config(folder: Path, **sections: dict[str, Any]) -> Config:
    values: dict[str, Any] = {
        "run": {"folder": str(folder)},
        "corpus": {"files": ["embedded:grammar"]},
        "training": {"max_steps": 10},
    }
    for section, keys in sections.items():
        values[section] = {**values.get(section, {}), **keys}
    return Config.model_validate(values)


@pytest.mark.parametrize("resume", [False, True])
def test_a_new_run_makes_its_folder_and_writes_the_resolved_config(tmp_path: Path, resume: bool) -> None:
    config = make_config(tmp_path / "runs" / "first")
    assert claim(config, resume=resume) == tmp_path / "runs" / "first"
    assert load_config(tmp_path / "runs" / "first" / "config.yaml") == config
    assert "sampling_temperature: 2.0" in (tmp_path / "runs" / "first" / "config.yaml").read_text()


def test_an_empty_folder_may_be_claimed(tmp_path: Path) -> None:
    assert claim(make_config(tmp_path), resume=False) == tmp_path


def test_a_folder_that_holds_a_run_is_refused_without_resume(tmp_path: Path) -> None:
    config = make_config(tmp_path / "run")
    claim(config, resume=False)
    with pytest.raises(InputError, match=r"run already holds a run; continue it with --resume or choose another"):
        claim(config, resume=False)


def test_the_same_run_goes_on(tmp_path: Path) -> None:
    config = make_config(tmp_path / "run")
    claim(config, resume=False)
    assert claim(config, resume=True) == tmp_path / "run"
    assert load_config(tmp_path / "run" / "config.yaml") == config


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("training", "max_steps", 20, "training.max_steps is 20, but the run in .* was started with 10"),
        ("run", "seed", 7, "run.seed is 7, but .* started with 0"),
        ("run", "precision", "bf16", 'run.precision is "bf16", but .* started with "auto"'),
        ("corpus", "files", ["*.tsv"], r'corpus.files is \["\*.tsv"\], but .* started with \["embedded:grammar"\]'),
        ("model", "dropout", 0.2, "model.dropout is 0.2, but .* started with 0.1"),
        ("batching", "pairs", 64, "batching.pairs is 64, but .* started with 128"),
        ("validation", "pairs_per_language_pair", 50, "validation.pairs_per_language_pair is 50"),
    ],
)
def test_another_run_is_refused_by_the_key_that_differs(
    tmp_path: Path, section: str, key: str, value: Any, message: str
) -> None:
    claim(make_config(tmp_path / "run"), resume=False)
    before = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(InputError, match=f"--resume: {message}"):
        claim(make_config(tmp_path / "run", **{section: {key: value}}), resume=True)
    assert (tmp_path / "run" / "config.yaml").read_text() == before


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("run", "device", "cpu"),
        ("corpus", "workers", 3),
        ("training", "checkpoint_every_steps", 3),
        ("training", "keep_checkpoints", 5),
    ],
)
def test_where_and_how_often_may_change(tmp_path: Path, section: str, key: str, value: Any) -> None:
    claim(make_config(tmp_path / "run"), resume=False)
    changed = make_config(tmp_path / "run", **{section: {key: value}})
    claim(changed, resume=True)
    assert load_config(tmp_path / "run" / "config.yaml") == changed


def test_a_moved_run_goes_on(tmp_path: Path) -> None:
    claim(make_config(tmp_path / "run"), resume=False)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert claim(make_config(tmp_path / "moved"), resume=True) == tmp_path / "moved"


def test_a_damaged_config_in_the_folder_is_named(tmp_path: Path) -> None:
    config = make_config(tmp_path / "run")
    claim(config, resume=False)
    (tmp_path / "run" / "config.yaml").write_text(dump_config(config).replace("seed: 0", "sed: 0"))
    with pytest.raises(InputError, match=r"config.yaml, line \d+: unknown key 'sed' in run; did you mean 'seed'"):
        claim(config, resume=True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"run.folder .*below cannot be written"):
        claim(make_config(tmp_path / "file" / "below"), resume=False)


def test_auto_goes_on_with_the_token_budget_that_the_run_has(tmp_path: Path) -> None:
    wanted = make_config(tmp_path / "run", batching={"max_tokens": "auto"})
    assert as_started(wanted, tmp_path / "run").batching.max_tokens == "auto"
    claim(with_max_tokens(wanted, 7000), resume=False)
    check_run_folder(wanted, resume=True)
    assert as_started(wanted, tmp_path / "run").batching.max_tokens == 7000


@pytest.mark.parametrize(("before", "now"), [(None, 500), (7000, 500), (7000, None), (None, "auto")])
def test_a_run_goes_on_with_steps_cut_otherwise(tmp_path: Path, before: int | None, now: Any) -> None:
    """How a step is cut changes neither its pairs nor, but for rounding, its gradients."""
    claim(make_config(tmp_path / "run", batching={"max_tokens": before}), resume=False)
    wanted = make_config(tmp_path / "run", batching={"max_tokens": now})
    check_run_folder(wanted, resume=True)
    assert as_started(wanted, tmp_path / "run").batching.max_tokens == now
