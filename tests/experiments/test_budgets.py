"""How many steps a budget allows, and that they stay what they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from ems.errors import InputError
from ems.experiments.budgets import planned_steps, steps_for_equal

OWN = {"full": 1000, "light": 1000, "deep": 1000}


def costing(asked: list[list[str]] | None = None, /, **cost: float) -> Callable[[Sequence[str]], Mapping[str, float]]:
    """Return what says the cost of some variants and of the reference, and notes which were asked for."""

    def cost_of(names: Sequence[str]) -> Mapping[str, float]:
        if asked is not None:
            asked.append(list(names))
        return {name: cost[name] for name in dict.fromkeys(["full", *names])}

    return cost_of


def test_each_variant_takes_the_steps_that_cost_what_the_reference_costs() -> None:
    assert steps_for_equal("seconds", {"full": 0.3, "light": 0.2, "deep": 0.6}, "full", 1000) == {
        "full": 1000,
        "light": 1500,
        "deep": 500,
    }
    with pytest.raises(InputError, match="deep cannot take a step at equal flops"):
        steps_for_equal("flops", {"full": 1.0, "deep": 10_000.0}, "full", 1000)


def test_steps_close_to_those_of_the_config_or_of_another_budget_are_set_to_these(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    flops = planned_steps(path, "flops", costing(full=1.0, light=0.8, deep=1.015), own=OWN, reference="full")
    assert flops == {"full": 1000, "light": 1250, "deep": 1000}
    seconds = planned_steps(path, "seconds", costing(full=1.0, light=0.81, deep=1.03), own=OWN, reference="full")
    assert seconds == {"full": 1000, "light": 1250, "deep": 971}


def test_what_was_planned_stays_whatever_is_measured_later(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    own, asked = {"full": 1000, "light": 1000}, []
    first = planned_steps(path, "seconds", costing(asked, full=1.0, light=0.5), own=own, reference="full")
    later = planned_steps(path, "seconds", costing(asked, full=1.0, light=0.7, deep=2.0), own=OWN, reference="full")
    assert later == {**first, "deep": 500}
    assert json.loads(path.read_text()) == {"seconds": later}
    assert planned_steps(path, "seconds", costing(asked), own=OWN, reference="full") == later
    assert asked == [["full", "light"], ["deep"]]  # and nothing where all is planned


def test_a_plan_for_another_reference_or_other_steps_of_it_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    cost = costing(full=1.0, light=0.5)
    own = {"full": 1000, "light": 1000}
    assert planned_steps(path, "seconds", cost, own=own, reference="full") == {"full": 1000, "light": 2000}
    assert planned_steps(path, "seconds", cost, own=own, reference="light") == {"full": 500, "light": 1000}
    fewer = {"full": 300, "light": 300}
    assert planned_steps(path, "seconds", cost, own=fewer, reference="full") == {"full": 300, "light": 600}


@pytest.mark.parametrize(
    "text",
    ["", "[1]", '{"seconds": [1, 2]}', '{"seconds": {"full": 0}}', '{"seconds": {"full": Infinity}}', "[" * 100_000],
)
def test_a_damaged_plan_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"plan\.json cannot be used"):
        planned_steps(path, "seconds", costing(full=1.0, light=1.0, deep=1.0), own=OWN, reference="full")
