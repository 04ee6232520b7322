"""Rotary positions: queries and keys are turned by angles that grow with their position (Su et al., 2021, RoFormer).

As ModernBERT has them: the first half of a head's values is turned against the second. Products of a query and a key
depend on the distance of their positions only. Shape letters: T tokens of all sentences, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

THETA = 10_000.0


@dataclass(frozen=True)
class Rotation:
    """Cosine and sine of every token's angles: float32 (T, 1, D / 2) each."""

    cosine: Tensor
    sine: Tensor


def rotation_of(position_ids: Tensor, head_size: int) -> Rotation:
    """Compute the angles of positions, int64 (T,), for heads of an even size D."""
    exponents = torch.arange(0, head_size, 2, device=position_ids.device, dtype=torch.float32) / head_size
    angles = position_ids[:, None].float() / THETA**exponents
    return Rotation(angles.cos()[:, None], angles.sin()[:, None])


def rotate(qkv: Tensor, rotation: Rotation) -> Tensor:
    """Turn queries and keys, in float32 at least, and leave values: (T, 3, heads, D) -> (T, 3, heads, D)."""
    turned, values = qkv[:, :2], qkv[:, 2:]
    wide = turned if turned.dtype == torch.float64 else turned.float()
    first, second = wide.chunk(2, dim=-1)
    cosine, sine = rotation.cosine[:, None], rotation.sine[:, None]
    both = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return torch.cat([both.to(qkv.dtype), values], dim=1)
