"""Learning rates of every step, and which weights decay."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from ems.config import TrainingConfig
from ems.model.dual_encoder import DualEncoder, HeadSizes
from ems.model.encoder import EncoderSizes
from ems.training.optim import learning_rate_factor, make_optimizer, set_learning_rate


def training(**values: Any) -> TrainingConfig:
    return TrainingConfig(**{"max_steps": 100, **values})


def factors(schedule: str, *, warmup: int, steps: int) -> list[float]:
    return [
        learning_rate_factor(step, warmup_steps=warmup, max_steps=steps, schedule=schedule) for step in range(steps + 1)
    ]


def test_constant_schedule_warms_up_and_stays() -> None:
    wanted = [
        0.25,  # (0 + 1) / 4
        0.5,
        0.75,
        1.0,  # step warmup_steps - 1 is the first at the full rate
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
    ]
    assert factors("constant", warmup=4, steps=8) == wanted


def test_linear_schedule_falls_from_the_end_of_the_warm_up_to_zero() -> None:
    wanted = [
        0.5,  # (0 + 1) / 2
        1.0,  # last step of the warm-up
        1.0,  # (6 - 2) / (6 - 2)
        0.75,
        0.5,
        0.25,  # last step that is taken
        0.0,  # max_steps: never taken
    ]
    assert factors("linear", warmup=2, steps=6) == pytest.approx(wanted, abs=1e-15)


def test_cosine_schedule_multiplies_the_warm_up_with_half_a_cosine_over_all_steps() -> None:
    root = math.sqrt(0.5)
    wanted = [
        0.5,  # 1/2 of the warm-up, cosine at its top
        0.5 * (1 + root),  # warm-up over, cosine at 1/4 of the way
        0.5,  # half way
        0.5 * (1 - root),
        0.0,  # max_steps: never taken
    ]
    assert factors("cosine", warmup=2, steps=4) == pytest.approx(wanted, abs=1e-15)


def test_wsd_schedule_stays_and_falls_to_zero_over_the_last_two_fifths() -> None:
    wanted = [
        0.5,  # (0 + 1) / 2
        1.0,  # last step of the warm-up
        *[1.0] * 5,  # stable up to step 6 of 10
        0.75,  # (10 - 7) / 4
        0.5,
        0.25,  # last step that is taken
        0.0,  # max_steps: never taken
    ]
    assert factors("wsd", warmup=2, steps=10) == pytest.approx(wanted, abs=1e-15)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 7, 50, 200])
def test_every_step_that_is_taken_has_a_factor_above_zero_and_at_most_one(schedule: str, warmup: int) -> None:
    taken = factors(schedule, warmup=warmup, steps=50)[:-1]
    assert all(0 < factor <= 1 for factor in taken)
    if warmup == 0:
        assert taken[0] == 1


def test_the_rate_reaches_every_group() -> None:
    config = training(learning_rate=0.01, warmup_steps=4, schedule="constant")
    optimizer = make_optimizer(nn.Linear(2, 2), config)
    assert set_learning_rate(optimizer, 0, config) == 0.0025
    assert [group["lr"] for group in optimizer.param_groups] == [0.0025, 0.0025]
    assert set_learning_rate(optimizer, 50, config) == 0.01


def test_with_muon_what_adamw_moves_may_have_a_rate_of_its_own() -> None:
    model = DualEncoder(EncoderSizes(30, 1, 8, 2, 16, 6), HeadSizes(3, 4, 5))
    config = training(optimizer="muon", learning_rate=0.01, table_learning_rate=0.05, warmup_steps=4, schedule="linear")
    optimizer = make_optimizer(model, config)
    assert set_learning_rate(optimizer, 0, config) == 0.0025
    assert {(group["orthogonal"], group["lr"]) for group in optimizer.param_groups} == {(True, 0.0025), (False, 0.0125)}


def test_a_rate_of_tables_without_muon_is_refused() -> None:
    with pytest.raises(ValueError, match="table_learning_rate is for optimizer 'muon', not 'adamw'"):
        training(table_learning_rate=0.1)


@pytest.mark.parametrize("tied", [False, True])
def test_adamw_decays_matrices_of_linear_layers_only(tied: bool) -> None:
    model = DualEncoder(EncoderSizes(30, 1, 8, 2, 16, 6), HeadSizes(3, 4, 5, tied_output=tied))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, training(optimizer="adamw", learning_rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if tied:
        linear -= {"reconstruction.output.weight"}  # it is the token embedding
    assert len(linear) == (7 if tied else 8)
    for name, parameter in model.named_parameters():
        wanted = before[name] * (1 - 0.1 * 0.5) if name in linear else before[name]
        assert torch.allclose(parameter, wanted, rtol=1e-6), name


@pytest.mark.parametrize("kind", ["adam", "adamw", "muon"])
def test_every_weight_is_given_to_the_optimizer_once(kind: str) -> None:
    model = DualEncoder(EncoderSizes(30, 2, 8, 2, 16, 6), HeadSizes(3, 4, 5, tied_output=True))
    groups = make_optimizer(model, training(optimizer=kind)).param_groups
    given = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(given) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_three_steps_follow_the_formula(kind: str, amsgrad: bool) -> None:
    rate, decay, beta1, beta2, epsilon = 0.1, 0.2, 0.9, 0.999, 1e-8
    layer = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.fill_(1.5)
    config = training(optimizer=kind, learning_rate=rate, weight_decay=decay, amsgrad=amsgrad)
    optimizer = make_optimizer(layer, config)
    weight, first, second, largest = 1.5, 0.0, 0.0, 0.0
    for step, gradient in enumerate([2.0, -0.5, 0.25], start=1):
        layer.weight.grad = torch.full_like(layer.weight, gradient)
        optimizer.step()
        if kind == "adam":
            gradient = gradient + decay * weight  # L2: part of the gradient
        else:
            weight = weight - rate * decay * weight  # decoupled
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        largest = max(largest, second)
        root = math.sqrt((largest if amsgrad else second) / (1 - beta2**step))
        weight = weight - rate * (first / (1 - beta1**step)) / (root + epsilon)
        assert layer.weight.item() == pytest.approx(weight, rel=1e-12)
