"""Language embedding, reconstruction and projection heads against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ems.model.heads import LanguageEmbedding, ProjectionHead, ReconstructionHead


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def randomise(module: nn.Module) -> None:
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(random(*parameter.shape, seed=seed))


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * norm.weight + norm.bias


def test_a_language_embedding_is_its_normalised_row() -> None:
    language = LanguageEmbedding(5, 6, dropout=0.0).double()
    randomise(language)
    vectors = language(torch.tensor([3, 0, 3]))
    assert torch.allclose(vectors, layer_norm(language.table.weight[[3, 0, 3]], language.norm), rtol=1e-12)


def test_reconstruction_follows_the_formula() -> None:
    head = ReconstructionHead(4, 3, 11, dropout=0.0, tied_to=None).double()
    randomise(head)
    language, sentence = random(2, 3, seed=10), random(2, 4, seed=11)
    inner = torch.cat([language, sentence], 1) @ head.dense.weight.T + head.dense.bias
    hidden = layer_norm(inner / (1 + (-inner).exp()), head.norm)
    assert hidden.shape == (2, 7)  # keeps the width of its input
    assert torch.allclose(head.hidden(language, sentence), hidden, rtol=1e-12)
    assert torch.allclose(head(language, sentence), hidden @ head.output.weight.T, rtol=1e-11)
    assert head.output.bias is None


def test_a_tied_output_is_the_token_embedding_itself() -> None:
    table = nn.Embedding(11, 4)
    head = ReconstructionHead(4, 3, 11, dropout=0.0, tied_to=table)
    language, sentence = torch.randn(2, 3), torch.randn(2, 4)
    assert head.output.weight is table.weight
    assert head.hidden(language, sentence).shape == (2, 4)
    assert torch.allclose(head(language, sentence), head.hidden(language, sentence) @ table.weight.T, atol=1e-6)


def test_projection_follows_the_formula() -> None:
    head = ProjectionHead(4, 6, dropout=0.0).double()
    randomise(head)
    sentence = random(3, 4, seed=9)
    inner = (sentence @ head.dense.weight.T + head.dense.bias).clamp_min(0)
    assert torch.allclose(head(sentence), inner @ head.output.weight.T + head.output.bias, rtol=1e-12)


def test_dropout_acts_in_training_only() -> None:
    language, sentence = torch.randn(2, 3), torch.randn(2, 4)
    reconstruction = ReconstructionHead(4, 3, 11, dropout=0.5, tied_to=None)
    projection = ProjectionHead(4, 6, dropout=0.5)
    embedding = LanguageEmbedding(5, 64, dropout=0.5)
    calls = (
        (reconstruction, lambda: reconstruction(language, sentence)),
        (projection, lambda: projection(sentence)),
        (embedding, lambda: embedding(torch.tensor([1, 2]))),
    )
    for head, call in calls:
        torch.manual_seed(0)
        assert not torch.equal(call(), call())
        head.eval()
        assert torch.equal(call(), call())


def test_without_a_hidden_layer_the_output_reads_its_input() -> None:
    head = ReconstructionHead(4, 3, 11, dropout=0.0, tied_to=None, hidden_layer=False).double()
    randomise(head)
    language, sentence = random(2, 3, seed=10), random(2, 4, seed=11)
    wanted = torch.cat([language, sentence], 1) @ head.output.weight.T
    assert torch.allclose(head(language, sentence), wanted, rtol=1e-12)
    assert [name for name, _ in head.named_parameters()] == ["output.weight"]


def test_without_a_language_the_head_reads_the_sentence_alone() -> None:
    head = ReconstructionHead(4, 0, 11, dropout=0.0, tied_to=None).double()
    randomise(head)
    sentence = random(2, 4, seed=11)
    inner = sentence @ head.dense.weight.T + head.dense.bias
    hidden = layer_norm(inner / (1 + (-inner).exp()), head.norm)
    assert torch.allclose(head(None, sentence), hidden @ head.output.weight.T, rtol=1e-11)


def test_a_tied_output_without_a_hidden_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="tied output needs the hidden layer"):
        ReconstructionHead(4, 3, 11, dropout=0.0, tied_to=nn.Embedding(11, 4), hidden_layer=False)
