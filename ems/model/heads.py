"""The training heads beside the encoder: language embedding, reconstruction (XTR) and projection.

They are light and are thrown away after training. Shape letters: B rows, H hidden size, V vocabulary.
Source: EMS (Mao et al., 2024, arXiv 2205.15744) and the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ems.model.layers import LAYER_NORM_EPS


class LanguageEmbedding(nn.Module):
    """Name the language that the reconstruction head is to write: index -> normalised vector."""

    def __init__(self, num_languages: int, language_size: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(num_languages, language_size)
        self.norm = nn.LayerNorm(language_size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, lang_ids_B: Tensor) -> Tensor:
        """Look languages up: int64 (B,) -> (B, language_size)."""
        lang_BE: Tensor = self.dropout(self.norm(self.table(lang_ids_B)))
        return lang_BE


class ReconstructionHead(nn.Module):
    """Guess which tokens a translation holds, from the other side's sentence embedding and the language wanted.

    `h = LayerNorm(swish(W [e_target ; s] + b))`, `logits = U h`. With a tied output U is the token embedding and W maps
    to the hidden size; else U is the head's own and W keeps the width of its input. Without a hidden layer
    `logits = U [e_target ; s]`.

    Raises:
        ValueError: a tied output without a hidden layer, which alone could bring its input to the hidden size.
    """

    def __init__(
        self,
        hidden_size: int,
        language_size: int,
        vocab_size: int,
        dropout: float,
        tied_to: nn.Embedding | None,
        *,
        hidden_layer: bool = True,
    ) -> None:
        super().__init__()
        if tied_to is not None and not hidden_layer:
            raise ValueError("a tied output needs the hidden layer of the reconstruction head")
        width = language_size + hidden_size
        inner = hidden_size if tied_to is not None else width
        self.dense = nn.Linear(width, inner) if hidden_layer else None
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(inner, eps=LAYER_NORM_EPS) if hidden_layer else None
        self.output = nn.Linear(inner, vocab_size, bias=False)
        if tied_to is not None:
            self.output.weight = tied_to.weight

    def hidden(self, lang_BE: Tensor | None, sentence_BH: Tensor) -> Tensor:
        """Compute what the output matrix reads: (B, language_size) or None, (B, H) -> (B, width of that matrix)."""
        joined = sentence_BH if lang_BE is None else torch.cat([lang_BE, sentence_BH], dim=1)
        hidden: Tensor
        if self.dense is None or self.norm is None:
            hidden = self.dropout(joined)
        else:
            hidden = self.norm(self.dropout(F.silu(self.dense(joined))))
        return hidden

    def forward(self, lang_BE: Tensor | None, sentence_BH: Tensor) -> Tensor:
        """Score the vocabulary: (B, language_size) or None, (B, H) -> logits (B, V)."""
        logits_BV: Tensor = self.output(self.hidden(lang_BE, sentence_BH))
        return logits_BV


class ProjectionHead(nn.Module):
    """Map a sentence embedding to the vector that the contrastive loss compares by cosine."""

    def __init__(self, hidden_size: int, projection_size: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, projection_size)

    def forward(self, sentence_BH: Tensor) -> Tensor:
        """Project: (B, H) -> (B, P), not normalised."""
        projection_BP: Tensor = self.output(self.dropout(F.relu(self.dense(sentence_BH))))
        return projection_BP
