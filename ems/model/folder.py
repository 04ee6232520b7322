"""The model folder: one folder that `ems.load`, sentence-transformers and Transformers all open.

Weights are safetensors under Hugging Face's names; nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ems.errors import InputError
from ems.files import atomic_folder, atomic_write
from ems.model.card import model_card
from ems.model.dual_encoder import DualEncoder, HeadSizes
from ems.model.encoder import Encoder
from ems.model.hugging_face import from_hugging_face, hugging_face_config, to_hugging_face
from ems.model.layers import EncoderSizes
from ems.tokenizer import Tokenizer
from ems.weights import read_weights, write_weights

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelInfo:
    """What a model folder says of its model beyond the weights.

    Attributes:
        languages: codes in the order of the language table's rows.
        training: facts about the run for the model card and `ems.json`: steps, pairs seen, digests, corpus counts.
        names: English names of languages that `ems.languages` does not know, by code.
        notes: sentences for the model card, such as how the authors fed their tokenizer.
    """

    languages: tuple[str, ...]
    training: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _sentence_transformers_files(sizes: EncoderSizes) -> dict[str, Any]:
    pooling = {
        "word_embedding_dimension": sizes.hidden_size,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "include_prompt": True,
    }
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    return {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": sizes.max_tokens, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }


def _head_weights(model: DualEncoder) -> dict[str, Tensor]:
    tied = {"reconstruction.output.weight"} if model.head_sizes.tied_output else set()
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("encoder.") and name not in tied
    }


def save_model_folder(folder: Path | str, model: DualEncoder, tokenizer: Tokenizer, info: ModelInfo) -> None:
    """Write the model folder, replacing an older one only when the new one is complete.

    Raises:
        InputError: the path is a file, or a folder with something else than a model in it.
        OSError: the disk is full or not writable; an older folder is then untouched.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"model folder {folder} is a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "ems.json").is_file():
        raise InputError(f"{folder} is not empty and holds no ems model; name another folder for the model")
    sizes = model.encoder.sizes
    weights = to_hugging_face(model.encoder)
    dtype = model.encoder.embeddings.token.weight.dtype
    ems = {
        "format_version": FORMAT_VERSION,
        "architecture": {"encoder": asdict(sizes), "heads": asdict(model.head_sizes)},
        "languages": list(info.languages),
        "language_names": dict(info.names),
        "training": dict(info.training),
        "notes": list(info.notes),
    }
    with atomic_folder(folder) as aside:
        (aside / "1_Pooling").mkdir()
        tokenizer.save(aside, max_tokens=sizes.max_tokens)
        write_weights(weights, aside / "model.safetensors")
        write_weights(_head_weights(model), aside / "heads.safetensors")
        files = {"config.json": hugging_face_config(sizes, dtype), "ems.json": ems}
        for name, value in {**files, **_sentence_transformers_files(sizes)}.items():
            (aside / name).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        (aside / "README.md").write_text(model_card(ems, {}), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent} is not an ems model folder: {path.name} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} does not hold a JSON object")
    return value


def read_info(folder: Path | str) -> dict[str, Any]:
    """Read and check `ems.json`.

    Raises:
        InputError: the folder is missing or no ems model folder, or a newer version wrote it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"model folder {folder} does not exist")
    info = _read_json(folder / "ems.json")
    if info.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{folder / 'ems.json'}: format_version {info.get('format_version')!r}, not {FORMAT_VERSION}")
    languages = info.get("languages")
    if not isinstance(languages, list) or not all(isinstance(code, str) for code in languages):
        raise InputError(f"{folder / 'ems.json'}: languages is not a list of codes")
    return info


def _sizes(kind: Any, info: dict[str, Any], key: str, path: Path) -> Any:
    try:
        return kind(**info["architecture"][key])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{path}: architecture.{key} cannot be used: {error}") from None


def _build(kind: Any, path: Path, *sizes: Any) -> Any:
    """Build a module without memory behind it, so that sizes are compared with the weights before any is taken."""
    try:
        with torch.device("meta"):
            return kind(*sizes)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: architecture cannot be built: {str(error).splitlines()[0]}") from None


def _fill(module: torch.nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give a module on the meta device its weights; every name and shape must agree."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name, shape in wanted.items():
        if name not in weights:
            raise InputError(f"{path}: weight {name!r} is missing")
        if tuple(weights[name].shape) != shape:
            raise InputError(f"{path}: weight {name!r} has shape {tuple(weights[name].shape)}, not {shape}")
    module.load_state_dict({name: weights[name] for name in wanted}, assign=True)


def _load_encoder_weights(folder: Path, sizes: EncoderSizes) -> dict[str, Tensor]:
    path = folder / "model.safetensors"
    theirs = read_weights(path)
    try:
        own = from_hugging_face(theirs, sizes)
    except KeyError as error:
        raise InputError(f"{path}: weight {error} is missing") from None
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}") from None
    dtypes = {tensor.dtype for tensor in own.values()}
    if len(dtypes) > 1 or not next(iter(dtypes)).is_floating_point or next(iter(dtypes)).itemsize < 2:
        raise InputError(f"{path}: weights are {', '.join(sorted(map(str, dtypes)))}, not of one floating-point type")
    for name, tensor in own.items():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path}: weight {name!r} is not finite")
    return own


def load_encoder(folder: Path | str) -> Encoder:
    """Open the encoder of a model folder, on the CPU and in evaluation mode.

    Raises:
        InputError: anything that is missing, damaged or does not fit together, by file and name.
    """
    folder = Path(folder)
    sizes = _sizes(EncoderSizes, read_info(folder), "encoder", folder / "ems.json")
    weights = _load_encoder_weights(folder, sizes)
    encoder: Encoder = _build(Encoder, folder / "ems.json", sizes)
    _fill(encoder, weights, folder / "model.safetensors")
    return encoder.eval().requires_grad_(False)


def load_dual_encoder(folder: Path | str) -> DualEncoder:
    """Open a model folder with its training heads, on the CPU and in evaluation mode.

    Raises:
        InputError: as `load_encoder`.
    """
    folder = Path(folder)
    info = read_info(folder)
    encoder_sizes = _sizes(EncoderSizes, info, "encoder", folder / "ems.json")
    head_sizes = _sizes(HeadSizes, info, "heads", folder / "ems.json")
    encoder_weights = _load_encoder_weights(folder, encoder_sizes)
    weights = {f"encoder.{name}": tensor for name, tensor in encoder_weights.items()}
    weights |= read_weights(folder / "heads.safetensors")
    if head_sizes.tied_output:
        weights["reconstruction.output.weight"] = weights["encoder.embeddings.token.weight"]
    model: DualEncoder = _build(DualEncoder, folder / "ems.json", encoder_sizes, head_sizes)
    _fill(model, weights, folder)
    if head_sizes.tied_output:
        model.reconstruction.output.weight = model.encoder.embeddings.token.weight
    return model.eval()


def rewrite_card(folder: Path | str, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write a model folder's README.md anew with measured scores: fractions by task and name."""
    folder = Path(folder)
    with atomic_write(folder / "README.md", "w") as file:
        file.write(model_card(read_info(folder), scores))
