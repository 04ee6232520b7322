"""Both losses against a slow reading of their formulas, in value and gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ems.objectives import (
    TargetKind,
    TokenTargets,
    contrastive_loss,
    distillation_loss,
    duplicate_mask,
    token_targets,
    total_loss,
    xtr_loss,
)

VOCAB = 11
KINDS: tuple[TargetKind, ...] = ("counts", "set")
SENTENCES = [[3, 7, 3, 3], [5], [0, 10, 4], [9, 9], [1, 2, 3, 4, 5, 6]]
sentences = st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9), min_size=1, max_size=6)


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * scale


def sparse(rows: list[list[int]], kind: TargetKind) -> TokenTargets:
    tokens = np.array([token for row in rows for token in row], dtype=np.int32)
    return token_targets(tokens, np.array([len(row) for row in rows]), kind=kind, dtype=np.float64)


def dense(rows: list[list[int]], kind: TargetKind) -> Tensor:
    """Read the definition of the target: one row, one token at a time."""
    target = torch.zeros(len(rows), VOCAB, dtype=torch.float64)
    for row, tokens in enumerate(rows):
        for token in tokens:
            if kind == "counts":
                target[row, token] += 1 / len(tokens)
            else:
                target[row, token] = 1 / len(tokens)
    return target


def slow_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Sum q (log q - log p) over rows and tokens, p from a plain softmax."""
    total = torch.zeros((), dtype=torch.float64)
    for row in range(len(logits)):
        exponentials = (logits[row] - logits[row].detach().max()).exp()
        for token in range(VOCAB):
            q = float(target[row, token])
            if q > 0:
                total = total + q * (math.log(q) - (exponentials[token] / exponentials.sum()).log())
    return total


def slow_contrast(source: Tensor, translation: Tensor, temperature: float, left_out: Tensor | None = None) -> Tensor:
    """Mean of -log of the softmax share of the right partner, one pair and one direction at a time."""

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b) / (a.norm().clamp_min(1e-8) * b.norm().clamp_min(1e-8))

    terms = []
    for anchors, others in ((source, translation), (translation, source)):
        for i in range(len(anchors)):
            columns = [j for j in range(len(others)) if left_out is None or j == i or not left_out[i, j]]
            scores = {j: cosine(anchors[i], others[j]) / temperature for j in columns}
            terms.append(torch.stack(list(scores.values())).logsumexp(0) - scores[i])
    return torch.stack(terms).mean()


def gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, leaves))


def test_targets_of_a_sentence_worked_out_by_hand() -> None:
    counts, distinct = sparse([[3, 7, 3, 3], [5]], "counts"), sparse([[3, 7, 3, 3], [5]], "set")
    assert counts.rows.tolist() == [0, 0, 1]
    assert counts.tokens.tolist() == [3, 7, 5]
    assert counts.weights.tolist() == [0.75, 0.25, 1.0]
    assert distinct.weights.tolist() == [0.25, 0.25, 1.0]
    assert (counts.rows.dtype, counts.tokens.dtype) == (torch.int64, torch.int64)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(rows=sentences)
def test_sparse_targets_hold_what_the_dense_ones_hold(kind: TargetKind, rows: list[list[int]]) -> None:
    targets, wanted = sparse(rows, kind), dense(rows, kind)
    rebuilt = torch.zeros_like(wanted)
    rebuilt[targets.rows, targets.tokens] = targets.weights
    assert torch.allclose(rebuilt, wanted, rtol=1e-14, atol=0)
    assert len(targets.rows) == int((wanted > 0).sum())  # no entry twice
    assert torch.equal(targets.rows, targets.rows.sort().values)


def test_target_weights_are_float32_unless_told_otherwise() -> None:
    assert token_targets(np.array([1, 2]), np.array([2]), kind="counts").weights.dtype == torch.float32


def test_an_unknown_kind_of_target_is_refused() -> None:
    with pytest.raises(ValueError, match="'counts' or 'set', not 'sets'"):
        token_targets(np.array([1]), np.array([1]), kind="sets")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(rows=sentences, seed=st.integers(0, 1000))
