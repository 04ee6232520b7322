"""Steps of variants are measured in turn with those of the reference, in processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ems.errors import InputError
from ems.experiments.runner import find_devices
from ems.experiments.step_seconds import check_measurable, in_turn, seconds_of_a_step
from ems.experiments.variants import read_variants
from tests.experiments.test_command import shared, write_variants


class Clock:
    """Takes as long for each step as it was told, and notes whose turn it was."""

    def __init__(self, name: str, taken: list[float], turns: list[str]) -> None:
        self.name, self.taken, self.turns = name, iter(taken), turns

    def do(self, piece: object) -> float:
        assert piece is not None  # that would end a worker
        self.turns.append(self.name)
        return next(self.taken)


def test_both_take_turns_and_the_ratio_is_the_median_of_the_rounds_after_the_first_three() -> None:
    turns: list[str] = []
    own: Any = Clock("own", [99, 98, 97, 2, 9, 4], turns)
    reference: Any = Clock("reference", [1, 1, 1, 1, 3, 4], turns)
    assert in_turn(own, reference, 3) == 2  # of 2, 3 and 1
    assert turns == ["own", "reference"] * 6


def test_a_round_is_a_whole_window_so_that_short_and_long_steps_count_by_their_share() -> None:
    warm_up = [99.0] * 4  # three steps, or as many more as fill a window
    own: Any = Clock("own", [*warm_up, 1, 1, 1, 9, 9, 1, 1, 1], [])
    reference: Any = Clock("reference", [1] * 12, [])
    assert in_turn(own, reference, 5, window=4) == 3  # and not 1, the median over steps


def test_a_budget_of_tokens_that_is_found_in_free_memory_cannot_be_measured(tmp_path: Path) -> None:
    full, auto = write_variants(tmp_path, full="", auto="batching:\n  max_tokens: auto\n")
    variants = read_variants([full, auto], shared(tmp_path))
    with pytest.raises(InputError, match=r"auto\.yaml: batching\.max_tokens: auto cannot be measured beside another"):
        check_measurable(variants.values())


@pytest.mark.slow
def test_a_variant_of_eight_layers_takes_longer_than_one_of_one_and_nothing_is_written(tmp_path: Path) -> None:
    paths = write_variants(tmp_path, full="", deep="model:\n  num_layers: 8\n")
    overrides = [key for key in shared(tmp_path) if not key.startswith("model.num_layers")]
    full, deep = read_variants(paths, overrides).values()
    (device,) = find_devices(1, "cpu")
    found = seconds_of_a_step([full, deep], full, overrides, device, steps=5)
    assert found.keys() == {"full", "deep"}
    assert found["full"] == 1
    assert found["deep"] > 2
    assert not (tmp_path / "run").exists()
