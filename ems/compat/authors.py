"""Open a checkpoint of the original EMS code and write it as a model folder.

Its files are pickles, so they are read with `weights_only=True`, which builds tensors and plain containers and refuses
everything else. Two layouts exist: the reconstruction head's transform lies below `model.transform` or, in older files,
below `model.decoder.transform`; and its output is either a matrix of its own or the word embedding.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ems.data import grammar
from ems.errors import InputError
from ems.model.dual_encoder import DualEncoder, HeadSizes
from ems.model.folder import ModelInfo, save_model_folder
from ems.model.layers import EncoderSizes
from ems.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

HEAD_SIZE = 64  # width of one attention head in every published model
_WORD = "model.bert.embedding.word_embedding.embedding.weight"
_POSITION = "model.bert.embedding.position_embedding.position_embeddings.weight"
_LANGUAGE = "model.la_tag_linear.embedding.weight"
_OUTPUT = "model.decoder.decoder.weight"
_OLD_TRANSFORM, _TRANSFORM = "model.decoder.transform.", "model.transform."
_NORMED = {  # theirs -> ours, each with a weight and a bias
    "model.bert.embedding.layer_norm": "encoder.embeddings.norm",
    "model.la_tag_linear.layer_norm": "language.norm",
    "model.transform.dense": "reconstruction.dense",
    "model.transform.LayerNorm": "reconstruction.norm",
    "alignproj.0": "projection.dense",
    "alignproj.3": "projection.output",
}
_LAYER = {
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "feed_forward_norm",
}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"checkpoint {path} does not exist") from None
    except Exception as error:  # a damaged pickle fails in whatever way its bytes happen to say
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} is no checkpoint that can be read without running code: {reason[:200]}") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds {type(content).__name__}, not a checkpoint of the original EMS code")
    return content


def _state_dict(path: Path) -> dict[str, Tensor]:
    """Find the weights, bare or below `state_dict`, and bring their names to one form."""
    content = _read(path)
    inner = content.get("state_dict", content)
    if not isinstance(inner, Mapping):
        raise InputError(f"{path}: state_dict holds {type(inner).__name__}, not weights by name")
    weights = {}
    for key, value in inner.items():
        if not isinstance(value, Tensor):
            continue
        name = str(key).removeprefix("module.")
        if name.startswith(_OLD_TRANSFORM):
            name = _TRANSFORM + name.removeprefix(_OLD_TRANSFORM)
        weights[name] = value.float()
    if _WORD not in weights:
        raise InputError(f"{path} is no checkpoint of the original EMS code: weight {_WORD!r} is missing")
    return weights


def _take(weights: dict[str, Tensor], name: str, path: Path) -> Tensor:
    try:
        return weights.pop(name)
    except KeyError:
        raise InputError(f"{path}: weight {name!r} is missing") from None


def _take_square(weights: dict[str, Tensor], name: str, path: Path) -> Tensor:
    """Take a map of the width onto itself, or its bias."""
    width = len(weights[_WORD][0])
    weight = _take(weights, name, path)
    wanted = (width,) if name.endswith("bias") else (width, width)
    if weight.shape != wanted:
        raise InputError(f"{path}: weight {name!r} has shape {tuple(weight.shape)}, not {wanted}")
    return weight


def _rename(weights: dict[str, Tensor], num_layers: int, path: Path) -> dict[str, Tensor]:
    """Give every weight our name; what is left over is refused."""
    ours = {
        "encoder.embeddings.token.weight": weights[_WORD],
        "encoder.embeddings.position.weight": _take(weights, _POSITION, path),
        "language.table.weight": _take(weights, _LANGUAGE, path),
        "reconstruction.output.weight": weights.pop(_OUTPUT, weights[_WORD]),
    }
    weights.pop("model.target_embedding.weight", None)  # the tied layout stores the word embedding once more
    for end in ("weight", "bias"):
        for their_name, our_name in _NORMED.items():
            ours[f"{our_name}.{end}"] = _take(weights, f"{their_name}.{end}", path)
        for i in range(num_layers):
            theirs, layer = f"model.bert.encoder.layer.{i}.", f"encoder.layers.{i}."
            thirds = [f"{theirs}attention.self_attention.{part}.{end}" for part in ("query", "key", "value")]
            ours[f"{layer}attention.qkv.{end}"] = torch.cat([_take_square(weights, third, path) for third in thirds])
            for their_name, our_name in _LAYER.items():
                ours[f"{layer}{our_name}.{end}"] = _take(weights, f"{theirs}{their_name}.{end}", path)
    del weights[_WORD]
    if weights:
        raise InputError(f"{path}: weight {min(weights)!r} belongs to no layout of the original EMS code")
    return ours


def _num_layers(weights: Mapping[str, Tensor]) -> int:
    numbers = [re.match(r"model\.bert\.encoder\.layer\.(\d+)\.", name) for name in weights]
    return 1 + max((int(match[1]) for match in numbers if match), default=-1)


def _num_heads(width: int, wanted: int | None) -> int:
    heads = width // HEAD_SIZE if wanted is None else wanted
    if heads < 1 or width % heads:
        raise InputError(
            f"--num-heads {heads} does not divide the width {width}; "
            "the checkpoint does not hold the number of heads, so give the one it was trained with"
        )
    return heads


def build_from_checkpoint(checkpoint: Path | str, *, num_heads: int | None = None) -> DualEncoder:
    """Build the model that a checkpoint of the original EMS code holds.

    Args:
        checkpoint: file with the weights, bare or below `state_dict`, names with or without `module.`.
        num_heads: attention heads, which the file does not hold; None means width // 64.

    Returns:
        The model in float32 on the CPU, in evaluation mode.

    Raises:
        InputError: the file is missing, would need code to be run, or is of another layout.
    """
    path = Path(checkpoint)
    weights = _state_dict(path)
    word, layers = weights[_WORD], _num_layers(weights)
    feed_forward = "model.bert.encoder.layer.0.intermediate.dense.weight"
    for name in (_WORD, _POSITION, _LANGUAGE, "alignproj.3.weight", feed_forward):
        if name not in weights:
            raise InputError(f"{path}: weight {name!r} is missing")
        if weights[name].dim() != 2 or not weights[name].numel():
            raise InputError(f"{path}: weight {name!r} has shape {tuple(weights[name].shape)}, which is no matrix")
    output = weights.get(_OUTPUT, word)
    tied = output.shape == word.shape and torch.equal(output, word)
    num_languages, language_size = weights[_LANGUAGE].shape
    sizes = EncoderSizes(
        vocab_size=word.shape[0],
        num_layers=layers,
        hidden_size=word.shape[1],
        num_heads=_num_heads(word.shape[1], num_heads),
        feed_forward_size=weights[feed_forward].shape[0],
        max_tokens=weights[_POSITION].shape[0] - 1,
    )
    heads = HeadSizes(num_languages, language_size, weights["alignproj.3.weight"].shape[0], tied_output=tied)
    renamed = _rename(weights, layers, path)  # before any layer is built: their number is what a file says
    model = DualEncoder(sizes, heads)
    for name, parameter in model.state_dict().items():
        if renamed[name].shape != parameter.shape:
            raise InputError(
                f"{path}: weight for {name!r} has shape {tuple(renamed[name].shape)}, not {tuple(parameter.shape)}"
            )
    model.load_state_dict(renamed)
    return model.eval()


def _languages(tokenizer: Tokenizer, number: int) -> tuple[str, ...]:
    """Read the language order from the tag pieces `<2xx>`, whose ids follow the order of the language table."""
    pieces = (tokenizer.id_to_piece(i) for i in range(min(tokenizer.vocab_size, number + 8)))
    tagged = [match[1] for match in (re.fullmatch(r"<2(.+)>", piece) for piece in pieces) if match]
    if len(tagged) < number:
        logger.warning("the tokenizer names %d of the checkpoint's %d languages", len(tagged), number)
    return tuple(tagged[i] if i < len(tagged) else f"language-{i}" for i in range(number))


def _report_differences(tokenizer: Tokenizer) -> None:
    """Say on how many sentences of ten languages the folder's ids will differ from SentencePiece's own."""
    probe = [sentence for sentences in grammar.held_out(100).values() for sentence in sentences]
    found = tokenizer.count_differences(probe)
    logger.info("%d of %d probe sentences get other ids than from SentencePiece", found.different, found.total)


def import_checkpoint(
    checkpoint: Path | str,
    sentencepiece_model: Path | str,
    output_folder: Path | str,
    *,
    num_heads: int | None = None,
    split_punctuation: bool = False,
) -> Path:
    """Write a checkpoint of the original EMS code as a model folder.

    The folder lower-cases text by itself. The authors also ran the Moses tokeniser (jieba for Chinese, Juman++ for
    Japanese) before their subword model; the model card says so, and `split_punctuation` comes closer to it.

    Args:
        checkpoint: see `build_from_checkpoint`.
        sentencepiece_model: the `.model` file it was trained with.
        output_folder: model folder to write; an existing one is replaced only when the new one is complete.
        num_heads: see `build_from_checkpoint`.
        split_punctuation: set punctuation marks off by spaces before the subword model.

    Returns:
        The output folder.

    Raises:
        InputError: a file is missing, would need code to be run, or is of another layout.
    """
    model = build_from_checkpoint(checkpoint, num_heads=num_heads)
    tokenizer = Tokenizer.from_sentencepiece(Path(sentencepiece_model), split_punctuation=split_punctuation)
    rows = model.encoder.sizes.vocab_size
    if tokenizer.vocab_size > rows:
        logger.warning(
            "%s has %d pieces, but the checkpoint embeds %d: the folder cannot encode text with this tokenizer",
            sentencepiece_model,
            tokenizer.vocab_size,
            rows,
        )
    _report_differences(tokenizer)
    split = "punctuation is set off by spaces" if split_punctuation else "punctuation is left as it is"
    info = ModelInfo(
        languages=_languages(tokenizer, model.head_sizes.num_languages),
        notes=(
            "Imported from a checkpoint of the original EMS code",
            "The authors fed this tokenizer lower-cased text that the Moses tokeniser (jieba for Chinese, Juman++ for "
            f"Japanese) had split; here text is lower-cased and {split}, so scores can differ from theirs",
        ),
    )
    save_model_folder(output_folder, model, tokenizer, info)
    return Path(output_folder)