def test_xtr_loss_and_gradient_equal_the_dense_divergence(kind: TargetKind, rows: list[list[int]], seed: int) -> None:
    logits = random(len(rows), VOCAB, seed=seed, scale=3).requires_grad_()
    fast = xtr_loss(logits, sparse(rows, kind))
    slow = slow_divergence(logits, dense(rows, kind)) / len(rows)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12, abs=1e-12)
    (fast_gradient,), (slow_gradient,) = gradients(fast, logits), gradients(slow, logits)
    assert torch.allclose(fast_gradient, slow_gradient, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_xtr_loss_equals_the_divergence_of_pytorch(kind: TargetKind) -> None:
    logits = random(len(SENTENCES), VOCAB)
    wanted = torch.nn.functional.kl_div(logits.log_softmax(1), dense(SENTENCES, kind), reduction="batchmean")
    assert xtr_loss(logits, sparse(SENTENCES, kind)).item() == pytest.approx(wanted.item(), rel=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_xtr_gradient_agrees_with_finite_differences(kind: TargetKind) -> None:
    targets = sparse(SENTENCES, kind)
    logits = random(len(SENTENCES), VOCAB, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: 3.0 * xtr_loss(z, targets, normalizer=2.0), (logits,))


def test_counts_are_reached_exactly_by_the_best_logits() -> None:
    logits = dense(SENTENCES, "counts").clamp_min(1e-300).log().requires_grad_()
    loss = xtr_loss(logits, sparse(SENTENCES, "counts"))
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert gradients(loss, logits)[0].abs().max() < 1e-12


def test_a_target_that_sums_to_less_than_one_weighs_the_log_partition_with_its_sum() -> None:
    # [4, 4] gives q(4) = 1/2 and nothing else: loss = 1/2 log 1/2 - 1/2 z_4 + 1/2 logsumexp(z).
    logits = random(1, VOCAB)
    wanted = 0.5 * (math.log(0.5) - logits[0, 4] + logits[0].logsumexp(0))
    assert xtr_loss(logits, sparse([[4, 4]], "set")).item() == pytest.approx(wanted.item(), rel=1e-13)


def test_uniform_logits_cost_log_vocabulary_minus_the_entropy_of_the_target() -> None:
    loss = xtr_loss(torch.zeros(2, VOCAB, dtype=torch.float64), sparse([[5], [1, 2]], "counts"))
    assert loss.item() == pytest.approx(math.log(VOCAB) - math.log(2) / 2, rel=1e-13)


def test_normalizer_divides_the_sum_over_rows() -> None:
    logits, targets = random(len(SENTENCES), VOCAB), sparse(SENTENCES, "counts")
    assert xtr_loss(logits, targets, normalizer=1).item() == pytest.approx(
        len(SENTENCES) * xtr_loss(logits, targets).item(), rel=1e-14
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_logits_give_a_float32_loss_and_a_gradient_in_their_own_dtype(dtype: torch.dtype) -> None:
    logits = random(len(SENTENCES), VOCAB, scale=4).to(dtype).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    targets = sparse(SENTENCES, "counts")
    loss, wanted = xtr_loss(logits, targets), xtr_loss(exact, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    (gradient,), (exact_gradient,) = gradients(loss, logits), gradients(wanted, exact)
    assert gradient.dtype == dtype
    # The gradient is computed in float32 and rounded once.
    assert torch.allclose(gradient.double(), exact_gradient, rtol=torch.finfo(dtype).eps, atol=1e-7)


def test_xtr_loss_of_huge_logits_is_finite() -> None:
    logits = torch.full((1, VOCAB), -3e4)
    logits[0, 2] = 3e4
    logits.requires_grad_()
    loss = xtr_loss(logits, sparse([[3]], "counts"))
    assert loss.item() == pytest.approx(6e4)
    assert torch.isfinite(gradients(loss, logits)[0]).all()


def test_logits_that_are_no_matrix_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(rows, vocabulary\), got \(11,\)"):
        xtr_loss(torch.zeros(VOCAB), sparse([[1]], "counts"))


def test_contrastive_loss_of_two_pairs_worked_out_by_hand() -> None:
    # Cosines are the identity matrix: each row costs log(1 + exp(-1 / T)).
    source = torch.tensor([[2.0, 0.0], [0.0, 0.5]], dtype=torch.float64)
    loss = contrastive_loss(source, 3 * source, temperature=0.5)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)), rel=1e-13)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("pairs", [1, 2, 7])
def test_contrastive_loss_and_gradient_equal_a_loop_over_pairs(pairs: int, masked: bool) -> None:
    source, translation = random(pairs, 4, seed=1).requires_grad_(), random(pairs, 4, seed=2).requires_grad_()
    mask = random(pairs, pairs, seed=3) > 0.3 if masked else None
    fast = contrastive_loss(source, translation, temperature=0.1, mask_BN=mask)
    slow = slow_contrast(source, translation, 0.1, mask)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12, abs=1e-15)
    for ours, theirs in zip(gradients(fast, source, translation), gradients(slow, source, translation), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_contrastive_gradient_agrees_with_finite_differences() -> None:
    mask = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    inputs = random(3, 4, seed=1).requires_grad_(), random(3, 4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: contrastive_loss(s, t, temperature=0.3, mask_BN=mask), inputs)


def test_a_masked_column_has_no_influence() -> None:
    source, translation = random(3, 4, seed=1), random(3, 4, seed=2)
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[:2, 2] = True
    mask[2, :2] = True
    with_third = contrastive_loss(source, translation, temperature=0.1, mask_BN=mask)
    without = contrastive_loss(source[:2], translation[:2], temperature=0.1)
    # The third pair has no negative left, so it costs nothing.
    assert with_third.item() == pytest.approx(2 / 3 * without.item(), rel=1e-13)


def test_the_own_column_is_never_left_out_and_the_mask_is_not_changed() -> None:
    source, translation = random(3, 4, seed=1), random(3, 4, seed=2)
    all_true = torch.ones(3, 3, dtype=torch.bool)
    assert contrastive_loss(source, translation, temperature=0.1, mask_BN=all_true).item() == 0
    assert all_true.all()


@pytest.mark.parametrize("cuts", [[3, 4], [1, 2, 4]])
@pytest.mark.parametrize("masked", [False, True])
def test_pieces_with_the_columns_of_all_add_up_to_the_whole(cuts: list[int], masked: bool) -> None:
    pairs = sum(cuts)
    source, translation = random(pairs, 5, seed=1).requires_grad_(), random(pairs, 5, seed=2).requires_grad_()
    mask = random(pairs, pairs, seed=3) > 0.5 if masked else None
    whole = contrastive_loss(source, translation, temperature=0.1, mask_BN=mask)
    pieces, first = [], 0
    for size in cuts:
        rows = slice(first, first + size)
        piece = contrastive_loss(
            source[rows],
            translation[rows],
            temperature=0.1,
            all_src_NP=source,
            all_tgt_NP=translation,
            first_row=first,
            mask_BN=None if mask is None else mask[rows],
        )
        pieces.append(piece * size / pairs)
        first += size
    joined = torch.stack(pieces).sum()
    assert joined.item() == pytest.approx(whole.item(), rel=1e-13)
    for ours, theirs in zip(gradients(joined, source, translation), gradients(whole, source, translation), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_contrastive_loss_does_not_depend_on_the_length_of_projections_or_on_which_side_is_first() -> None:
    source, translation = random(5, 4, seed=1), random(5, 4, seed=2)
    loss = contrastive_loss(source, translation, temperature=0.1).item()
    assert contrastive_loss(100 * source, 0.01 * translation, temperature=0.1).item() == pytest.approx(loss, rel=1e-12)
    assert contrastive_loss(translation, source, temperature=0.1).item() == pytest.approx(loss, rel=1e-12)


def test_a_zero_projection_has_cosine_zero_and_a_finite_gradient() -> None:
    source, translation = random(3, 4, seed=1), random(3, 4, seed=2)
    source[1] = 0
    source.requires_grad_()
    loss = contrastive_loss(source, translation, temperature=0.1)
    assert loss.item() == pytest.approx(slow_contrast(source.detach(), translation, 0.1).item(), rel=1e-12)
    assert torch.isfinite(gradients(loss, source)[0]).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_projections_give_a_float32_loss(dtype: torch.dtype) -> None:
    source, translation = random(6, 4, seed=1).to(dtype), random(6, 4, seed=2).to(dtype)
    loss = contrastive_loss(source, translation, temperature=0.1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(slow_contrast(source.double(), translation.double(), 0.1).item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        contrastive_loss(random(2, 3), random(2, 3), temperature=temperature)


def test_projections_of_unequal_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\), \(3, 3\)"):
        contrastive_loss(random(2, 3), random(3, 3), temperature=0.1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8),
    st.integers(0, 7),
    st.integers(1, 8),
)
def test_duplicates_are_pairs_that_share_any_sentence(digests: list[tuple[int, int]], first: int, size: int) -> None:
    first = min(first, len(digests) - 1)
    local = digests[first : first + size]
    columns = torch.tensor(digests)
    rows = torch.tensor(local)
    mask = duplicate_mask(
        rows[:, 0], rows[:, 1], all_src_N=columns[:, 0], all_tgt_N=columns[:, 1], first_row=first
    ).tolist()
    for i, mine in enumerate(local):
        for j, other in enumerate(digests):
            assert mask[i][j] == (j != first + i and bool(set(mine) & set(other)))


def test_columns_default_to_the_local_rows() -> None:
    mask = duplicate_mask(torch.tensor([1, 2, 1]), torch.tensor([5, 6, 7]))
    assert mask.tolist() == [[False, False, True], [False, False, False], [True, False, False]]


def test_total_loss_weighs_the_parts_that_are_there() -> None:
    xtr, contrastive = torch.tensor(3.0), torch.tensor(0.5)
    weights = {"reconstruction_weight": 2.0, "contrastive_weight": 4.0}
    assert total_loss({"loss_xtr": xtr, "loss_contrastive": contrastive}, **weights).item() == 8
    assert total_loss({"loss_xtr": xtr}, **weights).item() == 6
    assert total_loss({"loss_contrastive": contrastive}, **weights).item() == 2


@given(rows=sentences, size=st.integers(1, 8))
def test_split_targets_are_the_targets_of_each_run(rows: list[list[int]], size: int) -> None:
    parts = sparse(rows, "counts").split(len(rows), size)
    assert len(parts) == -(-len(rows) // size)
    for part, start in zip(parts, range(0, len(rows), size), strict=True):
        own = sparse(rows[start : start + size], "counts")
        assert torch.equal(part.rows, own.rows)
        assert torch.equal(part.tokens, own.tokens)
        assert torch.equal(part.weights, own.weights)


@pytest.mark.parametrize("both_directions", [False, True])
@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_margin_and_one_direction_equal_a_loop_over_pairs(margin: float, both_directions: bool, masked: bool) -> None:
    source, translation = random(6, 4, seed=1).requires_grad_(), random(6, 4, seed=2).requires_grad_()
    mask = random(6, 6, seed=3) > 0.3 if masked else torch.zeros(6, 6, dtype=torch.bool)
    terms = []
    for anchors, others in [(source, translation), (translation, source)][: 1 + both_directions]:
        for i in range(6):
            cosines = [(anchors[i] @ other) / (anchors[i].norm() * other.norm()) for other in others]
            own = (cosines[i] - margin) / 0.05
            negatives = [cosines[j] / 0.05 for j in range(6) if j != i and not mask[i, j]]
            terms.append(torch.stack([own, *negatives]).logsumexp(0) - own)
    slow = torch.stack(terms).mean()
    fast = contrastive_loss(
        source, translation, temperature=0.05, margin=margin, both_directions=both_directions, mask_BN=mask
    )
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12)
    for ours, theirs in zip(gradients(fast, source, translation), gradients(slow, source, translation), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_one_direction_is_the_ranking_loss_of_sentence_transformers() -> None:
    losses = pytest.importorskip("sentence_transformers.losses")
    source, translation = random(7, 5, seed=1).float(), random(7, 5, seed=2).float()
    theirs = losses.MultipleNegativesRankingLoss(model=None, scale=20.0)
    wanted = theirs.compute_loss_from_embeddings([source, translation], None)
    ours = contrastive_loss(source, translation, temperature=1 / 20, both_directions=False)
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_distillation_is_the_mean_squared_difference_of_the_rows_that_have_a_teacher() -> None:
    student, teacher = random(5, 4, seed=1).requires_grad_(), random(5, 4, seed=2)
    known = torch.tensor([True, False, True, True, False])
    teacher[~known] = 1e3  # must not matter
    slow = sum(((student[i] - teacher[i]) ** 2).mean() for i in range(5) if known[i]) / 3
    fast = distillation_loss(student, teacher, known, normalizer=3)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-13)
    (ours,), (theirs,) = gradients(fast, student), gradients(slow, student)
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=0)


def test_distillation_without_any_teacher_costs_nothing() -> None:
    student = random(2, 3).requires_grad_()
    loss = distillation_loss(student, torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool), normalizer=2)
    assert loss.item() == 0
    assert not gradients(loss, student)[0].any()
