"""Dropout keeps the mean, drops the share it was asked for, and repeats for a seed."""

from __future__ import annotations

import math

import pytest
import torch

from ems.model.dropout import Dropout, dropout_factors

COUNT = 1_000_000


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_share_asked_for_is_dropped_and_the_mean_kept(probability):
    factors = dropout_factors(torch.empty(1000, 1000), probability)
    dropped = (factors == 0).double().mean().item()
    # Five standard deviations of a share of a million draws, and the rounding to 1 in 65,536.
    assert dropped == pytest.approx(probability, abs=5 * math.sqrt(probability * (1 - probability) / COUNT) + 2**-16)
    assert len(factors.unique()) == (1 if probability in (0.0, 1.0) else 2)
    assert (factors.mean() * (1 if probability < 1 else 0)).item() == pytest.approx(float(probability < 1), abs=0.02)


def test_elements_are_dropped_independently_of_their_neighbours():
    dropped = (dropout_factors(torch.empty(1000, 1000), 0.3) == 0).double()
    for shift in (1, 2, 3, 4, 1000):
        flat = dropped.flatten()
        together = (flat[shift:] * flat[:-shift]).mean().item()
        assert together == pytest.approx(0.09, abs=5 * math.sqrt(0.09 * 0.91 / COUNT))


def test_a_seed_gives_the_same_draw_and_the_next_draw_differs():
    torch.manual_seed(3)
    first, second = (dropout_factors(torch.empty(7, 33), 0.5) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(dropout_factors(torch.empty(7, 33), 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 0), (2, 3, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_and_dtype(shape, dtype):
    factors = dropout_factors(torch.empty(shape, dtype=dtype), 0.25)
    assert (factors.shape, factors.dtype) == (torch.Size(shape), dtype)


def test_gradients_pass_where_values_pass():
    torch.manual_seed(0)
    dropout = Dropout(0.5).train()
    residual, branch = (torch.randn(40, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    added = dropout.add(residual, branch)
    passed = added - residual != 0
    added.sum().backward()
    assert torch.equal(residual.grad, torch.ones_like(residual))
    assert torch.equal(branch.grad, 2.0 * passed)
    torch.testing.assert_close((added - residual)[passed], 2 * branch[passed])


@pytest.mark.parametrize("dropout", [Dropout(0.5).eval(), Dropout(0.0).train()])
def test_without_training_or_probability_nothing_is_dropped_or_drawn(dropout):
    x, residual = torch.randn(5, 5), torch.randn(5, 5)
    before = torch.random.get_rng_state()
    assert torch.equal(dropout(x), x)
    assert torch.equal(dropout.add(residual, x), residual + x)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_branch_in_half_precision_is_added_in_the_precision_of_the_residual():
    added = Dropout(0.5).train().add(torch.randn(4, 4), torch.randn(4, 4).bfloat16())
    assert added.dtype == torch.float32
