"""One optimizer step: gradients of a step's batches, clipped, and the update of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ems.config import Config
from ems.data.collate import PackedBatch
from ems.data.keyed import keyed_hash
from ems.model.dual_encoder import DualEncoder
from ems.ranks import Ranks
from ems.training.device import choose_autocast
from ems.training.optim import make_optimizer, set_learning_rate
from ems.training.stages import stage
from ems.training.step import GradientStep

_DROPOUT_STREAM = 0x64726F70  # keeps the seeds of dropout apart from the other uses of the run's seed


def dropout_seed(seed: int, step: int, rank: int, micro_step: int) -> int:
    """Fix the dropout of one forward pass, so that no generator state has to be stored."""
    return int(keyed_hash(seed, _DROPOUT_STREAM, step, rank, micro_step)) >> 1


def gradient_norm(model: torch.nn.Module) -> Tensor:
    """Return the Euclidean norm of all gradients together: a scalar on their device."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if gradients[0].device.type != "cpu":
        return torch.nn.utils.get_total_norm(gradients)
    # The scalar product runs in all threads, a norm over a whole tensor in one.
    return torch.stack([torch.dot(flat, flat) for flat in (g.flatten() for g in gradients)]).sum().sqrt()


class Update:
    """Change a model by steps of gradient descent.

    A step is two calls, so that the caller can look at what `gradients` returns before the weights change.

    Attributes:
        optimizer: its state resumes.
        scaler: of fp16 gradients; its state resumes.

    Args:
        model: on its device.
        config: complete configuration.
        ranks: the processes that train it together; None for this one alone.
    """

    def __init__(self, model: DualEncoder, config: Config, ranks: Ranks | None = None) -> None:
        self.model = model
        self.config = config
        self.rank = ranks.rank if ranks is not None else 0
        self.device = next(model.parameters()).device
        autocast = choose_autocast(config.run.precision, self.device)
        self.optimizer = make_optimizer(model, config.training)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=autocast == torch.float16)
        self.gradient_step = GradientStep(model, config.objective, autocast, ranks)

    def gradients(
        self, batches: Sequence[PackedBatch], step: int, rank_pairs: Sequence[int] | None = None
    ) -> dict[str, Tensor]:
        """Fill the gradients of step `step` and clip them.

        Args:
            batches: micro-batches of this rank's part of the step, on the CPU.
            step: steps taken before this one; fixes the dropout.
            rank_pairs: pairs of each rank's part; may be left out where there is one rank.

        Returns:
            The losses of the step and `gradient_norm`, before clipping: scalars on the device.
        """
        config = self.config
        self.model.train()
        with stage("data"):
            batches = [batch.to(self.device) for batch in batches]
        seeds = [dropout_seed(config.run.seed, step, self.rank, i) for i in range(len(batches))]
        scale = self.scaler.scale(torch.ones((), device=self.device))
        losses = self.gradient_step(batches, seeds, scale=scale, rank_pairs=rank_pairs)
        with stage("optimizer"):
            self.scaler.unscale_(self.optimizer)
            norm = gradient_norm(self.model)
            if config.training.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), config.training.clip_norm, norm)
        return {**losses, "gradient_norm": norm.to(losses["loss"].dtype)}

    def apply(self, step: int) -> float:
        """Change the weights by the gradients and return the learning rate of step `step`."""
        with stage("optimizer"):
            rate = set_learning_rate(self.optimizer, step, self.config.training)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.discard()
        return rate

    def discard(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def leave_out(self) -> None:
        """Take no step with these gradients; in fp16 the loss scale answers to them all the same."""
        if self.scaler.is_enabled():
            self.scaler.update()
        self.discard()
