"""The reconstruction loss from what the output matrix reads: logits become their own gradient in place.

`ems.objectives.xtr_loss` is the same loss of given logits. Here the logits of some rows at a time are computed, reduced
to their part of the loss and overwritten by its gradient, which the two products of the backward pass then read; so
neither the logits of all rows nor a copy of them are ever in memory.

Shape letters: B rows, W width of the output matrix, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ems.objectives import TokenTargets

LOGITS_AT_ONCE = 1 << 26  # values: 256 MB in float32, and half of that again for products in half precision


def _consume(logits_BV: Tensor, targets: TokenTargets, factor: Tensor) -> Tensor:
    """Return the loss of some rows and turn their logits z into its gradient, times `factor`.

    The loss is `Σ q log q - Σ q z + Σ_rows (Σ q) logsumexp(z)`, its gradient `(Σ q) softmax(z) - q`.
    """
    rows, tokens, weights = targets.rows, targets.tokens, targets.weights.to(logits_BV.dtype)
    # Rows are ascending, so this is a segment sum; index_add_ walks the entries in order on the CPU.
    mass = logits_BV.new_zeros(len(logits_BV)).index_add_(0, rows, weights)
    picked = logits_BV[rows, tokens]
    largest = logits_BV.amax(dim=1)
    exponentials = logits_BV.sub_(largest[:, None]).exp_()
    sums = exponentials.sum(dim=1)
    exponentials.mul_((factor * mass / sums)[:, None])
    # Every (row, token) occurs once, so nothing is accumulated and the result does not depend on thread order.
    exponentials[rows, tokens] -= factor * weights
    return (weights * (weights.log() - picked)).sum() + mass @ (largest + sums.log())


def _run_of_rows(
    hidden: Tensor, output: Tensor, targets: TokenTargets, factor: Tensor, into: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss of some rows and its gradient to them; add that of the output matrix to `into`."""
    logits = (hidden @ output.T).to(factor.dtype)
    loss = _consume(logits, targets, factor)
    gradient = logits.to(hidden.dtype)
    del logits
    if into.dtype == gradient.dtype:
        into.addmm_(gradient.T, hidden)
    else:
        into += gradient.T @ hidden
    return loss, gradient @ output


class _ReconstructionLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_BW: Tensor,
        output_VW: Tensor,
        targets: TokenTargets,
        announced: float | Tensor,
        dtype: torch.dtype | None,
    ) -> Tensor:
        accumulate = torch.float64 if hidden_BW.dtype == torch.float64 else torch.float32
        factor = torch.as_tensor(announced, dtype=accumulate, device=hidden_BW.device)
        hidden, output = (tensor.to(dtype or tensor.dtype) for tensor in (hidden_BW, output_VW))
        at_once = max(1, LOGITS_AT_ONCE // len(output))
        ctx.whole, ctx.dtypes = len(hidden) <= at_once, (hidden_BW.dtype, output_VW.dtype)
        if ctx.whole:
            logits = (hidden @ output.T).to(accumulate)
            loss = _consume(logits, targets, factor)
            ctx.save_for_backward(logits.to(hidden.dtype), hidden, output, factor)
            return loss
        to_output = torch.zeros_like(output_VW)
        runs = zip(hidden.split(at_once), targets.split(len(hidden), at_once), strict=True)
        found = [_run_of_rows(rows, output, part, factor, to_output) for rows, part in runs]
        losses, to_hidden = zip(*found, strict=True)
        ctx.save_for_backward(torch.cat(to_hidden), to_output, factor)
        return torch.stack(losses).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        *saved, factor = ctx.saved_tensors
        # Of what the result was multiplied by: 1 if all of it was announced, 0 if that is too small to be told from 0.
        remaining = torch.where(factor == 0, 0, grads[0] / factor)
        if ctx.whole:
            gradient, hidden, output = saved
            # It goes to the small sides of both products.
            to_hidden = (gradient @ output) * remaining
            to_output = gradient.T @ (hidden * remaining.to(hidden.dtype))
        else:
            to_hidden, to_output = (tensor.mul_(remaining) for tensor in saved)  # nobody else reads them
        of_hidden, of_output = ctx.dtypes
        return to_hidden.to(of_hidden), to_output.to(of_output), None, None, None


def reconstruction_loss(
    hidden_BW: Tensor,
    output_VW: Tensor,
    targets: TokenTargets,
    *,
    normalizer: float,
    scale: float | Tensor = 1.0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Compute `xtr_loss` of the logits `hidden_BW @ output_VW.T`.

    Args:
        hidden_BW: float (B, W), what the output matrix reads.
        output_VW: float (V, W), the output matrix.
        targets: sparse distributions of the same B rows.
        normalizer: what the sum over rows is divided by.
        scale: what the caller will multiply the result by before the backward pass, if known; not 0. Gradients are
            right whatever it is, but in float16 those of single logits would be too small to be told from 0.
        dtype: of the matrix products; None for the tensors' own. Logits are float32 (float64 for float64 input).

    Returns:
        Scalar in nats, float32 (float64 for float64 input); gradients flow to both tensors, once.
    """
    total: Tensor = _ReconstructionLoss.apply(hidden_BW, output_VW, targets, scale / normalizer, dtype)
    return total / normalizer
