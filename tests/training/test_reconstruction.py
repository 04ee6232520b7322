"""The reconstruction loss from hidden rows is that of their logits, in any number of runs."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ems.objectives import TokenTargets, token_targets, xtr_loss
from ems.training import reconstruction
from ems.training.reconstruction import reconstruction_loss

ROWS, WIDTH, VOCABULARY = 11, 6, 40


def setting(dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor, TokenTargets]:
    torch.manual_seed(seed)
    hidden, output = (torch.randn(n, WIDTH, dtype=dtype, requires_grad=True) for n in (ROWS, VOCABULARY))
    lengths = torch.randint(1, 9, (ROWS,))
    tokens = torch.randint(0, VOCABULARY, (int(lengths.sum()),))
    return hidden, output, token_targets(tokens.numpy(), lengths.numpy(), kind="counts")


def allow(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(reconstruction, "LOGITS_AT_ONCE", rows * VOCABULARY + VOCABULARY // 2)


@pytest.mark.parametrize("rows", [0, 1, 2, 5, ROWS])
@pytest.mark.parametrize("scale", [1.0, 0.3, torch.tensor(128.0)])
@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradients_are_those_of_the_loss_of_all_logits(
    monkeypatch: pytest.MonkeyPatch, rows: int, scale: float | Tensor, seed: int
) -> None:
    hidden, output, targets = setting(seed=seed)
    expected = xtr_loss(hidden @ output.T, targets, normalizer=3)
    allow(monkeypatch, rows)
    ours = reconstruction_loss(hidden, output, targets, normalizer=3, scale=scale)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    # Whatever was announced, what the loss is multiplied by in the end counts.
    for found, wanted in zip(
        torch.autograd.grad(0.7 * ours, [hidden, output]),
        torch.autograd.grad(0.7 * expected, [hidden, output]),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-13)


def test_a_scale_too_small_for_float32_gives_gradients_of_zero() -> None:
    hidden, output, targets = setting(torch.float32)
    loss = 1e-50 * reconstruction_loss(hidden, output, targets, normalizer=1, scale=1e-50)
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, [hidden, output]))


@pytest.mark.parametrize("rows", [3, ROWS])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_products_in_half_precision_stay_close_and_give_gradients_in_float32(
    monkeypatch: pytest.MonkeyPatch, rows: int, dtype: torch.dtype
) -> None:
    hidden, output, targets = setting(torch.float32)
    expected = xtr_loss(hidden @ output.T, targets)
    allow(monkeypatch, rows)
    ours = reconstruction_loss(hidden, output, targets, normalizer=ROWS, scale=1024.0, dtype=dtype)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=2e-2, atol=0)
    for found, wanted in zip(
        torch.autograd.grad(1024.0 * ours, [hidden, output]),
        torch.autograd.grad(1024.0 * expected, [hidden, output]),
        strict=True,
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.02 * float(wanted.abs().max()))


def test_small_gradients_survive_in_float16_when_their_scale_is_announced() -> None:
    """A token that nobody wrote has a gradient of about 1 / vocabulary / rows, below what float16 can hold."""
    output = torch.zeros(4000, 2, requires_grad=True)
    hidden = torch.ones(ROWS, 2, requires_grad=True)
    targets = token_targets(torch.zeros(ROWS, dtype=torch.int64).numpy(), torch.ones(ROWS).long().numpy(), kind="set")
    (lost,), (kept,) = (
        torch.autograd.grad(
            4096.0 * reconstruction_loss(hidden, output, targets, normalizer=1e4, scale=scale, dtype=torch.float16),
            [output],
        )
        for scale in (1.0, 4096.0)
    )
    wanted = 4096.0 * ROWS / 4000 / 1e4
    assert lost[1:].abs().max() < 0.5 * wanted
    torch.testing.assert_close(kept[1:], torch.full_like(kept[1:], wanted), rtol=1e-2, atol=0)


@pytest.mark.parametrize("rows", [2, ROWS])
def test_no_more_logits_than_allowed_are_kept_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    hidden, output, targets = setting(torch.float32)
    allow(monkeypatch, rows)
    kept: list[torch.Size] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        reconstruction_loss(hidden, output, targets, normalizer=1)
    assert ((ROWS, VOCABULARY) in kept) == (rows == ROWS)
    assert (VOCABULARY, WIDTH) in kept


class _LargestLogits(TorchDispatchMode):
    """Watch how many rows of logits products give, and how many matrices of that shape are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.alive, self.most = 0, 0, 0

    def _died(self) -> None:
        self.alive -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        fresh = isinstance(result, Tensor) and func in (torch.ops.aten.mm.default, torch.ops.aten._to_copy.default)
        if fresh and result.dim() == 2 and result.shape[1] == VOCABULARY:
            self.rows = max(self.rows, len(result))
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(result.untyped_storage(), self._died)
        return result


@pytest.mark.parametrize(("dtype", "matrices"), [(None, 1), (torch.bfloat16, 2)])
def test_one_run_of_logits_is_alive_at_a_time(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype | None, matrices: int
) -> None:
    hidden, output, targets = setting(torch.float32)
    allow(monkeypatch, 2)
    with _LargestLogits() as watch:
        reconstruction_loss(hidden, output, targets, normalizer=1, dtype=dtype).backward()
    assert watch.rows == 2
    assert watch.most <= matrices
