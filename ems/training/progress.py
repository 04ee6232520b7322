"""How far a run has come, as a checkpoint stores it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

_COUNTS = (
    "step",
    "pairs_seen",
    "tokens_seen",
    "truncated",
    "skipped_steps",
    "best_step",
    "validations_without_gain",
)


@dataclass
class Progress:
    """How far a run has come: all that a checkpoint holds beside weights and moments."""

    step: int = 0
    stream: dict[str, Any] = field(default_factory=dict)
    pairs_seen: int = 0
    tokens_seen: int = 0
    truncated: int = 0
    skipped_steps: int = 0
    mean_loss: float = 0.0
    best_metric: float = -math.inf
    best_step: int = 0
    validations_without_gain: int = 0
    train_seconds: float = 0.0
    scaler: dict[str, Any] = field(default_factory=dict)

    def to_state(self) -> dict[str, Any]:
        """Give JSON values for a checkpoint (JSON has no infinity)."""
        return {**asdict(self), "best_metric": None if math.isinf(self.best_metric) else self.best_metric}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Progress:
        """Undo `to_state`."""
        best = state["best_metric"]
        for name in _COUNTS:
            if type(state[name]) is not int or state[name] < 0:
                raise ValueError(f"{name} is {state[name]!r}")
        if not (best is None or isinstance(best, float | int)):
            raise ValueError(f"best_metric is {best!r}")
        for name in ("mean_loss", "train_seconds"):
            if not (isinstance(state[name], float | int) and math.isfinite(state[name])):
                raise ValueError(f"{name} is {state[name]!r}")
        return cls(**{**state, "best_metric": -math.inf if best is None else best})
