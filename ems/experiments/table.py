"""The tables of an experiment: mean and deviation over seeds, and differences from the reference on the same seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ems.experiments.outcomes import Groups, Outcome
from ems.experiments.variants import Variant

Outcomes = Mapping[str, Sequence[Outcome]]  # of each variant, in the order of the seeds


def spread(values: Sequence[float]) -> float:
    """Standard deviation of a sample (n - 1); NaN of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _with_spread(values: Sequence[float], *, sign: bool = False) -> str:
    """Write percentages as `31.4 ± 0.6`, or `+1.2 ± 0.3`."""
    percent = [100 * value for value in values]
    mean = f"{np.mean(percent):{'+' if sign else ''}.1f}".replace("-", "−")
    return mean if len(percent) < 2 else f"{mean} ± {spread(percent):.1f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def accuracy_table(
    variants: Mapping[str, Variant],
    outcomes: Outcomes,
    reference: str,
    groups: Groups,
    steps: Mapping[str, int],
) -> str:
    """Lay out one budget as Markdown, a line for each variant, the reference first.

    Args:
        variants: for their titles.
        outcomes: of this budget; every variant with the same seeds in the same order.
        reference: whose line comes first and which the others are compared with, seed by seed.
        groups: columns of languages.
        steps: optimizer steps of each variant.
    """
    names = [reference, *(name for name in outcomes if name != reference)]
    heads = ["variant", "steps", "all", f"against {reference}", *groups.members, "never paired", "ms a step"]
    lines = [_row(heads), _row(["---", *(["---:"] * (len(heads) - 1))])]
    base = outcomes[reference]
    for name in names:
        own = outcomes[name]
        title = f"**{name}**" + (f": {variants[name].title}" if variants[name].title else "")
        difference = [mine.trained - theirs.trained for mine, theirs in zip(own, base, strict=True)]
        unseen = [outcome.unseen for outcome in own if outcome.unseen is not None]
        cells = [
            title,
            f"{steps[name]:,}",
            _with_spread([outcome.trained for outcome in own]),
            "" if name == reference else _with_spread(difference, sign=True),
            *(_with_spread([outcome.group(codes) for outcome in own]) for codes in groups.members.values()),
            _with_spread(unseen) if unseen else "",
            f"{1000 * float(np.median([outcome.step_seconds for outcome in own])):.0f}",
        ]
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def describe_groups(groups: Groups) -> str:
    """Say which languages a column holds."""
    return "; ".join(f"{name}: {', '.join(codes)}" for name, codes in groups.members.items())
