"""The reconstruction loss of many sentences and a large vocabulary, whose logits are never all in memory.

Shape letters: B rows, W width of the output matrix, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ems.objectives import TokenTargets, xtr_loss

LOGITS_AT_ONCE = 1 << 26  # values; the loss holds them, their float32 copy and their gradient: 0.8 GB at most


def reconstruction_loss(
    logits_of: Callable[[Tensor], Tensor],
    hidden_BW: Tensor,
    targets: TokenTargets,
    *,
    vocab_size: int,
    normalizer: float,
) -> Tensor:
    """Compute `xtr_loss` of `logits_of(hidden_BW)`, some rows at a time if there are more than `LOGITS_AT_ONCE` logits.

    Rows are cut so that the logits of a run fit; those of each run are computed once more for its gradient, which costs
    a third more in the output matrix: less than two in a hundred of a training step at the paper's size.

    Args:
        logits_of: (b, W) -> (b, V), without anything random.
        hidden_BW: what the output matrix reads.
        targets: sparse distributions of the same B rows.
        vocab_size: V.
        normalizer: what the sum over rows is divided by.

    Returns:
        Scalar in nats, as `xtr_loss`; gradients flow to `hidden_BW` and the weights.
    """

    def loss_of(hidden: Tensor, part: TokenTargets) -> Tensor:
        return xtr_loss(logits_of(hidden), part, normalizer=normalizer)

    rows = max(1, LOGITS_AT_ONCE // vocab_size)
    if len(hidden_BW) <= rows:
        return loss_of(hidden_BW, targets)
    parts = zip(hidden_BW.split(rows), targets.split(len(hidden_BW), rows), strict=True)
    losses = [checkpoint(loss_of, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.stack(losses).sum()
