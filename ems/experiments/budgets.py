"""How many steps each variant of an experiment takes at a budget, and the file that keeps these numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ems.config import MOST_STEPS
from ems.errors import InputError
from ems.files import write_json

_SAME = 0.02  # as many steps but for so large a share are taken for equal, and not trained again


def steps_for_equal(budget: str, cost: Mapping[str, float], reference: str, max_steps: int) -> dict[str, int]:
    """Say how many steps each variant can take for what the reference spends.

    Args:
        budget: what is spent, for messages.
        cost: of one step of each variant, in seconds or operations.
        reference: name of the variant whose spending counts.
        max_steps: its steps.

    Raises:
        InputError: a variant could not take a single step.
    """
    steps = {name: round(max_steps * cost[reference] / own) for name, own in cost.items()}
    for name, count in steps.items():
        if count < 1:
            raise InputError(f"{name} cannot take a step at equal {budget}")
    return steps


@dataclass(frozen=True)
class Plan:
    """The steps of each variant at each budget, as kept in a file.

    Attributes:
        made_for: digest of each variant's cost when its steps were planned.
        steps: by budget and variant.
    """

    made_for: dict[str, str]
    steps: dict[str, dict[str, int]]

    def still_true(self, costs: Mapping[str, str], reference: str) -> Plan:
        """Leave out the variants whose digest is another now, or all where the reference's is."""
        changed = {name for name, cost in costs.items() if self.made_for.get(name) != cost}
        if reference in changed:
            return Plan({}, {})
        made_for = {name: cost for name, cost in self.made_for.items() if name not in changed}
        steps = {
            budget: {name: count for name, count in own.items() if name in made_for}
            for budget, own in self.steps.items()
        }
        return Plan(made_for, steps)


def _is_plan(found: Any) -> bool:
    if not isinstance(found, dict) or found.keys() != {"made_for", "steps"}:
        return False
    made_for, budgets = found["made_for"], found["steps"]
    if not isinstance(made_for, dict) or not all(isinstance(cost, str) for cost in made_for.values()):
        return False
    if not isinstance(budgets, dict) or not all(isinstance(steps, dict) for steps in budgets.values()):
        return False
    numbers = [number for steps in budgets.values() for number in steps.values()]
    return all(type(number) is int and 1 <= number <= MOST_STEPS for number in numbers)


def read_plan(path: Path) -> Plan:
    """Read the steps of each variant at each budget; an empty plan where there is no file yet.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return Plan({}, {})
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be used: {error}; delete it, and steps are planned anew") from None
    if not _is_plan(found):
        raise InputError(f"{path} cannot be used: it does not hold steps by budget and variant; delete it")
    return Plan(found["made_for"], found["steps"])


def _near(steps: int, others: Iterable[int]) -> int:
    return next((other for other in others if abs(steps / other - 1) <= _SAME), steps)


def planned_steps(
    path: Path,
    budget: str,
    cost_of: Callable[[Sequence[str]], Mapping[str, float]],
    *,
    own: Mapping[str, int],
    costs: Mapping[str, str],
    reference: str,
) -> dict[str, int]:
    """Fix the steps of each variant when they are first needed: measured anew, seconds would be others each time.

    A plan that was made for another reference, other steps of it or other configs is made anew. Steps within 2 % of
    those of its config, or of another budget, are set to these: the run is then the same.

    Args:
        path: JSON file of all budgets, read and written.
        budget: what is spent.
        cost_of: says what one step of some variants, and of the reference, costs in one unit; asked for those that are
            not planned yet.
        own: steps of each variant's config.
        costs: `cost_digest` of each variant.
        reference: name of the variant whose spending counts.

    Raises:
        InputError: the file is damaged, or a variant could not take a single step.
    """
    kept = read_plan(path).still_true(costs, reference)
    known = kept.steps.get(budget, {})
    if known.get(reference) != own[reference]:  # planned for another reference, or for other steps of it
        known = {}
    new = [name for name in own if name not in known]
    fresh = steps_for_equal(budget, cost_of(new), reference, own[reference]) if new else {}
    others = {name: [own[name], *(plan[name] for plan in kept.steps.values() if name in plan)] for name in fresh}
    steps = {name: known[name] if name in known else _near(fresh[name], others[name]) for name in own}
    made_for, planned = kept.made_for | dict(costs), kept.steps | {budget: known | steps}
    write_json(path, {"made_for": made_for, "steps": planned})
    return steps
