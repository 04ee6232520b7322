"""What training minimises: cross-lingual token reconstruction (XTR), the contrastive loss, and distillation.

These functions know tensors, not models or processes. Losses accumulate in float32 (float64 for float64 input).
Shape letters: B rows on this rank, N rows of all ranks, P projection, V vocabulary, E non-zero target entries.
Source: EMS (Mao et al., 2024, arXiv 2205.15744) and the authors' code; differences are named at each function.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TargetKind = Literal["counts", "set"]
MIN_NORM = 1e-8  # cosine of a zero vector is 0, not NaN


@dataclass(frozen=True)
class TokenTargets:
    """For each of B rows, the few tokens that have a probability in the translation.

    Attributes:
        rows: int64 (E,), row of each entry, ascending.
        tokens: int64 (E,), column of the logits: vocabulary id, or place in the tokens chosen among; a (row, token)
            occurs once.
        weights: float (E,), probability q of the token in the row, > 0.
    """

    rows: Tensor
    tokens: Tensor
    weights: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> TokenTargets:
        """Apply a function to every tensor."""
        return TokenTargets(change(self.rows), change(self.tokens), change(self.weights))

    def to(self, device: torch.device | str) -> TokenTargets:
        """Copy to `device` (without waiting, when the source is pinned)."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))

    def split(self, num_rows: int, size: int) -> list[TokenTargets]:
        """Cut all `num_rows` rows into runs of `size`, the last one maybe shorter; each counts its rows from 0.

        Waits for the device once: how many entries each run has is asked there.
        """
        firsts = torch.arange(0, num_rows + size, size, device=self.rows.device)
        bounds = torch.searchsorted(self.rows, firsts).tolist()
        return [
            TokenTargets(self.rows[a:b] - number * size, self.tokens[a:b], self.weights[a:b])
            for number, (a, b) in enumerate(itertools.pairwise(bounds))
        ]


