"""The modern encoder: ModernBERT weight for weight, positions that are relative, packing that changes nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ems.data.packing import pack
from ems.model.dual_encoder import DualEncoder, HeadSizes, pack_ids
from ems.model.encoder import Encoder
from ems.model.folder import ModelInfo, load_dual_encoder, load_encoder, save_model_folder
from ems.model.hugging_face import hugging_face_config, to_hugging_face
from ems.model.int8 import round_to_int8
from ems.model.layers import EncoderSizes
from ems.model.rotary import rotate, rotation_of
from ems.tokenizer import Tokenizer

SIZES = EncoderSizes(50, 3, 16, 4, 40, 12, architecture="modern")
SENTENCES = [[5, 6, 7, 8, 9], [10], [11, 12], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]]


def make_encoder(sizes: EncoderSizes = SIZES) -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder(sizes).double().eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        encoder.embeddings.token.weight[0] = 0
    return encoder


def test_rotation_turns_the_halves_of_a_head_against_each_other() -> None:
    qkv = torch.randn(3, 3, 2, 6, dtype=torch.float64)
    turned = rotate(qkv, rotation_of(torch.tensor([1, 2, 5]), 6))
    for token, position in enumerate([1, 2, 5]):
        for part in (0, 1):
            for i in range(3):
                angle = torch.tensor(position / 10_000 ** (2 * i / 6), dtype=torch.float64)
                a, b = qkv[token, part, :, i], qkv[token, part, :, i + 3]
                assert torch.allclose(turned[token, part, :, i], a * angle.cos() - b * angle.sin(), atol=1e-6)
                assert torch.allclose(turned[token, part, :, i + 3], b * angle.cos() + a * angle.sin(), atol=1e-6)
    assert torch.equal(turned[:, 2], qkv[:, 2])


def test_products_of_queries_and_keys_depend_on_distance_only() -> None:
    query, key = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)

    def product(at: int, other: int) -> float:
        qkv = torch.stack([query, key]).repeat(3, 1, 1).transpose(0, 1)[:, :, None]  # (2, 3, 1, 8)
        turned = rotate(qkv, rotation_of(torch.tensor([at, other]), 8))
        return float(turned[0, 0, 0] @ turned[1, 1, 0])

    assert product(1, 4) == pytest.approx(product(7, 10), rel=1e-5)
    assert product(1, 4) != pytest.approx(product(1, 5), rel=1e-3)


def test_it_is_modernbert_weight_for_weight() -> None:
    transformers = pytest.importorskip("transformers")
    encoder = make_encoder()
    config = transformers.ModernBertConfig(**{**hugging_face_config(SIZES, torch.float64), "dtype": None})
    theirs = transformers.ModernBertModel(config).double().eval()
    theirs.load_state_dict(to_hugging_face(encoder), strict=True)
    for ids in SENTENCES:
        with torch.no_grad():
            wanted = theirs(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(dim=0)
            ours = encoder(pack_ids([ids]))[0]
        assert torch.allclose(ours, wanted, atol=1e-5)


def test_a_sentence_has_one_embedding_whatever_it_is_packed_with() -> None:
    encoder = make_encoder()
    together = encoder(pack_ids(SENTENCES))
    for i, ids in enumerate(SENTENCES):
        assert torch.allclose(together[i], encoder(pack_ids([ids]))[0], rtol=1e-6, atol=1e-9)


def test_word_order_matters() -> None:
    encoder = make_encoder()
    assert not torch.allclose(encoder(pack_ids([[5, 6, 7]])), encoder(pack_ids([[7, 6, 5]])), rtol=1e-3)


def test_gradients_reach_every_weight() -> None:
    encoder = make_encoder()
    encoder.train()(pack_ids(SENTENCES)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    assert not encoder.embeddings.token.weight.grad[0].any()  # padding


def test_dropout_acts_in_training_only() -> None:
    encoder = make_encoder(dataclasses.replace(SIZES, dropout=0.5))
    packed = pack_ids(SENTENCES)
    assert torch.equal(encoder(packed), encoder(packed))
    encoder.train()
    assert not torch.equal(encoder(packed), encoder(packed))


def test_heads_of_odd_size_and_unknown_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="heads of even size"):
        EncoderSizes(50, 1, 15, 5, 40, 12, architecture="modern")
    with pytest.raises(ValueError, match="'paper' or 'modern', not 'bert'"):
        EncoderSizes(50, 1, 16, 4, 40, 12, architecture="bert")  # type: ignore[arg-type]


def test_it_is_rounded_to_8_bits() -> None:
    encoder = make_encoder().float()
    packed = pack(np.arange(5, 45), np.array([12, 12, 12, 4]))
    exact = encoder(packed)
    rounded = round_to_int8(encoder)(packed)
    assert torch.nn.functional.cosine_similarity(exact, rounded).min() > 0.99


@pytest.mark.slow
def test_the_folder_opens_everywhere_with_the_same_vectors(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(tiny_model)
    torch.manual_seed(0)
    sizes = EncoderSizes(tokenizer.vocab_size, 3, 32, 4, 48, 24, architecture="modern")
    model = DualEncoder(sizes, HeadSizes(3, 8, 16))
    save_model_folder(tmp_path / "model", model, tokenizer, ModelInfo(languages=("de", "en", "es")))
    for name, weight in load_dual_encoder(tmp_path / "model").state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name
    assert load_encoder(tmp_path / "model").sizes == sizes
    import ems

    sentences = ["Guten Morgen", "the dog sees a house and a much longer sentence follows it", "¿Quién?"]
    ours = ems.load(tmp_path / "model", device="cpu").encode(sentences)
    package = pytest.importorskip("sentence_transformers").SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert np.abs(ours - package.encode(sentences)).max() < 1e-5
    assert type(package[0].auto_model).__name__ == "ModernBertModel"
