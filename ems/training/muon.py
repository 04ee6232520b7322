"""Muon: matrices move along the orthogonal factor of their momentum, everything else as in AdamW.

Written here because PyTorch's own Muon computes in bfloat16, which CPUs without the instructions emulate (four times
the time of float32 on the one measured), and takes matrices only, so that a run would hold two optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# Coefficients of the quintic iteration, and how often it runs: Jordan et al., "Muon: An optimizer for hidden layers in
# neural networks", 2024. They bring singular values between 0.7 and 1.2 rather than to 1, which is near enough; those
# below a thousandth of the norm grow by 3.4445 ** 5 = 485 only, and stay small.
_COEFFICIENTS = 3.4445, -4.775, 2.0315
_ITERATIONS = 5
# The root mean square of an AdamW update, which an orthogonal one is scaled to, so that one learning rate serves both:
# Liu et al., "Muon is scalable for LLM training", 2025 (arXiv 2502.16982), section 2.2.
_UPDATE_RMS = 0.2


def _by_the_matrix(x: Tensor) -> Tensor:
    """Iterate on X: float (n, m), n <= m."""
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = x @ x.T
        # `a` multiplies X itself: on the diagonal of the square, half precision would round it to a 64th.
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def _factor(square: Tensor) -> Tensor:
    """Return a + b X Xᵀ + c (X Xᵀ)², by which one round multiplies X, for X Xᵀ: float (n, n)."""
    a, b, c = _COEFFICIENTS
    factor = torch.addmm(square, square, square, beta=b, alpha=c)
    factor.diagonal().add_(a)
    return factor


def _by_the_square(x: Tensor) -> Tensor:
    """Iterate on X Xᵀ, with which all factors commute; X, float (n, m), n <= m, is multiplied once."""
    square = x @ x.T
    factor = product = _factor(square)
    for _ in range(_ITERATIONS - 1):
        square = factor @ (square @ factor)
        factor = _factor(square)
        product = factor @ product
    return product @ x


def orthogonal_factor(matrix: Tensor) -> Tensor:
    """Approximate U Vᵀ of the singular value decomposition U S Vᵀ.

    Args:
        matrix: float (rows, columns); a zero matrix stays zero. On a GPU with bfloat16 it is computed in that,
            elsewhere in float32, as that is fastest.

    Returns:
        The same shape and dtype; singular values between about 0.7 and 1.2, but for those that were below a thousandth
        of the norm.
    """
    in_half = matrix.is_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    x = matrix.bfloat16() if in_half else matrix.float()
    x = x / x.norm().clamp_min(1e-7)  # the largest singular value is then at most 1
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    # From a width of 1.5 heights on, fewer operations; half precision would lose small singular values in the square.
    iterate = _by_the_square if not in_half and x.shape[1] > 1.5 * len(x) else _by_the_matrix
    x = iterate(x)
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Move groups marked `orthogonal` by Muon with Nesterov momentum, the others by AdamW.

    State of an orthogonal weight: `momentum`; of another: `step`, `exp_avg`, `exp_avg_sq`.

    Args:
        groups: as for any optimizer, with `weight_decay` and `orthogonal` (bool) each. An orthogonal group may name
            `parts`: matrices whose rows are that many maps one upon the other (query, key and value) are treated
            as so many matrices.
        lr: learning rate of all groups.
        momentum: of the orthogonal groups.
        betas: of the others.
        eps: of the others.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        # `fused` also makes `load_state_dict` put each step count where its weight is, as the fused kernel wants it.
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "parts": 1,
            "amsgrad": False,
            "fused": True,
        }
        super().__init__(list(groups), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change every weight that has a gradient."""
        assert closure is None, "the training loop computes gradients itself"
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if group["orthogonal"]:
                for weight in weights:
                    self._move_orthogonally(weight, group)
            elif weights:
                self._move_as_adamw(weights, group)

    def _move_orthogonally(self, weight: nn.Parameter, group: dict[str, Any]) -> None:
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
        ahead = weight.grad.lerp(momentum, group["momentum"])
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        parts = group["parts"]
        for part, direction in zip(weight.chunk(parts), ahead.chunk(parts), strict=True):
            scale = _UPDATE_RMS * math.sqrt(max(part.shape))
            part.add_(orthogonal_factor(direction), alpha=-group["lr"] * scale)

    def _move_as_adamw(self, weights: list[nn.Parameter], group: dict[str, Any]) -> None:
        for weight in weights:
            if not self.state[weight]:
                zeros = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
                self.state[weight] |= {"step": torch.zeros((), device=weight.device), **zeros}
        states = [self.state[weight] for weight in weights]
        adamw(
            list[Tensor](weights),
            [weight.grad for weight in weights if weight.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
