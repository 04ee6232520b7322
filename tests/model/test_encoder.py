"""The packed encoder against a padded reading of the formulas in float64."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ems.data import packing
from ems.data.packing import PackedSentences
from ems.model import layers as encoder_module
from ems.model.dual_encoder import pack_ids
from ems.model.encoder import Encoder, EncoderSizes, initialise, mean_pool

SIZES = EncoderSizes(vocab_size=50, num_layers=3, hidden_size=16, num_heads=4, feed_forward_size=40, max_tokens=12)
SENTENCES = [[5, 6, 7], [9], [3, 3, 3, 3, 3, 3], list(range(10, 22)), [49, 2], [5, 6, 7], [8, 1]]


def make_encoder(sizes: EncoderSizes = SIZES, *, seed: int = 0) -> Encoder:
    """Build a float64 encoder in which no bias is 0 and no LayerNorm the identity."""
    encoder = Encoder(sizes).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64, generator=generator) * 0.3)
            if name.endswith("norm.weight"):
                parameter.add_(1.0)
        encoder.embeddings.token.weight[0] = 0
        encoder.embeddings.position.weight[0] = 0
    return encoder.eval()


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-12).sqrt() * weight + bias


def slow_embeddings(weights: dict[str, Tensor], sizes: EncoderSizes, sentences: list[list[int]]) -> Tensor:
    """Follow the formulas on a padded rectangle (sentences, width, H), with a loop over heads."""
    width = max(map(len, sentences))
    real = torch.tensor([[i < len(s) for i in range(width)] for s in sentences])
    ids = torch.tensor([s + [0] * (width - len(s)) for s in sentences])
    positions = torch.tensor([[i + 1 if i < len(s) else 0 for i in range(width)] for s in sentences])

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = weights["embeddings.token.weight"][ids] + weights["embeddings.position.weight"][positions]
    x = norm(x, "embeddings.norm")
    size = sizes.hidden_size // sizes.num_heads
    for i in range(sizes.num_layers):
        query, key, value = linear(x, f"layers.{i}.attention.qkv").split(sizes.hidden_size, dim=-1)
        heads = []
        for h in range(sizes.num_heads):
            part = slice(h * size, (h + 1) * size)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size)
            exponentials = (scores - scores.detach().amax(-1, keepdim=True)).exp() * real[:, None, :]
            heads.append(exponentials / exponentials.sum(-1, keepdim=True) @ value[..., part])
        x = norm(x + linear(torch.cat(heads, -1), f"layers.{i}.attention.output"), f"layers.{i}.attention_norm")
        inner = linear(x, f"layers.{i}.up")
        swish = inner / (1 + (-inner).exp())
        x = norm(x + linear(swish, f"layers.{i}.down"), f"layers.{i}.feed_forward_norm")
    return torch.stack([x[row, : len(s)].sum(0) / len(s) for row, s in enumerate(sentences)])


def pack_with(worth: int, sentences: list[list[int]]) -> PackedSentences:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "PADDING_WORTH_A_CALL", worth)
        return pack_ids(sentences)


@pytest.mark.parametrize("worth", [0, 8, 10**6])
def test_embeddings_and_gradients_equal_a_padded_reading_of_the_formulas(worth: int) -> None:
    encoder = make_encoder()
    direction = torch.randn(len(SENTENCES), 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    embedding = encoder(pack_with(worth, SENTENCES))
    parameters = dict(encoder.named_parameters())
    wanted = slow_embeddings(parameters, SIZES, SENTENCES)
    assert torch.allclose(embedding, wanted, rtol=1e-11, atol=1e-12)
    ours = torch.autograd.grad((embedding * direction).sum(), list(parameters.values()))
    theirs = torch.autograd.grad((wanted * direction).sum(), list(parameters.values()))
    for name, mine, other in zip(parameters, ours, theirs, strict=True):
        scale = other.abs().max().clamp_min(1.0)  # gradients of key biases are zero but for rounding
        assert (mine - other).abs().max() < 1e-11 * scale, name


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 49), min_size=1, max_size=12), min_size=1, max_size=8),
    st.sampled_from([0, 3, 50, 10**6]),
)
def test_any_sentences_equal_the_padded_reading(sentences: list[list[int]], worth: int) -> None:
    encoder = make_encoder()
    with torch.no_grad():
        embedding = encoder(pack_with(worth, sentences))
        wanted = slow_embeddings(dict(encoder.named_parameters()), SIZES, sentences)
    assert torch.allclose(embedding, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("worth", [0, 50, 10**6])
def test_an_embedding_does_not_depend_on_the_rest_of_the_batch(
    worth: int, dtype: torch.dtype, tolerance: float
) -> None:
    encoder = make_encoder().to(dtype)
    with torch.no_grad():
        together = encoder(pack_with(worth, SENTENCES))
        alone = torch.cat([encoder(pack_with(worth, [sentence])) for sentence in SENTENCES])
    assert together.dtype == dtype
    assert (together - alone).abs().max() < tolerance


def test_embeddings_come_in_the_order_of_the_sentences() -> None:
    encoder = make_encoder()
    order = torch.randperm(len(SENTENCES), generator=torch.Generator().manual_seed(2)).tolist()
    with torch.no_grad():
        straight = encoder(pack_ids(SENTENCES))
        shuffled = encoder(pack_ids([SENTENCES[i] for i in order]))
    assert (shuffled - straight[order]).abs().max() < 1e-12
    assert (straight[0] - straight[5]).abs().max() < 1e-12  # the same sentence twice


def test_how_sentences_are_bucketed_does_not_change_the_result() -> None:
    encoder = make_encoder()
    with torch.no_grad():
        results = [encoder(pack_with(worth, SENTENCES)) for worth in (0, 50, 10**6)]
    assert len(pack_with(0, SENTENCES).buckets) > len(pack_with(10**6, SENTENCES).buckets) == 1
    assert all((result - results[0]).abs().max() < 1e-12 for result in results)


def test_the_order_of_tokens_matters() -> None:
    encoder = make_encoder()
    with torch.no_grad():
        embedding = encoder(pack_ids([[5, 6, 7], [7, 6, 5]]))
    assert (embedding[0] - embedding[1]).abs().max() > 1e-2


@pytest.mark.parametrize("worth", [0, 10**6])
def test_half_precision_autocast_gives_float32_embeddings_close_to_the_exact_ones(worth: int) -> None:
    encoder = make_encoder()
    with torch.no_grad():
        exact = encoder(pack_with(worth, SENTENCES))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = encoder.float()(pack_with(worth, SENTENCES))
    assert rough.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(rough.double(), exact).min() > 0.999


@pytest.mark.parametrize("dropouts", [(0.5, 0.0), (0.0, 0.5)])
def test_dropout_acts_in_training_only_and_is_fixed_by_the_seed(dropouts: tuple[float, float]) -> None:
    sizes = EncoderSizes(50, 2, 16, 4, 40, 12, *dropouts)
    encoder, sentences = make_encoder(sizes), pack_ids(SENTENCES)

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.no_grad():
            result: Tensor = encoder(sentences)
        return result

    assert torch.equal(run(1), run(2))
    encoder.train()
    assert torch.equal(run(1), run(1))
    assert not torch.allclose(run(1), run(2))


def test_a_sentence_of_max_tokens_is_read_and_a_longer_one_refused() -> None:
    encoder = make_encoder()
    assert torch.isfinite(encoder(pack_ids([[4] * 12]))).all()
    with pytest.raises(ValueError, match="a sentence of 13 tokens; this encoder reads 12"):
        encoder(pack_ids([[4], [4] * 13]))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="num_heads 3 does not divide hidden_size 16"):
        EncoderSizes(50, 1, 16, 3, 40, 12)


def test_mean_pool_averages_each_sentence_in_float32() -> None:
    packed = pack_ids([[1, 2, 3], [4]])
    hidden = torch.tensor([[8.0], [1.0], [2.0], [6.0]], dtype=torch.bfloat16)  # the short sentence comes first
    pooled = mean_pool(hidden, packed)
    assert pooled.tolist() == [[3.0], [8.0]]
    assert pooled.dtype == torch.float32


def test_mean_pool_keeps_what_bfloat16_would_lose() -> None:
    packed = pack_ids([[1] * 512])
    hidden = torch.tensor([[256.0]] + [[0.5]] * 511).bfloat16()
    assert mean_pool(hidden, packed).item() == (256 + 511 * 0.5) / 512


def test_padding_rows_start_at_zero_and_get_no_gradient() -> None:
    encoder = Encoder(SIZES)
    encoder(pack_ids([[1, 2, 3], [4]])).square().sum().backward()
    for table in (encoder.embeddings.token, encoder.embeddings.position):
        assert table.weight.grad is not None
        assert not table.weight[0].any()
        assert not table.weight.grad[0].any()
        assert table.weight[1:].abs().amax(1).min() > 0


def test_layers_start_different_from_each_other() -> None:
    torch.manual_seed(0)
    encoder = Encoder(SIZES)
    for name in ("attention.qkv.weight", "attention.output.weight", "up.weight", "down.weight"):
        first, second, third = (encoder.layers[i].get_parameter(name) for i in range(3))
        assert (first - second).abs().max() > 0.01
        assert (second - third).abs().max() > 0.01


def test_the_initial_scale_is_what_the_fans_ask_for() -> None:
    torch.manual_seed(0)
    encoder = Encoder(EncoderSizes(2000, 1, 256, 4, 1024, 64))
    layer = encoder.layers[0]
    wanted = {"attention.qkv": math.sqrt(2 / 512), "attention.output": math.sqrt(2 / 512)}
    wanted |= {"up": math.sqrt(2 / 1280), "down": math.sqrt(2 / 1280)}
    for name, deviation in wanted.items():
        assert layer.get_parameter(f"{name}.weight").std().item() == pytest.approx(deviation, rel=0.02)
        assert not layer.get_parameter(f"{name}.bias").any()
    assert encoder.embeddings.token.weight[1:].std().item() == pytest.approx(0.02, rel=0.02)
    assert layer.attention_norm.weight.eq(1).all()


def test_initial_weights_are_fixed_by_the_seed() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(Encoder(SIZES).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["layers.0.up.weight"], states[2]["layers.0.up.weight"])


def test_initialise_touches_only_what_lies_below_the_module() -> None:
    encoder = make_encoder()
    before = encoder.layers[1].up.weight.clone()
    initialise(encoder.layers[0])
    assert torch.equal(encoder.layers[1].up.weight, before)
    assert not encoder.layers[0].up.bias.any()


def test_initial_hidden_states_keep_their_scale_through_the_layers() -> None:
    torch.manual_seed(0)
    encoder = Encoder(EncoderSizes(100, 6, 64, 4, 256, 32)).eval()
    ids = np.random.default_rng(0).integers(1, 100, (8, 20)).tolist()
    hidden = encoder.hidden_states(pack_ids(ids))
    assert 0.9 < hidden.std().item() < 1.1
    # Sentences of different tokens are still told apart at the start.
    assert encoder(pack_ids(ids)).std(0).mean() > 0.05


@pytest.mark.parametrize(
    ("dtype", "head_size", "capability", "expected"),
    [
        (torch.bfloat16, 64, (9, 0), True),
        (torch.float16, 64, (8, 0), True),
        (torch.float16, 64, (7, 5), False),
        (torch.bfloat16, 10, (9, 0), False),
        (torch.bfloat16, 512, (9, 0), False),
        (torch.float32, 64, (9, 0), False),
    ],
)
def test_the_variable_length_kernel_is_used_only_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, head_size: int, capability: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    on_gpu = SimpleNamespace(is_cuda=True, dtype=dtype, shape=(5, 3, 2, head_size), device="cuda")
    assert encoder_module._has_varlen_kernel(on_gpu) is expected
    assert not encoder_module._has_varlen_kernel(torch.zeros(5, 3, 2, 64, dtype=torch.bfloat16))
