"""Muon: its orthogonal factor, three steps against the formula, and which weights it moves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ems.config import TrainingConfig
from ems.model.dual_encoder import DualEncoder, HeadSizes
from ems.model.encoder import EncoderSizes
from ems.training.muon import Muon, _by_the_matrix, orthogonal_factor
from ems.training.optim import make_optimizer


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5), (1, 7)])
def test_the_factor_has_the_singular_vectors_of_the_matrix_and_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    factor = orthogonal_factor(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    in_its_basis = left.T @ factor @ right.T
    values = in_its_basis.diagonal()
    assert torch.allclose(in_its_basis, values.diag(), atol=1e-5)
    assert 0.6 < values.min() <= values.max() < 1.25
    assert factor.dtype == matrix.dtype


def test_the_factor_does_not_depend_on_the_scale_and_zero_stays_zero() -> None:
    matrix = random(6, 4)
    assert torch.allclose(orthogonal_factor(1e3 * matrix), orthogonal_factor(matrix), rtol=1e-5, atol=1e-6)
    assert torch.equal(orthogonal_factor(torch.zeros(3, 2)), torch.zeros(3, 2))


def slow_factor(matrix: Tensor) -> Tensor:
    """Run the quintic iteration on the singular values alone, in float64."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / matrix.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    return left @ values.diag() @ right


@pytest.mark.parametrize("shape", [(24, 24), (24, 30), (24, 60), (60, 24), (256, 1408)])
def test_the_factor_is_that_of_the_iteration_however_the_matrix_is_shaped_or_conditioned(
    shape: tuple[int, int],
) -> None:
    matrix = random(*shape) * torch.logspace(0, -5, shape[1], dtype=torch.float64)
    assert torch.allclose(orthogonal_factor(matrix), slow_factor(matrix), atol=2e-4)


def test_half_precision_costs_the_iteration_on_the_matrix_two_percent_at_most() -> None:
    matrix = random(96, 96)
    found = _by_the_matrix((matrix / matrix.norm()).bfloat16()).double()
    wanted = slow_factor(matrix)
    assert (found - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize("parts", [1, 3])
def test_three_steps_follow_the_formula(parts: int) -> None:
    rate, decay, momentum = 0.1, 0.2, 0.95
    weight = nn.Parameter(random(6, 4))
    optimizer = Muon(
        [{"params": [weight], "weight_decay": decay, "orthogonal": True, "parts": parts}], lr=rate, momentum=momentum
    )
    wanted, average = weight.detach().clone(), torch.zeros(6, 4, dtype=torch.float64)
    for step in range(3):
        gradient = random(6, 4, seed=10 + step)
        weight.grad = gradient.clone()
        optimizer.step()
        average = momentum * average + (1 - momentum) * gradient
        direction = (1 - momentum) * gradient + momentum * average  # Nesterov
        wanted = wanted * (1 - rate * decay)
        updates = [slow_factor(part) * 0.2 * math.sqrt(max(part.shape)) for part in direction.split(6 // parts)]
        wanted = wanted - rate * torch.cat(updates)
        assert torch.allclose(weight, wanted, rtol=1e-5, atol=1e-6)


def test_the_other_weights_take_the_steps_of_adamw() -> None:
    ours, theirs = nn.Parameter(random(5)), nn.Parameter(random(5))
    muon = Muon([{"params": [ours], "weight_decay": 0.1, "orthogonal": False}], lr=0.01)
    adamw = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for step in range(3):
        ours.grad, theirs.grad = random(5, seed=step), random(5, seed=step)
        muon.step()
        adamw.step()
        assert torch.allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_matrices_between_hidden_layers_are_orthogonalised_and_tables_are_not(tied: bool) -> None:
    model = DualEncoder(EncoderSizes(30, 2, 8, 2, 16, 6), HeadSizes(3, 4, 5, tied_output=tied))
    optimizer = make_optimizer(model, TrainingConfig(max_steps=10, optimizer="muon"))
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        table = name.startswith(("encoder.embeddings.", "language.table", "reconstruction.output"))
        assert of[id(parameter)]["orthogonal"] == (parameter.dim() == 2 and not table), name
        assert of[id(parameter)]["parts"] == (3 if name.endswith("qkv.weight") else 1), name


def test_a_weight_without_a_gradient_does_not_move() -> None:
    matrix, vector = nn.Parameter(random(2, 2)), nn.Parameter(random(2))
    before = matrix.detach().clone(), vector.detach().clone()
    groups = [
        {"params": [matrix], "weight_decay": 0.1, "orthogonal": True},
        {"params": [vector], "weight_decay": 0.1, "orthogonal": False},
    ]
    Muon(groups, lr=0.1).step()
    assert torch.equal(matrix, before[0])
    assert torch.equal(vector, before[1])


def test_a_restored_step_count_lies_where_its_weight_does_as_the_fused_kernel_wants_it() -> None:
    def fresh(device: str) -> Muon:
        weight = nn.Parameter(torch.ones(3, device=device))
        return Muon([{"params": [weight], "weight_decay": 0.0, "orthogonal": False}], lr=0.1)

    here = fresh("cpu")
    (weight,) = here.param_groups[0]["params"]
    weight.grad = torch.ones(3)
    here.step()
    elsewhere = fresh("meta")  # stands for a GPU
    elsewhere.load_state_dict(here.state_dict())
    (state,) = elsewhere.state.values()
    assert {name: value.device.type for name, value in state.items()} == dict.fromkeys(state, "meta")
