"""Linear layers in 8 bits, for encoding on CPUs that multiply such numbers several times as fast.

Weights are rounded once, with a scale for each output; activations are rounded as they come, one scale for each token.
Products are added up exactly in 32 bits. Nothing is calibrated, and no text is needed.

Shape letters: T tokens, I inputs, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ems.model.encoder import Encoder
from ems.model.layers import Layer
from ems.model.modern import ModernLayer

_LARGEST = 127
_TINY = 1e-30  # scale of a row of zeros


def has_int8_instructions() -> bool:
    """Say whether this CPU multiplies 8-bit numbers faster than floating-point ones (AVX-512 VNNI)."""
    return bool(torch.cpu._is_vnni_supported())


def _round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Round float (N, K) to int8 with one scale a row, (N, 1): `rows` is about `rounded * scale`."""
    scale = (rows.abs().amax(dim=1, keepdim=True) / _LARGEST).clamp_min(_TINY)
    return (rows / scale).round_().to(torch.int8), scale


class Int8Linear(nn.Module):
    """A linear layer whose matrix product is one of 8-bit numbers.

    Args:
        linear: float32 or float64; is not changed.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        rounded, scale = _round_rows(linear.weight.detach().float())
        self.register_buffer("weight", rounded.T.contiguous())  # (I, O), as the product reads it
        self.register_buffer("scale", scale.flatten())
        bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 (T, I) to float32 (T, O)."""
        rounded, scale = _round_rows(x)
        product = torch._int_mm(rounded, self.weight).to(torch.float32)
        return torch.addcmul(self.bias, product.mul_(scale), self.scale)


@torch.no_grad()
def round_to_int8(encoder: Encoder) -> Encoder:
    """Replace the linear layers of an encoder by 8-bit ones, in place; it can no longer be trained or saved.

    Returns:
        The same encoder, with the rest in float32.
    """
    encoder.float().eval()
    for layer in encoder.layers:
        assert isinstance(layer, (Layer, ModernLayer))
        for owner, name in ((layer.attention, "qkv"), (layer.attention, "output"), (layer, "up"), (layer, "down")):
            setattr(owner, name, Int8Linear(getattr(owner, name)))
    return encoder


def is_in_8_bits(encoder: Encoder) -> bool:
    """Say whether `round_to_int8` changed this encoder."""
    return any(isinstance(module, Int8Linear) for module in encoder.modules())
