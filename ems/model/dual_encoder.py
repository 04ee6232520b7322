"""The model that is trained: one encoder for both sides of a pair, and the heads that the losses read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ems.data.packing import PackedSentences, pack
from ems.model.encoder import Encoder, initialise
from ems.model.heads import LanguageEmbedding, ProjectionHead, ReconstructionHead
from ems.model.layers import EncoderSizes
from ems.objectives import TargetKind, contrastive_loss, token_targets, total_loss, xtr_loss

CONTRASTIVE_WEIGHT = 2.0  # EMS (Mao et al., 2024): the weights and temperature of the published model
TEMPERATURE = 0.1


@dataclass(frozen=True)
class HeadSizes:
    """What fixes the shape of the heads.

    Attributes:
        num_languages: rows of the language table.
        language_size: width of a language embedding; 0 leaves it out.
        projection_size: width of the vector that the contrastive loss compares; 0 compares sentence embeddings.
        tied_output: whether the reconstruction head writes with the token embedding.
        dropout: probability inside the heads.
        reconstruction_hidden: whether the reconstruction head has its hidden layer.
        teacher_size: width of the teacher's vectors that sentence embeddings are mapped to; 0 maps to none.
    """

    num_languages: int
    language_size: int = 128
    projection_size: int = 128
    tied_output: bool = False
    dropout: float = 0.0
    reconstruction_hidden: bool = True
    teacher_size: int = 0


def pack_ids(*sides: Sequence[Sequence[int]]) -> PackedSentences:
    """Pack lists of token ids, one side after the other.

    Raises:
        ValueError: an empty sentence.
    """
    sentences = [ids for side in sides for ids in side]
    lengths = np.array([len(ids) for ids in sentences], dtype=np.int64)
    tokens = np.array([token for ids in sentences for token in ids], dtype=np.int64)
    return pack(tokens, lengths)


class DualEncoder(nn.Module):
    """Encoder, language embedding, reconstruction head and projection head.

    `state_dict` holds all weights; a tied output appears under both its names. The module holds no other state.
    """

    def __init__(self, encoder_sizes: EncoderSizes, head_sizes: HeadSizes) -> None:
        super().__init__()
        self.head_sizes = head_sizes
        hidden = encoder_sizes.hidden_size
        self.encoder = Encoder(encoder_sizes)
        language_size, projection_size = head_sizes.language_size, head_sizes.projection_size
        self.language = (
            LanguageEmbedding(head_sizes.num_languages, language_size, head_sizes.dropout) if language_size else None
        )
        self.reconstruction = ReconstructionHead(
            hidden,
            language_size,
            encoder_sizes.vocab_size,
            head_sizes.dropout,
            tied_to=self.encoder.embeddings.token if head_sizes.tied_output else None,
            hidden_layer=head_sizes.reconstruction_hidden,
        )
        self.projection = ProjectionHead(hidden, projection_size, head_sizes.dropout) if projection_size else None
        self.teacher = nn.Linear(hidden, head_sizes.teacher_size) if head_sizes.teacher_size else None
        self._initialise_heads()

    def _initialise_heads(self) -> None:
        for part in (self.language, self.reconstruction.dense, self.projection, self.teacher):
            if part is not None:
                initialise(part)
        if not self.head_sizes.tied_output:
            # The output matrix reads a LayerNorm of scale 1: small weights make the first guess nearly uniform.
            nn.init.normal_(self.reconstruction.output.weight, std=0.02)

    def project(self, sentence_BH: Tensor) -> Tensor:
        """Compute what the contrastive loss compares: (B, H) -> (B, P), P = H where there is no projection head."""
        return sentence_BH if self.projection is None else self.projection(sentence_BH)

    def reconstruction_hidden(self, sentence_BH: Tensor, target_langs_B: Tensor) -> Tensor:
        """Compute what the output matrix of the reconstruction head reads: (B, H), int64 (B,) -> (B, W)."""
        language = None if self.language is None else self.language(target_langs_B)
        return self.reconstruction.hidden(language, sentence_BH)

    def reconstruct(self, sentence_BH: Tensor, target_langs_B: Tensor) -> Tensor:
        """Score the vocabulary for each sentence's translation.

        Args:
            sentence_BH: float (B, H), sentence embeddings.
            target_langs_B: int64 (B,), language index of each translation.

        Returns:
            logits (B, V).
        """
        logits_BV: Tensor = self.reconstruction.output(self.reconstruction_hidden(sentence_BH, target_langs_B))
        return logits_BV

    def losses(
        self,
        src_ids: Sequence[Sequence[int]],
        tgt_ids: Sequence[Sequence[int]],
        src_langs: Sequence[int],
        tgt_langs: Sequence[int],
        *,
        target: TargetKind = "counts",
    ) -> dict[str, Tensor]:
        """Compute both losses of a few pairs in evaluation mode, with the paper's weights: for checks and probes.

        Args:
            src_ids: token ids of B source sentences, none empty.
            tgt_ids: token ids of their B translations, none empty.
            src_langs: B language indices of the sources.
            tgt_langs: B language indices of the targets.
            target: how translations become distributions, see `token_targets`.

        Returns:
            Scalars `loss_xtr`, `loss_contrastive` and `loss`; no dropout, no duplicates mask. Gradients flow.

        Raises:
            ValueError: sides of unequal size, an empty sentence, or one longer than the encoder reads.
        """
        if not len(src_ids) == len(tgt_ids) == len(src_langs) == len(tgt_langs):
            raise ValueError("src_ids, tgt_ids, src_langs and tgt_langs must have one entry for each pair")
        weight = self.encoder.embeddings.token.weight
        was_training, count = self.training, len(src_ids)
        self.eval()
        try:
            sentence_embedding = self.encoder(pack_ids(src_ids, tgt_ids).to(weight.device))
            # Each sentence reconstructs the other side: sources write targets, targets write sources.
            other_langs = torch.tensor([*tgt_langs, *src_langs], device=weight.device)
            logits = self.reconstruct(sentence_embedding, other_langs)
            source, translation = self.project(sentence_embedding).split(count)
        finally:
            self.train(was_training)
        others = [*tgt_ids, *src_ids]
        targets = token_targets(
            np.concatenate([np.asarray(ids, dtype=np.int64) for ids in others]),
            np.array([len(ids) for ids in others]),
            kind=target,
            dtype=np.float64 if weight.dtype == torch.float64 else np.float32,
        ).to(weight.device)
        parts = {
            "loss_xtr": xtr_loss(logits, targets, normalizer=count),
            "loss_contrastive": contrastive_loss(source, translation, temperature=TEMPERATURE),
        }
        parts["loss"] = total_loss(parts, reconstruction_weight=1.0, contrastive_weight=CONTRASTIVE_WEIGHT)
        return parts
