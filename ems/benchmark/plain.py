"""The plain baseline: the paper read naively, with the weights of our model, so that both compute the same losses.

Padded batches in the order of arrival, tokenised in the loop; one forward pass for each side; attention as explicit
products and a softmax; dense targets filled row by row; cosines of expanded (B, B, P) projections. Written with care
all the same, with PyTorch's fused optimizer, for a baseline slowed on purpose proves nothing.

Shape letters: B pairs, L longest sentence of a side, H hidden size, V vocabulary, P projection.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ems.config import Config, ObjectiveConfig
from ems.data.shards import TokenPairs
from ems.errors import InputError
from ems.model.dual_encoder import DualEncoder
from ems.model.encoder import Encoder
from ems.model.layers import Embeddings, Layer
from ems.tokenizer import Tokenizer
from ems.training.optim import set_learning_rate, weight_groups

Ids = Sequence[Sequence[int]]


def pad(sentences: Ids, longest: int) -> tuple[Tensor, Tensor]:
    """Cut sentences to `longest` tokens and fill them up: int64 ids (B, L), bool (B, L), True at tokens."""
    cut = [torch.as_tensor(ids[:longest]) for ids in sentences]
    real = nn.utils.rnn.pad_sequence([torch.ones(len(ids), dtype=torch.bool) for ids in cut], batch_first=True)
    return nn.utils.rnn.pad_sequence(cut, batch_first=True).long(), real


def _attention(layer: Layer, hidden: Tensor, real: Tensor) -> Tensor:
    rows, width, size = hidden.shape
    heads = layer.attention.num_heads
    query, key, value = layer.attention.qkv(hidden).view(rows, width, 3, heads, size // heads).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) / math.sqrt(size // heads)
    weights = torch.softmax(scores.masked_fill(~real[:, None, None, :], -torch.inf), dim=-1)
    weights = F.dropout(weights, layer.attention.dropout, layer.training)
    mixed: Tensor = layer.attention.output((weights @ value).transpose(1, 2).reshape(rows, width, size))
    return mixed


def _layer(layer: Layer, hidden: Tensor, real: Tensor) -> Tensor:
    rate = layer.dropout.probability
    mixed = F.dropout(_attention(layer, hidden, real), rate, layer.training)
    hidden = layer.attention_norm(hidden + mixed)
    feed_forward = F.dropout(layer.down(F.silu(layer.up(hidden))), rate, layer.training)
    normed: Tensor = layer.feed_forward_norm(hidden + feed_forward)
    return normed


def embed(encoder: Encoder, input_ids: Tensor, real: Tensor) -> Tensor:
    """Embed padded sentences: (B, L), (B, L) -> (B, H)."""
    embeddings = encoder.embeddings
    assert isinstance(embeddings, Embeddings)
    positions = (torch.arange(input_ids.shape[1]) + 1) * real
    hidden = embeddings.norm(embeddings.token(input_ids) + embeddings.position(positions))
    hidden = F.dropout(hidden, embeddings.dropout.probability, encoder.training)
    for layer in encoder.layers:
        assert isinstance(layer, Layer)
        hidden = _layer(layer, hidden, real)
    mean: Tensor = (hidden * real[:, :, None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
    return mean


def _reconstruction(model: DualEncoder, embedding: Tensor, other: Ids, other_langs: Tensor, kind: str) -> Tensor:
    logits = model.reconstruct(embedding, other_langs)
    target = torch.zeros_like(logits)
    for row, ids in enumerate(other):
        if kind == "counts":
            target[row].index_add_(0, torch.as_tensor(ids), target.new_full((len(ids),), 1 / len(ids)))
        else:
            target[row, torch.as_tensor(ids)] = 1 / len(ids)
    return F.kl_div(F.log_softmax(logits, dim=1), target, reduction="batchmean")


def _contrast(source: Tensor, target: Tensor, src: Ids, tgt: Ids, objective: ObjectiveConfig) -> Tensor:
    cosine = F.cosine_similarity(source[:, None, :], target[None, :, :], dim=2) / objective.temperature
    if objective.mask_duplicates:
        src, tgt = [tuple(ids) for ids in src], [tuple(ids) for ids in tgt]
        for i in range(len(src)):
            for j in range(len(src)):
                if i != j and (src[i] == src[j] or tgt[i] == tgt[j] or src[i] == tgt[j] or tgt[i] == src[j]):
                    cosine[i, j] = -torch.inf
    own = torch.arange(len(source))
    return 0.5 * (F.cross_entropy(cosine, own) + F.cross_entropy(cosine.T, own))


def plain_losses(
    model: DualEncoder, src: Ids, tgt: Ids, langs: tuple[Tensor, Tensor], objective: ObjectiveConfig
) -> dict[str, Tensor]:
    """Compute the losses of B pairs, as `ems.training.step` does.

    Args:
        model: its mode decides on dropout.
        src: token ids of the sources, cut to the longest sentence.
        tgt: likewise of the targets.
        langs: int64 (B,) languages of sources and targets.
        objective: weights, temperature, target and mask.

    Returns:
        `loss_xtr`, `loss_contrastive` and `loss`, scalars with gradient.
    """
    longest = model.encoder.sizes.max_tokens
    source, target = (embed(model.encoder, *pad(side, longest)) for side in (src, tgt))
    forward = _reconstruction(model, source, tgt, langs[1], objective.target)
    backward = _reconstruction(model, target, src, langs[0], objective.target)
    contrastive = _contrast(model.project(source), model.project(target), src, tgt, objective)
    total = objective.reconstruction_weight * (forward + backward) + objective.contrastive_weight * contrastive
    return {"loss_xtr": forward + backward, "loss_contrastive": contrastive, "loss": total}


def _check_paper(config: Config) -> None:
    objective = config.objective
    papers = {
        "model.architecture": config.model.architecture == "paper",
        "training.optimizer": config.training.optimizer != "muon",
        "objective.margin": objective.margin == 0,
        "objective.both_directions": objective.both_directions,
        "objective.vocabulary": objective.vocabulary == "all",
        "objective.distillation_weight": objective.distillation_weight == 0,
        "objective.reconstruction_weight": objective.reconstruction_weight > 0,
        "objective.contrastive_weight": objective.contrastive_weight > 0,
    }
    other = [key for key, as_in_the_paper in papers.items() if not as_in_the_paper]
    if other:
        raise InputError(f"--baseline plain reads the paper, where {other[0]} is not as in this config")


class PlainTrainer:
    """Train a model the plain way.

    Args:
        model: is changed.
        config: the same as ours.
        tokenizer: tokenises texts in the loop; None for steps that are given as ids.

    Raises:
        InputError: the config is not one of the paper's objective, architecture and optimizers.
    """

    def __init__(self, model: DualEncoder, config: Config, tokenizer: Tokenizer | None) -> None:
        _check_paper(config)
        self.model = model.train()
        self.config = config
        self.tokenizer = tokenizer
        kind = torch.optim.Adam if config.training.optimizer == "adam" else torch.optim.AdamW
        groups = weight_groups(model, config.training)
        self.optimizer = kind(groups, lr=config.training.learning_rate, amsgrad=config.training.amsgrad, fused=True)

    def _ids(self, pairs: TokenPairs, texts: tuple[list[str], list[str]] | None) -> tuple[Ids, Ids]:
        longest = self.config.model.max_tokens
        if texts is not None and self.tokenizer is not None:
            sides = [self.tokenizer.encode_batch(side) for side in texts]
        else:
            flat = ((pairs.src_tokens, pairs.src_offsets), (pairs.tgt_tokens, pairs.tgt_offsets))
            sides = [[tokens[a:b].tolist() for a, b in itertools.pairwise(at)] for tokens, at in flat]
        source, target = ([ids[:longest] for ids in side] for side in sides)
        return source, target

    def take_step(self, pairs: TokenPairs, texts: tuple[list[str], list[str]] | None, step: int) -> float:
        """Do one optimizer step and return the loss."""
        torch.manual_seed(step)
        source, target = self._ids(pairs, texts)
        langs = (torch.as_tensor(pairs.src_langs), torch.as_tensor(pairs.tgt_langs))
        loss = plain_losses(self.model, source, target, langs, self.config.objective)["loss"]
        self.optimizer.zero_grad()
        loss.backward()
        if self.config.training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.clip_norm)
        set_learning_rate(self.optimizer, step, self.config.training)
        self.optimizer.step()
        return loss.item()


@torch.inference_mode()
def plain_encode(encoder: Encoder, tokenizer: Tokenizer, sentences: Sequence[str], batch_size: int = 32) -> Tensor:
    """Embed sentences in the order of arrival: float32 (n, H)."""
    encoder.eval()
    parts = []
    for start in range(0, len(sentences), batch_size):
        ids = tokenizer.encode_batch(sentences[start : start + batch_size])
        parts.append(embed(encoder, *pad(ids, encoder.sizes.max_tokens)))
    return torch.cat(parts)
