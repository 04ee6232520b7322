"""How many floating-point operations the model has to do for real tokens, whatever an implementation really does.

A multiply and an add count as two. Counted are matrix products; what is left (norms, activations, softmax, optimizer)
is below one in a hundred at the paper's size. The backward pass of a product is two products of the same size.

Shape letters: T tokens, H hidden size, F feed-forward size, B pairs, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from ems.config import ModelConfig


def encoder_flops(lengths: np.ndarray, model: ModelConfig) -> float:
    """Count one forward pass of the encoder over sentences of the given lengths, (S,) in tokens."""
    tokens, squares = float(lengths.sum()), float((lengths.astype(np.float64) ** 2).sum())
    hidden, inner = model.hidden_size, model.feed_forward_size
    linear = 2 * tokens * (4 * hidden * hidden + 2 * hidden * inner)
    attention = 2 * 2 * squares * hidden
    return model.num_layers * (linear + attention)


def heads_flops(pairs: int, model: ModelConfig, vocab_size: int) -> float:
    """Count one forward pass of both heads and both losses of B pairs."""
    hidden, width = model.hidden_size, model.language_size + model.hidden_size
    inner = hidden if model.tied_output else width
    reconstruction = 2 * width * inner + 2 * inner * vocab_size
    projection = 2 * hidden * hidden + 2 * hidden * model.projection_size
    cosines = 2 * 2 * pairs * pairs * model.projection_size
    return 2 * pairs * (reconstruction + projection) + cosines


def step_flops(lengths: np.ndarray, model: ModelConfig, vocab_size: int) -> float:
    """Count a training step, forward and backward: (2B,) lengths of both sides of all pairs."""
    return 3 * (encoder_flops(lengths, model) + heads_flops(len(lengths) // 2, model, vocab_size))
