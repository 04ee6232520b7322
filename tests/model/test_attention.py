"""Attention by buckets equals attention sentence by sentence, in value and gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ems.data.packing import pack
from ems.model.attention import attend_padded

LENGTHS = {
    "one length": [5] * 6,
    "all different": list(range(1, 30)),
    "single tokens": [1, 1, 1],
    "one sentence": [7],
    "far apart": [1, 2, 2, 90, 91, 3],
}


def one_by_one(qkv, lengths):
    """Read the formula: softmax(q k / sqrt(size)) v, for each sentence and head."""
    mixed, start = [], 0
    for length in lengths:
        query, key, value = qkv[start : start + length].unbind(1)
        scores = torch.einsum("ihd,jhd->hij", query, key) / math.sqrt(qkv.shape[3])
        mixed.append(torch.einsum("hij,jhd->ihd", torch.softmax(scores, dim=2), value).flatten(1))
        start += length
    return torch.cat(mixed)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_value_and_gradient_equal_those_of_the_formula(lengths, dtype, tolerance):
    sentences = pack(np.zeros(sum(lengths), dtype=np.int64), np.array(lengths))
    qkv = torch.randn(sum(lengths), 3, 2, 8, dtype=torch.float64)
    upstream = torch.randn(sum(lengths), 16, dtype=torch.float64)
    exact = qkv.clone().requires_grad_()
    expected = one_by_one(exact, sentences.lengths.tolist())
    expected.backward(upstream)
    ours = qkv.to(dtype).requires_grad_()
    mixed = attend_padded(ours, sentences, 0.0)
    mixed.backward(upstream.to(dtype))
    torch.testing.assert_close(mixed.double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


def test_without_a_gradient_the_value_is_the_same():
    lengths = [3, 9, 9, 40]
    sentences = pack(np.zeros(61, dtype=np.int64), np.array(lengths))
    qkv = torch.randn(61, 3, 2, 8)
    with torch.inference_mode():
        inferred = attend_padded(qkv, sentences, 0.0)
    assert torch.equal(inferred, attend_padded(qkv.requires_grad_(), sentences, 0.0))


def test_dropout_of_weights_repeats_for_a_seed_and_reaches_the_gradient():
    sentences = pack(np.zeros(12, dtype=np.int64), np.array([4, 8]))
    qkv = torch.randn(12, 3, 2, 8, requires_grad=True)

    def run(seed):
        torch.manual_seed(seed)
        mixed = attend_padded(qkv, sentences, 0.5)
        return mixed, torch.autograd.grad(mixed.square().sum(), qkv)[0]

    (first, first_gradient), (again, again_gradient), (other, _) = run(1), run(1), run(2)
    assert torch.equal(first, again)
    assert torch.equal(first_gradient, again_gradient)
    assert not torch.equal(first, other)
