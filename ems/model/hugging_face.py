"""An encoder in Hugging Face's words: names of weights, and config.json, of XLM-RoBERTa and of ModernBERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ems.model.encoder import Encoder
from ems.model.layers import LAYER_NORM_EPS, EncoderSizes
from ems.model.modern import NORM_EPS
from ems.model.rotary import THETA

_LAYER_NAMES = {
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}
_MODERN_NAMES = {
    "embeddings.token": "embeddings.tok_embeddings",
    "embeddings.norm": "embeddings.norm",
    "final_norm": "final_norm",
}
_MODERN_LAYER_NAMES = {
    "attention_norm": "attn_norm",
    "attention.qkv": "attn.Wqkv",
    "attention.output": "attn.Wo",
    "feed_forward_norm": "mlp_norm",
    "up": "mlp.Wi",
    "down": "mlp.Wo",
}


def _xlm_roberta_weights(encoder: Encoder) -> dict[str, Tensor]:
    """Rename an encoder's weights for XLM-RoBERTa, and add the zero ones that it has and we have not."""
    own = {name: tensor.detach().cpu() for name, tensor in encoder.state_dict().items()}
    hidden = encoder.sizes.hidden_size
    renamed = {
        "embeddings.word_embeddings.weight": own["embeddings.token.weight"],
        "embeddings.position_embeddings.weight": own["embeddings.position.weight"],
        "embeddings.token_type_embeddings.weight": torch.zeros(1, hidden, dtype=own["embeddings.token.weight"].dtype),
        "pooler.dense.weight": torch.zeros(hidden, hidden, dtype=own["embeddings.token.weight"].dtype),
        "pooler.dense.bias": torch.zeros(hidden, dtype=own["embeddings.token.weight"].dtype),
    }
    for end in ("weight", "bias"):
        renamed[f"embeddings.LayerNorm.{end}"] = own[f"embeddings.norm.{end}"]
        for i in range(encoder.sizes.num_layers):
            ours, theirs = f"layers.{i}.", f"encoder.layer.{i}."
            for part, third in zip(("query", "key", "value"), own[f"{ours}attention.qkv.{end}"].chunk(3), strict=True):
                renamed[f"{theirs}attention.self.{part}.{end}"] = third
            for our_name, their_name in _LAYER_NAMES.items():
                renamed[f"{theirs}{their_name}.{end}"] = own[f"{ours}{our_name}.{end}"]
    return renamed


def _from_xlm_roberta(theirs: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Undo `_xlm_roberta_weights`; the zero weights are dropped."""
    own = {
        "embeddings.token.weight": theirs["embeddings.word_embeddings.weight"],
        "embeddings.position.weight": theirs["embeddings.position_embeddings.weight"],
    }
    for end in ("weight", "bias"):
        own[f"embeddings.norm.{end}"] = theirs[f"embeddings.LayerNorm.{end}"]
        for i in range(num_layers):
            ours, prefix = f"layers.{i}.", f"encoder.layer.{i}."
            thirds = [theirs[f"{prefix}attention.self.{part}.{end}"] for part in ("query", "key", "value")]
            own[f"{ours}attention.qkv.{end}"] = torch.cat(thirds)
            for our_name, their_name in _LAYER_NAMES.items():
                own[f"{ours}{our_name}.{end}"] = theirs[f"{prefix}{their_name}.{end}"]
    return own


def _xlm_roberta_config(sizes: EncoderSizes, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "architectures": ["XLMRobertaModel"],
        "model_type": "xlm-roberta",
        "vocab_size": sizes.vocab_size,
        "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": sizes.num_heads,
        "intermediate_size": sizes.feed_forward_size,
        "hidden_act": "silu",
        "hidden_dropout_prob": sizes.dropout,
        "attention_probs_dropout_prob": sizes.attention_dropout,
        "max_position_embeddings": sizes.max_tokens + 1,
        "type_vocab_size": 1,
        "layer_norm_eps": LAYER_NORM_EPS,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": str(dtype).removeprefix("torch."),
    }


def _modern_names(num_layers: int) -> dict[str, str]:
    """Pair our names of all weights of a modern encoder with ModernBERT's."""
    names = {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in _MODERN_NAMES.items()}
    for i in range(num_layers):
        for ours, theirs in _MODERN_LAYER_NAMES.items():
            if i or ours != "attention_norm":  # the first layer has none
                names[f"layers.{i}.{ours}.weight"] = f"layers.{i}.{theirs}.weight"
    return names


def _modern_config(sizes: EncoderSizes, dtype: torch.dtype) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": THETA}
    return {
        "architectures": ["ModernBertModel"],
        "model_type": "modernbert",
        "vocab_size": sizes.vocab_size,
        "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": sizes.num_heads,
        "intermediate_size": sizes.feed_forward_size,
        "hidden_activation": "gelu",
        "max_position_embeddings": sizes.max_tokens,
        "norm_eps": NORM_EPS,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": sizes.attention_dropout,
        "embedding_dropout": sizes.dropout,
        "mlp_dropout": sizes.dropout,
        "layer_types": ["full_attention"] * sizes.num_layers,
        "rope_parameters": {"full_attention": rope, "sliding_attention": rope},
        "global_attn_every_n_layers": 1,  # these two say the same to Transformers before 5
        "global_rope_theta": THETA,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "cls_token_id": None,
        "sep_token_id": None,
        "dtype": str(dtype).removeprefix("torch."),
    }


def to_hugging_face(encoder: Encoder) -> dict[str, Tensor]:
    """Name an encoder's weights, on the CPU, as XLM-RoBERTa or ModernBERT has them."""
    if encoder.sizes.architecture == "modern":
        own = {name: tensor.detach().cpu() for name, tensor in encoder.state_dict().items()}
        return {theirs: own[ours] for ours, theirs in _modern_names(encoder.sizes.num_layers).items()}
    return _xlm_roberta_weights(encoder)


def from_hugging_face(theirs: Mapping[str, Tensor], sizes: EncoderSizes) -> dict[str, Tensor]:
    """Undo `to_hugging_face`; weights that we have not are dropped.

    Raises:
        KeyError: a weight is missing.
    """
    if sizes.architecture == "modern":
        return {ours: theirs[name] for ours, name in _modern_names(sizes.num_layers).items()}
    return _from_xlm_roberta(theirs, sizes.num_layers)


def hugging_face_config(sizes: EncoderSizes, dtype: torch.dtype) -> dict[str, Any]:
    """Build the content of config.json."""
    return _modern_config(sizes, dtype) if sizes.architecture == "modern" else _xlm_roberta_config(sizes, dtype)
