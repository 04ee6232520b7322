"""How many steps each variant of an experiment takes at a budget, and the file that keeps these numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

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


def read_plan(path: Path) -> dict[str, dict[str, int]]:
    """Read the steps of each variant at each budget; none where there is no file yet.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be used: {error}; delete it, and steps are planned anew") from None
    plans = list(found.values()) if isinstance(found, dict) else [None]
    for steps in plans:
        numbers = steps.values() if isinstance(steps, dict) else [None]
        if not all(type(number) is int and 1 <= number <= 10**9 for number in numbers):
            raise InputError(f"{path} cannot be used: it does not hold steps by budget and variant; delete it")
    return dict(found)


def _near(steps: int, others: Iterable[int]) -> int:
    return next((other for other in others if abs(steps / other - 1) <= _SAME), steps)


def planned_steps(
    path: Path,
    budget: str,
    cost_of: Callable[[Sequence[str]], Mapping[str, float]],
    *,
    own: Mapping[str, int],
    reference: str,
) -> dict[str, int]:
    """Fix the steps of each variant when they are first needed: measured anew, seconds would be others each time.

    A plan that was made for another reference, or for other steps of it, is made anew. Steps within 2 % of those of its
    config, or of another budget, are set to these: the run is then the same.

    Args:
        path: JSON file of all budgets, read and written.
        budget: what is spent.
        cost_of: says what one step of some variants, and of the reference, costs in one unit; asked for those that are
            not planned yet.
        own: steps of each variant's config.
        reference: name of the variant whose spending counts.

    Raises:
        InputError: the file is damaged, or a variant could not take a single step.
    """
    plans = read_plan(path)
    known = plans.get(budget, {})
    if known.get(reference) != own[reference]:  # planned for another reference, or for other steps of it
        known = {}
    new = [name for name in own if name not in known]
    fresh = steps_for_equal(budget, cost_of(new), reference, own[reference]) if new else {}
    others = {name: [own[name], *(plan[name] for plan in plans.values() if name in plan)] for name in fresh}
    steps = {name: known[name] if name in known else _near(fresh[name], others[name]) for name in own}
    write_json(path, plans | {budget: known | steps})
    return steps
