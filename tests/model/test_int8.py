"""An encoder in 8 bits gives nearly the vectors of the one it was made of."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import ems
from ems.errors import InputError
from ems.model.int8 import Int8Linear, round_to_int8
from tests.training.test_step import make_batches, make_model


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return torch.nn.Linear(48, 32)


def test_the_product_is_that_of_the_rounded_numbers(linear):
    x = torch.randn(20, 48)
    weight_scale = linear.weight.detach().double().abs().amax(dim=1, keepdim=True) / 127
    scale = x.double().abs().amax(dim=1, keepdim=True) / 127
    rounded_weight = (linear.weight.detach() / weight_scale.float()).round().double()
    rounded = (x / scale.float()).round().double()
    expected = (rounded @ rounded_weight.T) * scale * weight_scale.T + linear.bias.double()
    torch.testing.assert_close(Int8Linear(linear)(x).double(), expected.detach(), rtol=1e-5, atol=1e-6)


def test_a_row_of_zeros_gives_the_bias(linear):
    torch.testing.assert_close(Int8Linear(linear)(torch.zeros(3, 48)), linear.bias.detach().expand(3, 32))


def test_one_large_token_does_not_coarsen_the_others(linear):
    x = torch.randn(4, 48)
    alone = Int8Linear(linear)(x)
    beside = Int8Linear(linear)(torch.cat([x, 1e4 * torch.randn(1, 48)]))
    assert torch.equal(beside[:4], alone)


def test_sentence_embeddings_are_nearly_the_same():
    encoder = make_model(dtype=torch.float32).encoder.eval()
    sentences = make_batches([list(range(9))])[0].sentences
    with torch.inference_mode():
        exact = encoder(sentences)
        rounded = round_to_int8(copy.deepcopy(encoder))(sentences)
    assert not torch.equal(rounded, exact)
    assert torch.nn.functional.cosine_similarity(rounded, exact).min() > 0.999


def test_a_model_folder_opens_in_8_bits(tiny_model):
    sentences = ["Guten Morgen", "Good morning", "", "Buenos días a todos"]
    exact = ems.load(tiny_model, device="cpu").encode(sentences)
    rounded = ems.load(tiny_model, dtype=torch.int8).encode(sentences)
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, atol=0.05 * np.abs(exact).max())
    assert not rounded[2].any()


def test_other_devices_are_refused(tiny_model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match="8 bits are for CPUs; on cuda"):
        ems.load(tiny_model, device="cuda", dtype=torch.int8)


def test_an_encoder_in_8_bits_does_not_move_to_another_device(tiny_model, monkeypatch):
    encoder = ems.load(tiny_model, dtype=torch.int8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="8 bits are for CPUs; load the model without them for cuda"):
        encoder.encode(["Guten Morgen"], device="cuda")
    assert encoder.encode(["Guten Morgen"]).any()
