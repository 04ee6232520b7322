"""The Transformer encoder: packed tokens in, one sentence embedding for each sentence out.

Weight for weight the paper's (Mao et al., 2024, arXiv 2205.15744) is XLM-RoBERTa: post-LN, learned positions that start
at 1, with swish. The modern one is ModernBERT. Both average their tokens.
Shape letters: S sentences, T tokens of all sentences, H hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ems.data.packing import PackedSentences
from ems.model.layers import Embeddings, EncoderSizes, Layer, SelfAttention
from ems.model.modern import NORM_EPS, ModernEmbeddings, ModernLayer
from ems.model.rotary import rotation_of


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
        self.embeddings: Embeddings | ModernEmbeddings
        if sizes.architecture == "modern":
            self.embeddings = ModernEmbeddings(sizes)
            self.layers = nn.ModuleList(ModernLayer(sizes, first=i == 0) for i in range(sizes.num_layers))
            self.final_norm: nn.Module = nn.LayerNorm(sizes.hidden_size, eps=NORM_EPS, bias=False)
        else:
            self.embeddings = Embeddings(sizes)
            self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.num_layers))
            self.final_norm = nn.Identity()
        initialise(self)

    def hidden_states(self, sentences: PackedSentences) -> Tensor:
        """Run the layers: T tokens -> (T, H), in packed order.

        Raises:
            ValueError: a sentence is longer than `max_tokens`.
        """
        if sentences.max_length > self.sizes.max_tokens:
            raise ValueError(f"a sentence of {sentences.max_length} tokens; this encoder reads {self.sizes.max_tokens}")
        hidden_TH = self.embeddings(sentences)
        rotation = None
        if self.sizes.architecture == "modern":
            rotation = rotation_of(sentences.position_ids, self.sizes.hidden_size // self.sizes.num_heads)
        for layer in self.layers:
            hidden_TH = layer(hidden_TH, sentences, rotation)
        normed_TH: Tensor = self.final_norm(hidden_TH)
        return normed_TH

    def forward(self, sentences: PackedSentences) -> Tensor:
        """Embed S packed sentences.

        Args:
            sentences: on the encoder's device, none longer than `max_tokens`.

        Returns:
            float32 (S, H) (float64 for a float64 encoder), not normalised, in the order given to `pack`.
        """
        return mean_pool(self.hidden_states(sentences), sentences)
