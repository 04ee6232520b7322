"""Attention within sentences on devices without a variable-length kernel: bucket by bucket, as padded rectangles.

Shape letters: T tokens of all sentences, C cells of a bucket (rows x width), H hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ems.data.packing import Bucket, PackedSentences


def _attend_cells(cells: Tensor, bucket: Bucket, dropout: float) -> Tensor:
    """Attention of one bucket: (C, 3, heads, head size) -> (rows, width, heads, head size)."""
    query, key, value = cells.view(bucket.rows, bucket.width, *cells.shape[1:]).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bucket.real, dropout_p=dropout)
    return mixed.transpose(1, 2)


class _AttendBuckets(torch.autograd.Function):
    """All buckets in one node of the graph, so that each reads and writes its part of the whole in place.

    Left to autograd, every bucket's gradient would be gathered, concatenated and copied once more. Inside, the gradient
    of a bucket is autograd's own.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, sentences: PackedSentences, dropout: float) -> Tensor:
        ctx.sentences, ctx.parts = sentences, []
        result = qkv.new_empty(len(qkv), *qkv.shape[2:])
        start = 0
        for bucket in sentences.buckets_here:
            own = qkv[start : start + bucket.num_tokens]
            into = result[start : start + bucket.num_tokens]
            cells = own if bucket.gather is None else own.index_select(0, bucket.gather)
            if ctx.needs_input_grad[0]:
                cells = cells.detach().requires_grad_()
                with torch.enable_grad():
                    mixed = _attend_cells(cells, bucket, dropout)
                ctx.parts.append((cells, mixed))
            else:
                mixed = _attend_cells(cells, bucket, dropout)
            if bucket.scatter is None:
                into.view(mixed.shape).copy_(mixed.detach())
            else:
                torch.index_select(mixed.detach().flatten(0, 1), 0, bucket.scatter, out=into)
            start += bucket.num_tokens
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        grad_qkv = grad.new_empty(len(grad), 3, *grad.shape[1:])
        start = 0
        parts, ctx.parts = ctx.parts, []
        for bucket, (cells, mixed) in zip(ctx.sentences.buckets_here, parts, strict=True):
            own = grad[start : start + bucket.num_tokens]
            into = grad_qkv[start : start + bucket.num_tokens]
            if bucket.scatter is not None:
                own = own.new_zeros(len(cells), *own.shape[1:]).index_copy_(0, bucket.scatter, own)
            (found,) = torch.autograd.grad(mixed, cells, own.view(mixed.shape))
            if bucket.scatter is None:
                into.copy_(found)
            else:
                # Cells of padding copy the first token, and no gradient reaches them: they are left out, not added.
                torch.index_select(found, 0, bucket.scatter, out=into)
            start += bucket.num_tokens
        return grad_qkv, None, None


def attend_padded(qkv: Tensor, sentences: PackedSentences, dropout: float) -> Tensor:
    """Mix each sentence's tokens.

    Args:
        qkv: float (T, 3, heads, head size), query, key and value of every token in packed order.
        sentences: whose buckets cover the T tokens.
        dropout: probability on attention weights.

    Returns:
        (T, H), heads side by side.
    """
    mixed: Tensor = _AttendBuckets.apply(qkv, sentences, dropout)
    return mixed.flatten(1)
