"""The optimizer and its learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from ems.config import TrainingConfig
from ems.model.heads import ReconstructionHead
from ems.model.layers import SelfAttention
from ems.training.muon import Muon

WSD_DECAY = 0.4  # share of the steps in which "wsd" decays; as good as linear decay in docs/records.md


def learning_rate_factor(step: int, *, warmup_steps: int, max_steps: int, schedule: str) -> float:
    """Say which share of the peak rate step `step` uses.

    Args:
        step: optimizer steps taken before this one, 0 for the first.
        warmup_steps: steps of linear warm-up; step `warmup_steps - 1` is the first at the full rate.
        max_steps: steps of the whole training, at which the decay reaches 0.
        schedule: "cosine" (half a cosine over all steps, times the warm-up, as in the authors' recipe), "linear"
            (from the end of the warm-up to 0), "wsd" (constant, then linear to 0 over the last `WSD_DECAY` of the
            steps) or "constant".

    Returns:
        A factor in [0, 1]; above 0 at every step before `max_steps`.
    """
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * step / max_steps))
    if schedule == "linear":
        return warmup * min(1.0, (max_steps - step) / max(1, max_steps - warmup_steps))
    if schedule == "wsd":
        return warmup * min(1.0, (max_steps - step) / (WSD_DECAY * max_steps))
    return warmup


def weight_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, object]]:
    """AdamW decays matrices of linear layers only; L2 in Adam, as the authors have it, touches every weight.

    Muon moves the matrices between hidden layers; tables with a row for each token or language stay with AdamW.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay = config.weight_decay
    if config.optimizer == "adam":
        return [{"params": parameters, "weight_decay": decay}]
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in parameters if p.dim() > 1 and id(p) not in embedded]
    plain = [p for p in parameters if p.dim() == 1 or id(p) in embedded]
    if config.optimizer == "adamw":
        return [{"params": matrices, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
    joined = {id(m.qkv.weight) for m in model.modules() if isinstance(m, SelfAttention)}
    tables = {id(m.output.weight) for m in model.modules() if isinstance(m, ReconstructionHead)}
    hidden = [p for p in matrices if id(p) not in joined | tables]
    groups: list[dict[str, object]] = [
        {"params": [p for p in matrices if id(p) in joined], "weight_decay": decay, "orthogonal": True, "parts": 3},
        {"params": hidden, "weight_decay": decay, "orthogonal": True},
        {"params": [p for p in matrices if id(p) in tables], "weight_decay": decay, "orthogonal": False},
        {"params": plain, "weight_decay": 0.0, "orthogonal": False},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Build Adam or AdamW with one fused kernel for all weights, or Muon.

    Its `state_dict` holds step count and moments of each weight, numbered group by group and, within a group, in the
    order of `model.parameters()`.
    """
    groups = weight_groups(model, config)
    if config.optimizer == "muon":
        return Muon(groups, lr=config.learning_rate)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.learning_rate, amsgrad=config.amsgrad, fused=True)


def _table_rate(config: TrainingConfig) -> float:
    return config.learning_rate if config.table_learning_rate is None else config.table_learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, config: TrainingConfig) -> float:
    """Give every weight the rate of step `step` and return that of the matrices."""
    factor = learning_rate_factor(
        step, warmup_steps=config.warmup_steps, max_steps=config.max_steps, schedule=config.schedule
    )
    for group in optimizer.param_groups:
        group["lr"] = factor * (config.learning_rate if group.get("orthogonal", True) else _table_rate(config))
    return config.learning_rate * factor
