"""Dropout from few random bits: on a CPU PyTorch draws a whole random number for every element, one after the other."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BITS = 16  # of randomness an element
_STEPS = 1 << _BITS


def dropout_factors(like: Tensor, probability: float) -> Tensor:
    """Draw 0 with the given probability, else what keeps the mean: a tensor of the shape, dtype and device of `like`.

    The probability is rounded to a multiple of 2 ** -16. Takes one number from PyTorch's global generator, as the seed
    of NumPy's fastest one.
    """
    kept = _STEPS - round(probability * _STEPS)
    if kept == 0 or like.numel() == 0:
        return torch.zeros_like(like)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    words = torch.from_numpy(np.random.SFC64(seed).random_raw(-(-like.numel() * _BITS // 64)).view(np.int64))
    # Compared as signed numbers of 16 bits, of which `kept` lie below the bound; where all do, there is no such bound.
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    keep = torch.lt(bits, kept - _STEPS // 2) if kept < _STEPS else torch.ones_like(bits, dtype=torch.bool)
    return keep.to(like.dtype).mul_(_STEPS / kept)


class Dropout(nn.Module):
    """Set elements to zero with a probability in training, and scale the others up; like `torch.nn.Dropout`."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape."""
        if not self.training or self.probability == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.probability)
        return x * dropout_factors(x, self.probability)

    def add(self, residual: Tensor, branch: Tensor) -> Tensor:
        """Return `residual` plus `branch` with elements dropped, in one pass: tensors of one shape."""
        plain = not self.training or self.probability == 0
        if plain or branch.device.type != "cpu" or residual.dtype != branch.dtype:
            return residual + self.forward(branch)
        return torch.addcmul(residual, branch, dropout_factors(branch, self.probability))
