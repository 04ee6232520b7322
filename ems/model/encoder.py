"""The Transformer encoder: packed tokens in, one sentence embedding for each sentence out.

Weight for weight this is XLM-RoBERTa (post-LN, learned positions that start at 1) with swish and mean pooling, as in
EMS (Mao et al., 2024, arXiv 2205.15744). Shape letters: S sentences, T tokens of all sentences, H hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ems.data.packing import PackedSentences
from ems.model.attention import attend_padded
from ems.model.dropout import Dropout

LAYER_NORM_EPS = 1e-12


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
    """

    vocab_size: int
    num_layers: int
    hidden_size: int
    num_heads: int
    feed_forward_size: int
    max_tokens: int
    dropout: float = 0.0
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "num_layers", "hidden_size", "num_heads", "feed_forward_size", "max_tokens"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, not {getattr(self, name)!r}")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide hidden_size {self.hidden_size}")


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

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.num_heads = sizes.num_heads
        self.dropout = sizes.attention_dropout
        self.qkv = nn.Linear(sizes.hidden_size, 3 * sizes.hidden_size)
        self.output = nn.Linear(sizes.hidden_size, sizes.hidden_size)

    def forward(self, hidden_TH: Tensor, sentences: PackedSentences) -> Tensor:
        """Mix each sentence's tokens: (T, H) -> (T, H)."""
        qkv = self.qkv(hidden_TH).view(len(hidden_TH), 3, self.num_heads, -1)
        dropout = self.dropout if self.training else 0.0
        if dropout == 0.0 and _has_varlen_kernel(qkv):
            return self.output(_attend_varlen(qkv, sentences))  # type: ignore[no-any-return]
        return self.output(attend_padded(qkv, sentences, dropout))  # type: ignore[no-any-return]


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

    def forward(self, hidden_TH: Tensor, sentences: PackedSentences) -> Tensor:
        """Run the layer: (T, H) -> (T, H)."""
        hidden_TH = self.attention_norm(self.dropout.add(hidden_TH, self.attention(hidden_TH, sentences)))
        feed_forward = self.down(F.silu(self.up(hidden_TH)))
        return self.feed_forward_norm(self.dropout.add(hidden_TH, feed_forward))  # type: ignore[no-any-return]


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
        return self.dropout(self.norm(summed))  # type: ignore[no-any-return]


def mean_pool(hidden_TH: Tensor, sentences: PackedSentences) -> Tensor:
    """Average each sentence's tokens, in float32 at least: (T, H) -> (S, H) in the caller's order.

    A segment sum, not a scatter: its order of additions is fixed, so results repeat bit for bit.
    """
    hidden_TH = hidden_TH if hidden_TH.dtype == torch.float64 else hidden_TH.float()
    # With unsafe=True the lengths are not checked again on the host, which would wait for the device.
    sums = torch.segment_reduce(hidden_TH, "sum", lengths=sentences.lengths, axis=0, unsafe=True)
    return (sums / sentences.lengths[:, None]).index_select(0, sentences.restore)


def initialise(module: nn.Module) -> None:
    """Set every weight below `module` to its starting value, each layer drawn on its own.

    Matrices: normal with variance 2 / (fan in + fan out), which keeps the scale of activations and gradients across
    layers of unequal width (Glorot and Bengio, 2010). Embeddings: standard deviation 0.02, so that token and position
    start equal in weight before the LayerNorm, and tied logits start near the uniform distribution. Biases 0,
    LayerNorms 1 and 0. Draws from the global generator; callers seed it.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_normal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
            if part.padding_idx is not None:
                nn.init.zeros_(part.weight[part.padding_idx])
    for part in module.modules():
        if isinstance(part, SelfAttention):
            # Query, key and value share one matrix but are three maps of fan H -> H.
            for third in part.qkv.weight.chunk(3):
                nn.init.xavier_normal_(third)


class Encoder(nn.Module):
    """Map packed sentences to sentence embeddings; knows nothing of languages.

    Its `state_dict` holds the whole deployable model; `ems.model.folder` renames it for other programs.
    """

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embeddings = Embeddings(sizes)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.num_layers))
        initialise(self)

    def hidden_states(self, sentences: PackedSentences) -> Tensor:
        """Run the layers: T tokens -> (T, H), in packed order.

        Raises:
            ValueError: a sentence is longer than `max_tokens`.
        """
        if sentences.max_length > self.sizes.max_tokens:
            raise ValueError(f"a sentence of {sentences.max_length} tokens; this encoder reads {self.sizes.max_tokens}")
        hidden_TH = self.embeddings(sentences)
        for layer in self.layers:
            hidden_TH = layer(hidden_TH, sentences)
        return hidden_TH  # type: ignore[no-any-return]

    def forward(self, sentences: PackedSentences) -> Tensor:
        """Embed S packed sentences.

        Args:
            sentences: on the encoder's device, none longer than `max_tokens`.

        Returns:
            float32 (S, H) (float64 for a float64 encoder), not normalised, in the order given to `pack`.
        """
        return mean_pool(self.hidden_states(sentences), sentences)
