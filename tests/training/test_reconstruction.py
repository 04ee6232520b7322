"""The reconstruction loss in runs of rows is that of all rows at once, and never holds all logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ems.objectives import TokenTargets, token_targets, xtr_loss
from ems.training import reconstruction
from ems.training.reconstruction import reconstruction_loss

ROWS, WIDTH, VOCABULARY = 11, 6, 40


def setting(dtype: torch.dtype) -> tuple[nn.Linear, Tensor, TokenTargets]:
    torch.manual_seed(0)
    output = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=dtype)
    hidden = torch.randn(ROWS, WIDTH, dtype=dtype, requires_grad=True)
    lengths = torch.randint(1, 9, (ROWS,))
    tokens = torch.randint(0, VOCABULARY, (int(lengths.sum()),))
    return output, hidden, token_targets(tokens.numpy(), lengths.numpy(), kind="counts")


def value_and_gradients(loss: Tensor, output: nn.Linear, hidden: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, [hidden, output.weight])]


def by_runs(output: nn.Linear, hidden: Tensor, targets: TokenTargets) -> Tensor:
    return reconstruction_loss(output, hidden, targets, vocab_size=VOCABULARY, normalizer=3)


@pytest.mark.parametrize("rows", [1, 2, 5, ROWS])
def test_runs_have_the_value_and_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    output, hidden, targets = setting(torch.float64)
    whole = value_and_gradients(xtr_loss(output(hidden), targets, normalizer=3), output, hidden)
    monkeypatch.setattr(reconstruction, "LOGITS_AT_ONCE", rows * VOCABULARY + VOCABULARY // 2)
    for ours, theirs in zip(value_and_gradients(by_runs(output, hidden, targets), output, hidden), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_a_vocabulary_above_the_limit_is_still_one_row_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    output, hidden, targets = setting(torch.float64)
    whole = xtr_loss(output(hidden), targets, normalizer=3)
    monkeypatch.setattr(reconstruction, "LOGITS_AT_ONCE", VOCABULARY // 2)
    torch.testing.assert_close(by_runs(output, hidden, targets), whole, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("rows", "largest"), [(2, 2), (ROWS, ROWS)])
def test_no_more_logits_are_computed_at_once_than_allowed(
    monkeypatch: pytest.MonkeyPatch, rows: int, largest: int
) -> None:
    output, hidden, targets = setting(torch.float32)
    monkeypatch.setattr(reconstruction, "LOGITS_AT_ONCE", rows * VOCABULARY)
    seen: list[int] = []

    def logits_of(part: Tensor) -> Tensor:
        seen.append(len(part))
        return output(part)  # type: ignore[no-any-return]

    kept: list[int] = []

    def keep(tensor: Tensor) -> Any:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = reconstruction_loss(logits_of, hidden, targets, vocab_size=VOCABULARY, normalizer=3)
    assert max(seen) == largest
    # Between forward and backward pass all logits are kept only where they all fit.
    assert (max(kept) == ROWS * VOCABULARY) == (rows == ROWS)
    loss.backward()
    assert max(seen) == largest
    assert sum(seen) == (ROWS if rows == ROWS else 2 * ROWS)
