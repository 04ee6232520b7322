"""The parts of the paper's encoder: embeddings, attention within sentences, and post-LN layers.

Shape letters: S sentences, T tokens of all sentences, H hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ems.data.packing import PackedSentences
from ems.model.attention import attend_padded
from ems.model.dropout import Dropout
from ems.model.rotary import Rotation, rotate

LAYER_NORM_EPS = 1e-12
Architecture = Literal["paper", "modern"]


@dataclass(frozen=True)
class EncoderSizes:
    """What fixes the shape of an encoder.

    Attributes:
        vocab_size: rows of the token embedding.
        num_layers: Transformer layers.
        hidden_size: width of hidden states and of the sentence embedding.
        num_heads: attention heads; divides `hidden_size`.
        feed_forward_size: inner width of the feed-forward block.
        max_tokens: longest sentence in tokens.
        dropout: probability on embeddings and residual branches.
        attention_dropout: probability on attention weights.
        architecture: "paper" (XLM-RoBERTa's) or "modern" (ModernBERT's).
    """

    vocab_size: int
    num_layers: int
    hidden_size: int
    num_heads: int
    feed_forward_size: int
    max_tokens: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    architecture: Architecture = "paper"

    def __post_init__(self) -> None:
        if self.architecture not in ("paper", "modern"):
            raise ValueError(f"architecture must be 'paper' or 'modern', not {self.architecture!r}")
        for name in ("vocab_size", "num_layers", "hidden_size", "num_heads", "feed_forward_size", "max_tokens"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, not {getattr(self, name)!r}")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide hidden_size {self.hidden_size}")
        if self.architecture == "modern" and self.hidden_size // self.num_heads % 2:
            raise ValueError("rotary positions need heads of even size: hidden_size / num_heads is odd")


def _has_varlen_kernel(qkv: Tensor) -> bool:
    """Say whether the variable-length kernel takes these (T, 3, heads, head size) on their device."""
    if not (qkv.is_cuda and qkv.dtype in (torch.bfloat16, torch.float16)):
        return False
    head_size = qkv.shape[3]
    return head_size % 8 == 0 and head_size <= 256 and torch.cuda.get_device_capability(qkv.device) >= (8, 0)


def _attend_varlen(qkv: Tensor, sentences: PackedSentences) -> Tensor:
    """Attention by the variable-length kernel of CUDA devices, which knows no padding (and no dropout)."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (part.contiguous() for part in qkv.unbind(1))
    offsets, longest = sentences.offsets, sentences.max_length
    mixed = varlen_attn(query, key, value, offsets, offsets, longest, longest)
    assert isinstance(mixed, Tensor)
    return mixed.flatten(1)


class SelfAttention(nn.Module):
    """Multi-head self-attention in which a token sees the tokens of its own sentence only."""

    def __init__(self, sizes: EncoderSizes, *, bias: bool = True) -> None:
        super().__init__()
        self.num_heads = sizes.num_heads
        self.dropout = sizes.attention_dropout
        self.qkv = nn.Linear(sizes.hidden_size, 3 * sizes.hidden_size, bias=bias)
        self.output = nn.Linear(sizes.hidden_size, sizes.hidden_size, bias=bias)

    def forward(self, hidden_TH: Tensor, sentences: PackedSentences, rotation: Rotation | None = None) -> Tensor:
        """Mix each sentence's tokens: (T, H) -> (T, H); `rotation` turns queries and keys by their positions."""
        qkv = self.qkv(hidden_TH).view(len(hidden_TH), 3, self.num_heads, -1)
        if rotation is not None:
            qkv = rotate(qkv, rotation)
        dropout = self.dropout if self.training else 0.0
        varlen = dropout == 0.0 and _has_varlen_kernel(qkv)
        mixed_TH: Tensor = self.output(
            _attend_varlen(qkv, sentences) if varlen else attend_padded(qkv, sentences, dropout)
        )
        return mixed_TH


class Layer(nn.Module):
    """One post-LN Transformer layer: `x = LN(x + attention(x)); x = LN(x + feed_forward(x))`."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.attention = SelfAttention(sizes)
        self.attention_norm = nn.LayerNorm(sizes.hidden_size, eps=LAYER_NORM_EPS)
        self.up = nn.Linear(sizes.hidden_size, sizes.feed_forward_size)
        self.down = nn.Linear(sizes.feed_forward_size, sizes.hidden_size)
        self.feed_forward_norm = nn.LayerNorm(sizes.hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(sizes.dropout)

    def forward(self, hidden_TH: Tensor, sentences: PackedSentences, rotation: Rotation | None = None) -> Tensor:
        """Run the layer: (T, H) -> (T, H); positions are in the embeddings, so there is no rotation."""
        assert rotation is None
        hidden_TH = self.attention_norm(self.dropout.add(hidden_TH, self.attention(hidden_TH, sentences)))
        feed_forward = self.down(F.silu(self.up(hidden_TH)))
        normed_TH: Tensor = self.feed_forward_norm(self.dropout.add(hidden_TH, feed_forward))
        return normed_TH


class Embeddings(nn.Module):
    """Token plus position, normalised; row 0 of both tables is padding and stays zero."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.token = nn.Embedding(sizes.vocab_size, sizes.hidden_size, padding_idx=0)
        self.position = nn.Embedding(sizes.max_tokens + 1, sizes.hidden_size, padding_idx=0)
        self.norm = nn.LayerNorm(sizes.hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(sizes.dropout)

    def forward(self, sentences: PackedSentences) -> Tensor:
        """Look tokens up: T tokens -> (T, H)."""
        summed = self.token(sentences.input_ids) + self.position(sentences.position_ids)
        embedded_TH: Tensor = self.dropout(self.norm(summed))
        return embedded_TH
