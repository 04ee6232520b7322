"""How many steps a budget allows, and that they stay what they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from ems.errors import InputError
from ems.experiments.budgets import planned_steps, steps_for_equal

OWN = {"full": 1000, "light": 1000, "deep": 1000}
COSTS = {"full": "a", "light": "b", "deep": "c"}


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
    flops = planned_steps(
        path, "flops", costing(full=1.0, light=0.8, deep=1.015), own=OWN, costs=COSTS, reference="full"
    )
    assert flops == {"full": 1000, "light": 1250, "deep": 1000}
    seconds = planned_steps(
        path, "seconds", costing(full=1.0, light=0.81, deep=1.03), own=OWN, costs=COSTS, reference="full"
    )
    assert seconds == {"full": 1000, "light": 1250, "deep": 971}


def test_what_was_planned_stays_whatever_is_measured_later(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    own, asked = {"full": 1000, "light": 1000}, []
    first = planned_steps(path, "seconds", costing(asked, full=1.0, light=0.5), own=own, costs=COSTS, reference="full")
    later = planned_steps(
        path, "seconds", costing(asked, full=1.0, light=0.7, deep=2.0), own=OWN, costs=COSTS, reference="full"
    )
    assert later == {**first, "deep": 500}
    assert json.loads(path.read_text()) == {"made_for": COSTS, "steps": {"seconds": later}}
    assert planned_steps(path, "seconds", costing(asked), own=OWN, costs=COSTS, reference="full") == later
    assert asked == [["full", "light"], ["deep"]]  # and nothing where all is planned


def test_a_plan_for_another_reference_or_other_steps_of_it_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    cost = costing(full=1.0, light=0.5)
    own = {"full": 1000, "light": 1000}
    assert planned_steps(path, "seconds", cost, own=own, costs=COSTS, reference="full") == {"full": 1000, "light": 2000}
    assert planned_steps(path, "seconds", cost, own=own, costs=COSTS, reference="light") == {"full": 500, "light": 1000}
    fewer = {"full": 300, "light": 300}
    assert planned_steps(path, "seconds", cost, own=fewer, costs=COSTS, reference="full") == {"full": 300, "light": 600}


def test_a_variant_that_changed_is_planned_anew_and_all_are_where_the_reference_did(tmp_path: Path) -> None:
    path, asked = tmp_path / "plan.json", []

    def planned(seconds: float, **costs: str) -> dict[str, int]:
        cost = costing(asked, full=1.0, light=seconds, deep=2.0)
        return planned_steps(path, "seconds", cost, own=OWN, costs=COSTS | costs, reference="full")

    assert planned(0.5) == {"full": 1000, "light": 2000, "deep": 500}
    assert planned(0.8, light="changed") == {"full": 1000, "light": 1250, "deep": 500}
    assert planned(0.4, light="changed") == {"full": 1000, "light": 1250, "deep": 500}
    assert planned(0.4, light="changed", full="changed") == {"full": 1000, "light": 2500, "deep": 500}
    assert asked == [["full", "light", "deep"], ["light"], ["full", "light", "deep"]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"seconds": {"full": 3}}',
        '{"made_for": {}, "steps": [1, 2]}',
        '{"made_for": {"full": 1}, "steps": {}}',
        '{"made_for": {}, "steps": {"seconds": {"full": 0}}}',
        '{"made_for": {}, "steps": {"seconds": {"full": 1000000001}}}',
        '{"made_for": {}, "steps": {"seconds": {"full": Infinity}}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_plan_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"plan\.json cannot be used"):
        planned_steps(path, "seconds", costing(full=1.0, light=1.0, deep=1.0), own=OWN, costs=COSTS, reference="full")
