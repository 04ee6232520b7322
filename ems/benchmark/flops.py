"""How many floating-point operations the model has to do for real tokens, whatever an implementation really does.

A multiply and an add count as two. Counted are matrix products; what is left (norms, activations, softmax, optimizer)
is below one in a hundred at the paper's size. The backward pass of a product is two products of the same size.

Shape letters: T tokens, H hidden size, F feed-forward size, B pairs, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from ems.config import ModelConfig, ObjectiveConfig


def encoder_flops(lengths: np.ndarray, model: ModelConfig) -> float:
    """Count one forward pass of the encoder over sentences of the given lengths, (S,) in tokens."""
    tokens, squares = float(lengths.sum()), float((lengths.astype(np.float64) ** 2).sum())
    hidden, inner = model.hidden_size, model.feed_forward_size
    in_feed_forward = 3 if model.architecture == "modern" else 2  # a gated block has one matrix more
    linear = 2 * tokens * (4 * hidden * hidden + in_feed_forward * hidden * inner)
    attention = 2 * 2 * squares * hidden
    return model.num_layers * (linear + attention)


def heads_flops(pairs: int, model: ModelConfig, vocab_size: int, objective: ObjectiveConfig | None = None) -> float:
    """Count one forward pass of the heads and losses of B pairs; losses of weight 0 and their heads cost nothing."""
    hidden, width = model.hidden_size, model.language_size + model.hidden_size
    inner = hidden if model.tied_output else width
    reconstruction = (2 * width * inner if model.reconstruction_hidden else 0) + 2 * inner * vocab_size
    projection = 2 * hidden * hidden + 2 * hidden * model.projection_size if model.projection_size else 0
    directions = 2 if objective is None or objective.both_directions else 1
    cosines = directions * 2 * pairs * pairs * (model.projection_size or hidden)
    with_reconstruction = objective is None or objective.reconstruction_weight > 0
    with_contrast = objective is None or objective.contrastive_weight > 0
    return with_reconstruction * 2 * pairs * reconstruction + with_contrast * (2 * pairs * projection + cosines)


def step_flops(
    lengths: np.ndarray, model: ModelConfig, vocab_size: int, objective: ObjectiveConfig | None = None
) -> float:
    """Count a training step, forward and backward.

    Args:
        lengths: integer (2B,), tokens of both sides of all pairs.
        model: shape of encoder and heads.
        vocab_size: rows of the output matrix that are read.
        objective: which losses are there; None stands for both of the paper.
    """
    heads = heads_flops(len(lengths) // 2, model, vocab_size, objective)
    return 3 * (encoder_flops(lengths, model) + heads)
