"""The parts of the modern encoder, which weight for weight is ModernBERT's with all layers attending globally.

Pre-norm layers, rotary positions, gated feed-forward blocks (GeGLU), no biases (Warner et al., 2024, arXiv 2412.13663).
Shape letters: T tokens of all sentences, H hidden size.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ems.data.packing import PackedSentences
from ems.model.dropout import Dropout
from ems.model.layers import EncoderSizes, SelfAttention
from ems.model.rotary import Rotation

NORM_EPS = 1e-5


class ModernEmbeddings(nn.Module):
    """Tokens, normalised; row 0 is padding and stays zero. Positions come in with attention."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.token = nn.Embedding(sizes.vocab_size, sizes.hidden_size, padding_idx=0)
        self.norm = nn.LayerNorm(sizes.hidden_size, eps=NORM_EPS, bias=False)
        self.dropout = Dropout(sizes.dropout)

    def forward(self, sentences: PackedSentences) -> Tensor:
        """Look tokens up: T tokens -> (T, H)."""
        embedded_TH: Tensor = self.dropout(self.norm(self.token(sentences.input_ids)))
        return embedded_TH


class ModernLayer(nn.Module):
    """One pre-LN layer: `x = x + attention(LN(x)); x = x + down(gelu(a) * b)` with `a, b = up(LN(x))`.

    The first layer has no norm before its attention, for the embeddings are normalised already.
    """

    def __init__(self, sizes: EncoderSizes, *, first: bool) -> None:
        super().__init__()
        hidden, inner = sizes.hidden_size, sizes.feed_forward_size
        self.attention_norm: nn.Module = nn.Identity() if first else nn.LayerNorm(hidden, eps=NORM_EPS, bias=False)
        self.attention = SelfAttention(sizes, bias=False)
        self.feed_forward_norm = nn.LayerNorm(hidden, eps=NORM_EPS, bias=False)
        self.up = nn.Linear(hidden, 2 * inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)
        self.dropout = Dropout(sizes.dropout)

    def forward(self, hidden_TH: Tensor, sentences: PackedSentences, rotation: Rotation | None) -> Tensor:
        """Run the layer: (T, H) -> (T, H)."""
        mixed = self.attention(self.attention_norm(hidden_TH), sentences, rotation)
        hidden_TH = self.dropout.add(hidden_TH, mixed)
        activated, gate = self.up(self.feed_forward_norm(hidden_TH)).chunk(2, dim=-1)
        return self.dropout.add(hidden_TH, self.down(F.gelu(activated) * gate))
