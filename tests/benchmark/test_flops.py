"""Operations are counted as PyTorch's own counter finds them in a model that does no more than it has to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ems.benchmark.flops import encoder_flops, heads_flops
from ems.benchmark.plain import embed
from ems.config import ModelConfig, ObjectiveConfig
from ems.data.packing import pack
from ems.model.dual_encoder import DualEncoder, HeadSizes
from ems.model.encoder import EncoderSizes

VOCABULARY = 50


def small(tied):
    return ModelConfig(
        num_layers=2,
        hidden_size=16,
        num_heads=4,
        feed_forward_size=40,
        max_tokens=9,
        language_size=6,
        projection_size=12,
        tied_output=tied,
    )


def build(shape):
    sizes = EncoderSizes(
        VOCABULARY, shape.num_layers, shape.hidden_size, shape.num_heads, shape.feed_forward_size, shape.max_tokens
    )
    return DualEncoder(sizes, HeadSizes(3, shape.language_size, shape.projection_size, shape.tied_output)).eval()


def counted(action):
    with FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops()


def test_the_encoder_on_sentences_of_one_length():
    shape = small(tied=False)
    ids = torch.full((5, 7), 3)
    flops = counted(lambda: embed(build(shape).encoder, ids, torch.ones_like(ids, dtype=torch.bool)))
    assert encoder_flops(np.full(5, 7), shape) == flops


@pytest.mark.parametrize("tied", [True, False])
def test_the_heads_and_the_cosines(tied):
    shape, pairs = small(tied), 4
    model = build(shape)
    embedding = torch.randn(2 * pairs, shape.hidden_size)

    def heads():
        model.reconstruct(embedding, torch.zeros(2 * pairs, dtype=torch.int64))
        source, target = model.projection(embedding).split(pairs)
        return source @ target.T, target @ source.T

    assert heads_flops(pairs, shape, VOCABULARY) == counted(heads)


def test_a_modern_encoder_has_three_matrices_in_its_feed_forward_block():
    shape = small(tied=False).model_copy(update={"architecture": "modern"})
    sizes = EncoderSizes(VOCABULARY, 2, 16, 4, 40, 9, architecture="modern")
    encoder = DualEncoder(sizes, HeadSizes(3, 6, 12, False)).encoder.eval()
    packed = pack(np.full(35, 3), np.full(5, 7))
    attention = 2 * 4 * 5 * 7 * 7 * 16  # which the counter does not know in the form that the CPU has
    assert encoder_flops(np.full(5, 7), shape) == counted(lambda: encoder(packed)) + attention


def test_heads_that_are_left_out_and_losses_without_weight_cost_nothing():
    pairs, shape = 4, small(tied=False).model_copy(update={"projection_size": 0, "reconstruction_hidden": False})
    output, cosines = 2 * (6 + 16) * VOCABULARY, 2 * pairs * pairs * 16
    assert heads_flops(pairs, shape, VOCABULARY) == 2 * pairs * output + 2 * cosines
    one_way = ObjectiveConfig(both_directions=False)
    assert heads_flops(pairs, shape, VOCABULARY, one_way) == 2 * pairs * output + cosines
    ranking = ObjectiveConfig(reconstruction_weight=0.0)
    assert heads_flops(pairs, shape, VOCABULARY, ranking) == 2 * cosines
    assert heads_flops(pairs, shape, VOCABULARY, ObjectiveConfig(contrastive_weight=0.0)) == 2 * pairs * output


def test_each_sentence_attends_to_itself_only():
    shape = small(tied=False)
    together = encoder_flops(np.array([3, 8]), shape)
    assert together == encoder_flops(np.array([3]), shape) + encoder_flops(np.array([8]), shape)
