"""The gradients of one optimizer step: one forward pass where it fits, several with the same result where it does not.

A step that is cut into micro-batches still contrasts every pair with all others of the step: the projections of all
micro-batches are computed first without a graph, the contrastive gradient is taken with respect to them, and each
micro-batch is run again with that gradient (cached gradients: Gao et al., "Scaling Deep Contrastive Learning Batch Size
under Memory Limited Setup", 2021, section 3). Dropout is drawn anew from the same seed, so both passes agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ems.config import ObjectiveConfig
from ems.data.collate import PackedBatch
from ems.model.dual_encoder import DualEncoder
from ems.objectives import contrastive_loss, duplicate_mask, total_loss
from ems.training.device import autocasting
from ems.training.reconstruction import reconstruction_loss
from ems.training.stages import stage


class GradientStep:
    """Fill a model's gradients from the micro-batches of a step; holds no state that changes.

    Args:
        model: in training mode, on the device of the batches.
        objective: weights, temperature, target and mask.
        autocast: dtype of matrix products, None for the weights' own.
    """

    def __init__(self, model: DualEncoder, objective: ObjectiveConfig, autocast: torch.dtype | None) -> None:
        self.model = model
        self.objective = objective
        self.autocast = autocast

    def __call__(
        self, batches: Sequence[PackedBatch], dropout_seeds: Sequence[int], *, scale: float | Tensor = 1.0
    ) -> dict[str, Tensor]:
        """Add the gradients of the step's loss to `.grad`.

        Args:
            batches: micro-batches that together are the step.
            dropout_seeds: one seed for each micro-batch.
            scale: factor on the gradients, for fp16; a number, or a scalar on the device.

        Returns:
            `loss_xtr`, `loss_contrastive` (those whose weight is not 0) and `loss` over the whole step, detached and
            not scaled.
        """
        num_pairs = sum(batch.num_pairs for batch in batches)
        if len(batches) == 1 or self.objective.contrastive_weight == 0:
            parts = [
                self._direct(batch, seed, num_pairs, scale) for batch, seed in zip(batches, dropout_seeds, strict=True)
            ]
        else:
            parts = self._cached(batches, dropout_seeds, num_pairs, scale)
        names = dict.fromkeys(name for part in parts for name in part)
        summed = {name: torch.stack([part[name] for part in parts if name in part]).sum() for name in names}
        return {**summed, "loss": self._total(summed)}

    def _total(self, parts: dict[str, Tensor]) -> Tensor:
        return total_loss(
            parts,
            reconstruction_weight=self.objective.reconstruction_weight,
            contrastive_weight=self.objective.contrastive_weight,
        )

    def _forward(self, batch: PackedBatch, seed: int, *, heads: bool = True) -> tuple[Tensor | None, Tensor | None]:
        """Run the model: what the output matrix reads (2B, W), and projections (2B, P); None if not wanted."""
        torch.manual_seed(seed)
        projection = hidden = None
        with autocasting(self.autocast, batch.other_langs.device):
            with stage("encoder"):
                sentence_embedding = self.model.encoder(batch.sentences)
            with stage("heads"):
                if self.objective.contrastive_weight:
                    projection = self.model.projection(sentence_embedding)
                if heads and self.objective.reconstruction_weight:
                    language = self.model.language(batch.other_langs)
                    hidden = self.model.reconstruction.hidden(language, sentence_embedding)
        return hidden, projection

    def _reconstruct(self, hidden: Tensor, batch: PackedBatch, num_pairs: int, scale: float | Tensor) -> Tensor:
        return reconstruction_loss(
            hidden,
            self.model.reconstruction.output.weight,
            batch.targets,
            normalizer=num_pairs,
            scale=self.objective.reconstruction_weight * scale,
            dtype=self.autocast,
        )

    def _contrast(self, projections: Tensor, src_digests: Tensor, tgt_digests: Tensor) -> Tensor:
        source, translation = projections.split(len(src_digests))
        mask = duplicate_mask(src_digests, tgt_digests) if self.objective.mask_duplicates else None
        return contrastive_loss(source, translation, temperature=self.objective.temperature, mask_BN=mask)

    def _direct(self, batch: PackedBatch, seed: int, num_pairs: int, scale: float | Tensor) -> dict[str, Tensor]:
        hidden, projection = self._forward(batch, seed)
        parts = {}
        with stage("losses"):
            if hidden is not None:
                parts["loss_xtr"] = self._reconstruct(hidden, batch, num_pairs, scale)
            if projection is not None:
                parts["loss_contrastive"] = self._contrast(projection, batch.src_digests, batch.tgt_digests)
            total = self._total(parts) * scale
        with stage("backward"):
            total.backward()
        return {name: value.detach() for name, value in parts.items()}

    def _cached(
        self, batches: Sequence[PackedBatch], seeds: Sequence[int], num_pairs: int, scale: float | Tensor
    ) -> list[dict[str, Tensor]]:
        loss_contrastive, gradients = self._projection_gradients(batches, seeds)
        parts = [{"loss_contrastive": loss_contrastive}]
        for batch, seed, gradient in zip(batches, seeds, gradients, strict=True):
            hidden, projection = self._forward(batch, seed)
            assert projection is not None
            with stage("losses"):
                # The scalar product with a constant has exactly that constant as its gradient.
                surrogate = self.objective.contrastive_weight * (projection * gradient).sum()
                if hidden is not None:
                    loss_xtr = self._reconstruct(hidden, batch, num_pairs, scale)
                    surrogate = surrogate + self.objective.reconstruction_weight * loss_xtr
                    parts.append({"loss_xtr": loss_xtr.detach()})
                surrogate = surrogate * scale
            with stage("backward"):
                surrogate.backward()
        return parts

    def _projection_gradients(
        self, batches: Sequence[PackedBatch], seeds: Sequence[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """Contrast the whole step and return the loss and its gradient for each micro-batch's projections."""
        with torch.no_grad():
            computed = [self._forward(batch, seed, heads=False)[1] for batch, seed in zip(batches, seeds, strict=True)]
        # Half-precision projections become float32 leaves: their gradients are sums over the whole step.
        leaves = [(p if p.dtype == torch.float64 else p.float()).requires_grad_() for p in computed if p is not None]
        halves = [leaf.split(batch.num_pairs) for leaf, batch in zip(leaves, batches, strict=True)]
        joined = torch.cat([side[0] for side in halves] + [side[1] for side in halves])
        src_digests = torch.cat([batch.src_digests for batch in batches])
        tgt_digests = torch.cat([batch.tgt_digests for batch in batches])
        with stage("losses"):
            loss = self._contrast(joined, src_digests, tgt_digests)
            gradients = torch.autograd.grad(loss, leaves)
        return loss.detach(), list(gradients)
