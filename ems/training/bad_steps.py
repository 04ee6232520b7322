"""Judge each step before it changes the weights: is its loss finite, its gradient, and no loss far above the mean?"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ems.config import TrainingConfig
from ems.training.progress import Progress

MEAN_OVER = 100  # steps; a spike is judged against the mean loss of about so many, and only after as many


def fault_of(
    values: Mapping[str, float], progress: Progress, training: TrainingConfig, *, overflow_allowed: bool
) -> str | None:
    """Say what is wrong with a step.

    Args:
        values: its losses, and `gradient_norm`.
        progress: of the run before it.
        training: section of the config.
        overflow_allowed: the gradient, but not a loss, may be infinite or NaN.

    Returns:
        Words that follow "step 7"; None for a good step.
    """
    checked = [value for name, value in values.items() if not (overflow_allowed and name == "gradient_norm")]
    if not all(map(math.isfinite, checked)):
        return "is not finite"
    good_steps = progress.step - progress.skipped_steps
    if training.spike_factor is None or good_steps < MEAN_OVER or progress.mean_loss <= 0:
        return None  # XTR with the target `set` may fall below 0, where a multiple says nothing
    if values["loss"] <= training.spike_factor * progress.mean_loss:
        return None
    return (
        f"has a loss of more than {training.spike_factor:g} (training.spike_factor) times the mean of the steps before "
        f"it, {progress.mean_loss:.3g}"
    )


def with_loss(progress: Progress, loss: float) -> float:
    """Return the mean loss of the good steps so far, this one included: of the last ones, older ones fading."""
    good_steps = progress.step - progress.skipped_steps + 1
    return progress.mean_loss + (loss - progress.mean_loss) / min(good_steps, MEAN_OVER)
