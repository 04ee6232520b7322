"""The optimizer and its learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from ems.config import TrainingConfig


def learning_rate_factor(step: int, *, warmup_steps: int, max_steps: int, schedule: str) -> float:
    """Say which share of the peak rate step `step` uses.

    Args:
        step: optimizer steps taken before this one, 0 for the first.
        warmup_steps: steps of linear warm-up; step `warmup_steps - 1` is the first at the full rate.
        max_steps: steps of the whole training, at which the decay reaches 0.
        schedule: "cosine" (half a cosine over all steps, times the warm-up, as in the authors' recipe), "linear"
            (from the end of the warm-up to 0) or "constant".

    Returns:
        A factor in [0, 1]; above 0 at every step before `max_steps`.
    """
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * step / max_steps))
    if schedule == "linear":
        return warmup * min(1.0, (max_steps - step) / max(1, max_steps - warmup_steps))
    return warmup


def weight_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, object]]:
    """AdamW decays matrices of linear layers only; L2 in Adam, as the authors have it, touches every weight."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "adam":
        return [{"params": parameters, "weight_decay": config.weight_decay}]
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decayed = [p for p in parameters if p.dim() > 1 and id(p) not in embedded]
    plain = [p for p in parameters if p.dim() == 1 or id(p) in embedded]
    return [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Build Adam or AdamW with one fused kernel for all weights.

    Its `state_dict` holds step count and moments of each weight, numbered group by group and, within a group, in the
    order of `model.parameters()`.
    """
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(weight_groups(model, config), lr=config.learning_rate, amsgrad=config.amsgrad, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, config: TrainingConfig) -> float:
    """Give every weight the rate of step `step` and return it."""
    factor = learning_rate_factor(
        step, warmup_steps=config.warmup_steps, max_steps=config.max_steps, schedule=config.schedule
    )
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * factor
    return config.learning_rate * factor
