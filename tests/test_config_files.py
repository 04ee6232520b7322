"""Configs that extend others: what wins, and which file and line a mistake is blamed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ems.config import load_config
from ems.errors import InputError

GENERAL = """\
run:
  folder: runs/general
corpus:
  files: [a.tsv, b.tsv]
training:
  max_steps: 10
  learning_rate: 0.5
"""


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as raised:
        load_config(path, overrides)
    return str(raised.value)


def test_sections_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    special = "extends: general.yaml\ncorpus:\n  files: [c.tsv]\ntraining:\n  max_steps: 20\n"
    write(tmp_path, general=GENERAL, special=special)
    config = load_config(tmp_path / "special.yaml")
    assert (config.run.folder, config.corpus.files) == ("runs/general", ["c.tsv"])
    assert (config.training.max_steps, config.training.learning_rate) == (20, 0.5)


def test_the_path_is_relative_to_the_file_and_chains_are_followed(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    write(tmp_path, general=GENERAL, middle="extends: general.yaml\ntraining:\n  max_steps: 3\n")
    write(tmp_path / "more", special="extends: ../middle.yaml\nrun:\n  seed: 7\n")
    config = load_config(tmp_path / "more" / "special.yaml", ["training.learning_rate=0.25"])
    assert (config.run.seed, config.training.max_steps, config.training.learning_rate) == (7, 3, 0.25)


@pytest.mark.parametrize(
    ("special", "wanted"),
    [
        ("extends: general.yaml\ntraining:\n  max_step: 1\n", "special.yaml, line 3: unknown key 'max_step'"),
        ("extends: general.yaml\ntraining:\n  max_steps: 0\n", "special.yaml, line 3: training.max_steps"),
        ("extends: broken.yaml\nrun:\n  seed: 1\n", "broken.yaml, line 6: training.max_steps"),
        ("extends: missing.yaml\n", "special.yaml, line 1: extends 'missing.yaml', but there is no"),
        (
            "run:\n  seed: 1\nextends: special.yaml\n",
            "special.yaml, line 3: extends 'special.yaml', which extends this",
        ),
        ("extends: incomplete.yaml\n", "incomplete.yaml, line 5: training.max_steps is missing"),
        ('extends: "a\\0b"\n', "special.yaml, line 1: extends is the path of one other config"),
        ("extends: [general.yaml]\n", "special.yaml, line 1: extends is the path of one other config"),
        ("extends: 3\n", "special.yaml, line 1: extends is the path of one other config"),
    ],
)
def test_a_mistake_is_blamed_on_the_file_and_line_where_it_stands(tmp_path: Path, special: str, wanted: str) -> None:
    write(tmp_path, general=GENERAL, broken=GENERAL.replace("10", "-1"), special=special)
    write(tmp_path, incomplete=GENERAL.replace("  max_steps: 10\n", ""))
    assert wanted in refusal(tmp_path / "special.yaml")


def test_files_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, first="extends: second.yaml\n", second="extends: first.yaml\n")
    assert "second.yaml, line 1: extends 'first.yaml', which extends this one" in refusal(tmp_path / "first.yaml")


def test_an_override_is_blamed_before_any_file(tmp_path: Path) -> None:
    write(tmp_path, general=GENERAL, special="extends: general.yaml\n")
    assert refusal(tmp_path / "special.yaml", "training.max_steps=0").startswith("--set training.max_steps=0: ")