def token_targets(
    tokens: np.ndarray, lengths: np.ndarray, *, kind: TargetKind, dtype: Any = np.float32
) -> TokenTargets:
    """Count each sentence's tokens, as a sparse distribution over the vocabulary.

    Args:
        tokens: integer (T,), ids of all sentences end to end.
        lengths: integer (B,), tokens of each sentence, every one at least 1.
        kind: "counts" gives `count / length`, which sums to 1. "set" gives `1 / length` for each distinct token, as the
            authors' code does: it sums to less than 1 where a token repeats.
        dtype: float type of the weights.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in ("counts", "set"):
        raise ValueError(f"target must be 'counts' or 'set', not {kind!r}")
    rows = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    # One sortable key for (row, token); ids are below 2**31, so 2**31 rows fit.
    keys, counts = np.unique(rows << 31 | tokens.astype(np.int64), return_counts=True)
    row, token = keys >> 31, keys & (2**31 - 1)
    numerator = counts if kind == "counts" else np.ones_like(counts)
    weights = (numerator / np.asarray(lengths)[row]).astype(dtype)
    return TokenTargets(torch.from_numpy(row), torch.from_numpy(token), torch.from_numpy(weights))


class _SparseKL(torch.autograd.Function):
    """`Σ q log q - Σ q z + Σ_rows (Σ q) logsumexp(z)`, with the gradient `(Σ q) softmax(z) - q` written in one pass."""

    @staticmethod
    def forward(ctx: Any, logits_BV: Tensor, rows: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
        accumulate = torch.float64 if logits_BV.dtype == torch.float64 else torch.float32
        weights = weights.to(accumulate)
        lse = torch.logsumexp(logits_BV.to(accumulate), dim=1)
        # Rows are ascending, so this is a segment sum; index_add_ walks the entries in order on the CPU.
        mass = torch.zeros(len(logits_BV), dtype=accumulate, device=logits_BV.device).index_add_(0, rows, weights)
        picked = logits_BV[rows, tokens].to(accumulate)
        ctx.save_for_backward(logits_BV, rows, tokens, weights, lse, mass)
        return (weights * (weights.log() - picked)).sum() + mass @ lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        logits_BV, rows, tokens, weights, lse, mass = ctx.saved_tensors
        (upstream,) = grads
        gradient = logits_BV.to(lse.dtype) - lse[:, None]
        gradient.exp_().mul_((mass * upstream)[:, None])
        # Every (row, token) occurs once, so nothing is accumulated and the result does not depend on thread order.
        gradient[rows, tokens] -= weights * upstream
        return gradient.to(logits_BV.dtype), None, None, None


def xtr_loss(logits_BV: Tensor, targets: TokenTargets, *, normalizer: float | None = None) -> Tensor:
    """Divergence of the predicted token distribution from the translation's, KL(q ‖ softmax(z)).

    Computed from the non-zero entries of q; the dense (B, V) target is never built. For targets that do not sum to 1
    ("set") this is still what a dense KL divergence gives: `Σ q log q - Σ q z + (Σ q) logsumexp(z)` for a row.

    Args:
        logits_BV: float (B, V), one row for each sentence that is to be reconstructed.
        targets: the sparse distributions q of the same B rows.
        normalizer: what the sum over rows is divided by; None means B, the mean. Both directions of n pairs given as
            2n rows with normalizer n are the sum of the two directions' means, as the paper adds them.

    Returns:
        Scalar in nats, float32 (float64 for float64 logits). Lower is better.

    Raises:
        ValueError: logits are not a matrix.
    """
    if logits_BV.dim() != 2:
        raise ValueError(f"logits must have shape (rows, vocabulary), got {tuple(logits_BV.shape)}")
    total: Tensor = _SparseKL.apply(logits_BV, targets.rows, targets.tokens, targets.weights)
    return total / (len(logits_BV) if normalizer is None else normalizer)


def duplicate_mask(
    src_B: Tensor,
    tgt_B: Tensor,
    *,
    all_src_N: Tensor | None = None,
    all_tgt_N: Tensor | None = None,
    first_row: int = 0,
) -> Tensor:
    """Find the pairs of a step that are no negatives of each other because they share a sentence.

    Args:
        src_B: int64 (B,), digests of the source sentences of the local rows.
        tgt_B: int64 (B,), digests of the target sentences.
        all_src_N: the same for the columns, of all ranks; None means the local ones.
        all_tgt_N: likewise.
        first_row: column at which the local rows start.

    Returns:
        bool (B, N), True where column j shares a sentence with row i on either side; False on the diagonal.
    """
    all_src = src_B if all_src_N is None else all_src_N
    all_tgt = tgt_B if all_tgt_N is None else all_tgt_N
    mask = (src_B[:, None] == all_src) | (tgt_B[:, None] == all_tgt)
    mask |= (src_B[:, None] == all_tgt) | (tgt_B[:, None] == all_src)
    rows = torch.arange(len(src_B), device=src_B.device)
    mask[rows, rows + first_row] = False
    return mask


def _pick_own(
    rows_BP: Tensor, columns_NP: Tensor, own_column: Tensor, temperature: float, margin: float, left_out: Tensor | None
) -> Tensor:
    """Cross-entropy of each unit row picking its own column among all columns that are not left out."""
    scores_BN = rows_BP @ columns_NP.T / temperature
    if margin:
        rows = torch.arange(len(scores_BN), device=scores_BN.device)
        taken = torch.full_like(own_column, margin / temperature, dtype=scores_BN.dtype)
        scores_BN = scores_BN.index_put((rows, own_column), -taken, accumulate=True)
    if left_out is not None:
        scores_BN = scores_BN.masked_fill(left_out, -torch.inf)
    return F.cross_entropy(scores_BN, own_column)


def _unit_rows(projection: Tensor) -> Tensor:
    projection = projection if projection.dtype == torch.float64 else projection.float()
    norm: Tensor = projection.norm(dim=1, keepdim=True)
    return projection / norm.clamp_min(MIN_NORM)


def contrastive_loss(
    src_BP: Tensor,
    tgt_BP: Tensor,
    *,
    temperature: float,
    margin: float = 0.0,
    both_directions: bool = True,
    all_src_NP: Tensor | None = None,
    all_tgt_NP: Tensor | None = None,
    first_row: int = 0,
    mask_BN: Tensor | None = None,
) -> Tensor:
    """Pull translations together and push the other pairs of the step apart.

    Symmetric cross-entropy over cosine similarities divided by the temperature: each source must pick its target among
    all targets, and each target its source. Source: EMS (Mao et al., 2024, arXiv 2205.15744) and the authors' code.
    Differences: columns of other ranks may be given, and pairs that share a sentence can be left out of each other's
    negatives. With a margin, of sentence embeddings, it is the translation ranking with additive margin softmax of
    LaBSE (Feng et al., 2022, arXiv 2007.01852, equation 1, with a scale); in one direction and without a margin it is
    the multiple-negatives ranking loss of sentence-transformers.

    Args:
        src_BP: float (B, P), projections of the source sides; need not be normalised.
        tgt_BP: float (B, P), row i translates row i of `src_BP`.
        temperature: divisor of the cosine, > 0. Smaller is sharper.
        margin: what is taken from the cosine of a row and its own column before it is divided.
        both_directions: whether targets must pick their sources, too.
        all_src_NP: float (N, P), projections of all ranks, local ones included; None means the local ones.
        all_tgt_NP: likewise.
        first_row: column at which the local rows start: row i belongs to column `first_row + i`.
        mask_BN: bool (B, N), True where a column is left out of a row's negatives; its own column never is.

    Returns:
        Scalar in nats, float32 (float64 for float64 input): mean over rows and over the directions.

    Raises:
        ValueError: shapes differ or temperature <= 0.
    """
    if src_BP.shape != tgt_BP.shape or src_BP.dim() != 2:
        raise ValueError(f"projections must have one shape (rows, size): {tuple(src_BP.shape)}, {tuple(tgt_BP.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    source, target = _unit_rows(src_BP), _unit_rows(tgt_BP)
    all_source = source if all_src_NP is None else _unit_rows(all_src_NP)
    all_target = target if all_tgt_NP is None else _unit_rows(all_tgt_NP)
    own_column = torch.arange(len(source), device=source.device) + first_row
    left_out = None
    if mask_BN is not None:
        left_out = mask_BN.clone()
        left_out[torch.arange(len(source), device=source.device), own_column] = False
    sides = [(source, all_target), (target, all_source)][: 2 if both_directions else 1]
    losses = [_pick_own(rows, columns, own_column, temperature, margin, left_out) for rows, columns in sides]
    return torch.stack(losses).mean()


def distillation_loss(student_BD: Tensor, teacher_BD: Tensor, has_teacher_B: Tensor, *, normalizer: float) -> Tensor:
    """Mean squared difference between sentence embeddings and the vectors of a teacher.

    Source: Reimers and Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation",
    2020 (arXiv 2004.09813), equation 1, which adds this of source and of translation, both against the teacher's vector
    of the source.

    Args:
        student_BD: float (B, D).
        teacher_BD: float (B, D); rows without a teacher's vector hold anything finite.
        has_teacher_B: bool (B,), whether a row has one; others cost nothing.
        normalizer: what the sum over rows is divided by.

    Returns:
        Scalar, float32 (float64 for float64 students): the sum over rows of the mean over D, divided.
    """
    student = student_BD if student_BD.dtype == torch.float64 else student_BD.float()
    squared = (student - teacher_BD.to(student.dtype)).square().mean(dim=1)
    return squared.masked_fill(~has_teacher_B, 0.0).sum() / normalizer


def total_loss(
    parts: dict[str, Tensor],
    *,
    reconstruction_weight: float = 0.0,
    contrastive_weight: float = 0.0,
    distillation_weight: float = 0.0,
) -> Tensor:
    """Add the weighted parts that are there: `loss_xtr`, `loss_contrastive`, `loss_distillation` -> scalar."""
    weights = {
        "loss_xtr": reconstruction_weight,
        "loss_contrastive": contrastive_weight,
        "loss_distillation": distillation_weight,
    }
    weighted = [weights[name] * value for name, value in parts.items()]
    return torch.stack(weighted).sum()
