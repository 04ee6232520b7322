"""The gradients of one optimizer step: one forward pass where it fits, several with the same result where it does not.

A step that is cut into micro-batches still contrasts every pair with all others of the step: the projections of all
micro-batches are computed first without a graph, the contrastive gradient is taken with respect to them, and each
micro-batch is run again with that gradient (cached gradients: Gao et al., "Scaling Deep Contrastive Learning Batch Size
under Memory Limited Setup", 2021, section 3). Dropout is drawn anew from the same seed, so both passes agree.

Several ranks do likewise: each contrasts its own pairs with the pairs of all, and the sum of their gradients is that of
one process with the whole step.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ems.config import ObjectiveConfig
from ems.data.collate import PackedBatch
from ems.model.dual_encoder import DualEncoder
from ems.objectives import contrastive_loss, distillation_loss, duplicate_mask, total_loss
from ems.ranks import Ranks
from ems.training.device import autocasting
from ems.training.reconstruction import reconstruction_loss
from ems.training.stages import stage


def output_rows(model: DualEncoder, batch: PackedBatch) -> Tensor:
    """Return the rows of the output matrix that a batch chooses among: float (V, W), or (C, W) of its vocabulary."""
    weight = model.reconstruction.output.weight
    return weight if batch.vocabulary is None else weight.index_select(0, batch.vocabulary)


class _Forward(nn.Module):
    """What of a step one micro-batch computes alone: the losses without negatives, and its projections."""

    def __init__(self, model: DualEncoder, objective: ObjectiveConfig, autocast: torch.dtype | None) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.autocast = autocast

    def forward(
        self, batch: PackedBatch, seed: int, num_pairs: int, scale: float | Tensor, *, alone: bool = True
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the losses (scalars; none if not `alone`) and projections (2B, P), without those whose weight is 0."""
        torch.manual_seed(seed)
        projection = hidden = None
        losses: dict[str, Tensor] = {}
        with autocasting(self.autocast, batch.other_langs.device):
            with stage("encoder"):
                sentence_embedding = self.model.encoder(batch.sentences)
            with stage("heads"):
                if self.objective.contrastive_weight:
                    projection = self.model.project(sentence_embedding)
                if alone and self.objective.reconstruction_weight:
                    hidden = self.model.reconstruction_hidden(sentence_embedding, batch.other_langs)
        with stage("losses"):
            if hidden is not None:
                losses["loss_xtr"] = self._reconstruct(hidden, batch, num_pairs, scale)
            if alone and self.objective.distillation_weight:
                losses["loss_distillation"] = self._distil(sentence_embedding, batch, num_pairs)
        return losses, projection

    def _reconstruct(self, hidden: Tensor, batch: PackedBatch, num_pairs: int, scale: float | Tensor) -> Tensor:
        return reconstruction_loss(
            hidden,
            output_rows(self.model, batch),
            batch.targets,
            normalizer=num_pairs,
            scale=self.objective.reconstruction_weight * scale,
            dtype=self.autocast,
        )

    def _distil(self, sentence_embedding: Tensor, batch: PackedBatch, num_pairs: int) -> Tensor:
        assert batch.teacher is not None
        student = sentence_embedding if self.model.teacher is None else self.model.teacher(sentence_embedding)
        vectors, known = batch.teacher.vectors.repeat(2, 1), batch.teacher.known.repeat(2)
        return distillation_loss(student, vectors, known, normalizer=num_pairs)


class GradientStep:
    """Fill a model's gradients from the micro-batches of a step; holds no state that changes.

    Args:
        model: in training mode, on the device of the batches; heads that no loss reads are frozen.
        objective: weights, temperature, target and mask.
        autocast: dtype of matrix products, None for the weights' own.
        ranks: the processes whose pairs together are the step; None for this one alone.
    """

    def __init__(
        self,
        model: DualEncoder,
        objective: ObjectiveConfig,
        autocast: torch.dtype | None,
        ranks: Ranks | None = None,
    ) -> None:
        self.objective = objective
        self.ranks = ranks or Ranks()
        self._alone = _Forward(model, objective, autocast)
        self._forward: nn.Module = DistributedDataParallel(self._alone) if self.ranks.size > 1 else self._alone

    def __call__(
        self,
        batches: Sequence[PackedBatch],
        dropout_seeds: Sequence[int],
        *,
        scale: float | Tensor = 1.0,
        rank_pairs: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Add the gradients of the step's loss to `.grad`.

        Args:
            batches: micro-batches that together are this rank's part of the step.
            dropout_seeds: one seed for each micro-batch.
            scale: factor on the gradients, for fp16; a number, or a scalar on the device.
            rank_pairs: pairs of each rank's part; may be left out where there is one rank.

        Returns:
            `loss_xtr`, `loss_contrastive`, `loss_distillation` (those whose weight is not 0) and `loss` over the whole
            step, detached and not scaled.
        """
        counts = tuple(rank_pairs or [sum(batch.num_pairs for batch in batches)])
        scale = scale * self.ranks.size  # DistributedDataParallel averages, but losses of ranks are parts of one sum
        # Ranks have to talk in the same order, so all cut the step, or none.
        if self.objective.contrastive_weight and self.ranks.any(len(batches) > 1):
            parts = self._cached(batches, dropout_seeds, counts, scale)
        else:
            parts = [
                self._direct(batch, seed, counts, scale, last=batch is batches[-1])
                for batch, seed in zip(batches, dropout_seeds, strict=True)
            ]
        names = list(dict.fromkeys(name for part in parts for name in part))
        own = torch.stack([torch.stack([part[name] for part in parts if name in part]).sum() for name in names])
        summed = dict(zip(names, self.ranks.add(own), strict=True))
        return {**summed, "loss": self._total(summed)}

    def _total(self, parts: dict[str, Tensor]) -> Tensor:
        return total_loss(
            parts,
            reconstruction_weight=self.objective.reconstruction_weight,
            contrastive_weight=self.objective.contrastive_weight,
            distillation_weight=self.objective.distillation_weight,
        )

    def _talking(self, last: bool) -> AbstractContextManager[object]:
        """Let ranks add up their gradients in the backward pass of the last micro-batch only."""
        silent = isinstance(self._forward, DistributedDataParallel) and not last
        return self._forward.no_sync() if silent else nullcontext()  # type: ignore[operator]

    def _contrast(self, projections: Tensor, src_digests: Tensor, tgt_digests: Tensor, counts: Sequence[int]) -> Tensor:
        """Contrast this rank's pairs with those of all ranks; added up over ranks it is the loss of the step."""
        source, translation = projections.split(len(src_digests))
        columns: dict[str, Any] = {}
        digests: dict[str, Any] = {}
        if self.ranks.size > 1:
            first_row = sum(counts[: self.ranks.rank])
            all_sides = self.ranks.gather(torch.stack([source, translation], dim=1), counts)
            all_digests = self.ranks.gather(torch.stack([src_digests, tgt_digests], dim=1), counts)
            columns = {"all_src_NP": all_sides[:, 0], "all_tgt_NP": all_sides[:, 1], "first_row": first_row}
            digests = {"all_src_N": all_digests[:, 0], "all_tgt_N": all_digests[:, 1], "first_row": first_row}
        mask = duplicate_mask(src_digests, tgt_digests, **digests) if self.objective.mask_duplicates else None
        mean = contrastive_loss(
            source,
            translation,
            temperature=self.objective.temperature,
            margin=self.objective.margin,
            both_directions=self.objective.both_directions,
            mask_BN=mask,
            **columns,
        )
        return mean * (len(source) / sum(counts))

    def _direct(
        self, batch: PackedBatch, seed: int, counts: Sequence[int], scale: float | Tensor, *, last: bool
    ) -> dict[str, Tensor]:
        with self._talking(last):
            losses, projection = self._forward(batch, seed, sum(counts), scale)
            parts = dict(losses)
            with stage("losses"):
                if projection is not None:
                    digests = batch.src_digests, batch.tgt_digests
                    parts["loss_contrastive"] = self._contrast(projection, *digests, counts)
                total = self._total(parts) * scale
            with stage("backward"):
                total.backward()
        return {name: value.detach() for name, value in parts.items()}

    def _cached(
        self, batches: Sequence[PackedBatch], seeds: Sequence[int], counts: Sequence[int], scale: float | Tensor
    ) -> list[dict[str, Tensor]]:
        loss_contrastive, gradients = self._projection_gradients(batches, seeds, counts)
        parts = [{"loss_contrastive": loss_contrastive}]
        for batch, seed, gradient in zip(batches, seeds, gradients, strict=True):
            with self._talking(last=batch is batches[-1]):
                losses, projection = self._forward(batch, seed, sum(counts), scale)
                with stage("losses"):
                    # The scalar product with a constant has exactly that constant as its gradient.
                    surrogate = self._total({**losses, "loss_contrastive": (projection * gradient).sum()}) * scale
                    parts.append({name: loss.detach() for name, loss in losses.items()})
                with stage("backward"):
                    surrogate.backward()
        return parts

    def _projection_gradients(
        self, batches: Sequence[PackedBatch], seeds: Sequence[int], counts: Sequence[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """Contrast the whole step and return the loss and its gradient for each micro-batch's projections."""
        with torch.no_grad():
            computed = [
                self._alone(batch, seed, sum(counts), 1.0, alone=False)[1]
                for batch, seed in zip(batches, seeds, strict=True)
            ]
        # Half-precision projections become float32 leaves: their gradients are sums over the whole step.
        leaves = [(p if p.dtype == torch.float64 else p.float()).requires_grad_() for p in computed]
        halves = [leaf.split(batch.num_pairs) for leaf, batch in zip(leaves, batches, strict=True)]
        joined = torch.cat([side[0] for side in halves] + [side[1] for side in halves])
        src_digests = torch.cat([batch.src_digests for batch in batches])
        tgt_digests = torch.cat([batch.tgt_digests for batch in batches])
        with stage("losses"):
            loss = self._contrast(joined, src_digests, tgt_digests, counts)
            gradients = torch.autograd.grad(loss, leaves)
        return loss.detach(), list(gradients)
