"""Checkpoints: written whole or not at all, verified when read, the newest few and the best kept, never unpickled."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ems.errors import InputError
from ems.files import atomic_folder
from ems.weights import read_weights, write_weights

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
_FILES = ("model.safetensors", "optimizer.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on as if it had never stopped.

    Attributes:
        step: optimizer steps taken.
        model: weights by name; a tied weight once.
        optimizer: moments and step counts, named `<weight number>.<moment>`.
        state: JSON values: data-stream state, best metric, versions.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _model_tensors(model: nn.Module) -> dict[str, Tensor]:
    # Parameters, not the state dict: a tied weight has two names there and safetensors refuses shared memory.
    return dict(model.named_parameters())


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, moments in state.items() for name, value in moments.items()}


def checkpoint_name(step: int) -> str:
    """Name the folder of a checkpoint: `step-00001000`."""
    return f"step-{step:08d}"


def save_checkpoint(
    root: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    *,
    keep: int,
    best_step: int,
) -> None:
    """Write `root/step-…` atomically; of all checkpoints up to it the newest `keep` stay, and one of
    `best_step` if there is one.

    Raises:
        OSError: the disk is full or not writable; older checkpoints are untouched.
    """
    for left_behind in root.glob(".step-*"):  # by a process that was killed while it wrote or deleted
        shutil.rmtree(left_behind, ignore_errors=True)
    with atomic_folder(root / checkpoint_name(step)) as aside:
        write_weights(_model_tensors(model), aside / _FILES[0])
        write_weights(_optimizer_tensors(optimizer), aside / _FILES[1])
        digests = {name: _digest(aside / name) for name in _FILES}
        content = {"format_version": FORMAT_VERSION, "step": step, "digests": digests, "state": state}
        content["own_digest"] = _json_digest(content)
        (aside / "state.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    folders = _folders(root)
    place = 1 + folders.index(root / checkpoint_name(step))
    # Later steps than this one are damaged ones that the run went back behind; they must not push good ones out.
    for old in folders[: max(0, place - keep)] + folders[place:]:
        if old.name != checkpoint_name(best_step):
            shutil.rmtree(old)


def _json_digest(content: dict[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "own_digest"}
    return hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=16).hexdigest()


def _folders(root: Path) -> list[Path]:
    """List finished checkpoints, oldest first; folders still being written begin with a dot."""
    return sorted(p for p in root.glob("step-*") if p.is_dir() and p.name[5:].isdigit())


def _read(folder: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        InputError: a file is missing, damaged, or not what the digests say.
    """
    try:
        content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if content["format_version"] != FORMAT_VERSION:
            found = content["format_version"]
            raise InputError(f"{folder / 'state.json'}: format_version {found}, this program reads {FORMAT_VERSION}")
        if _json_digest(content) != content["own_digest"]:
            raise InputError(f"{folder / 'state.json'} was changed after it was written")
        for name in _FILES:
            if _digest(folder / name) != content["digests"][name]:
                raise InputError(f"{folder / name} was changed after it was written")
        model, optimizer = (read_weights(folder / name) for name in _FILES)
        return Checkpoint(content["step"], model, optimizer, content["state"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"checkpoint {folder} is damaged: {type(error).__name__}: {error}") from None


def load_latest_checkpoint(root: Path) -> Checkpoint | None:
    """Read the newest good checkpoint; damaged ones are named in a warning and passed over.

    Returns:
        None where there is none at all.

    Raises:
        InputError: there are checkpoints, but every one is damaged.
    """
    folders = _folders(root)
    damage = []
    for folder in reversed(folders):
        try:
            return _read(folder)
        except InputError as error:
            damage.append(str(error))
            logger.warning("%s; trying the one before it", error)
    if damage:
        raise InputError(f"no checkpoint in {root} is whole: {damage[0]}")
    return None


def _moment_shapes(weight: Tensor, group: dict[str, Any]) -> dict[str, torch.Size]:
    if group.get("orthogonal"):
        return {"momentum": weight.shape}
    names = {"exp_avg", "exp_avg_sq"} | ({"max_exp_avg_sq"} if group["amsgrad"] else set())
    return dict.fromkeys(names, weight.shape) | {"step": torch.Size([])}


def _check_moments(moments: dict[int, dict[str, Tensor]], optimizer: torch.optim.Optimizer) -> None:
    """Refuse moments that the fused kernels, which trust their shapes, must not see."""
    groups = optimizer.param_groups
    weights = [(p, group) for group in groups for p in group["params"]]
    if sorted(moments) not in ([], list(range(len(weights)))):
        raise InputError("the checkpoint's optimizer.safetensors does not fit this model: other weights")
    for index, found in moments.items():
        weight, group = weights[index]
        shapes = _moment_shapes(weight, group)
        for name in shapes.keys() | found.keys():
            if name not in found or name not in shapes or found[name].shape != shapes[name]:
                raise InputError(f"the checkpoint's optimizer.safetensors does not fit this model at '{index}.{name}'")
            if found[name].dtype != (torch.float32 if name == "step" else weight.dtype):
                raise InputError(f"the checkpoint's optimizer.safetensors has {found[name].dtype} at '{index}.{name}'")


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put weights and moments back in place.

    Raises:
        InputError: the checkpoint is of another architecture; the first weight that differs is named.
    """
    parameters = dict(model.named_parameters())
    for name in sorted(parameters.keys() | checkpoint.model.keys()):
        found, wanted = checkpoint.model.get(name), parameters.get(name)
        if found is None or wanted is None or found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise InputError(f"the checkpoint does not fit this model at weight {name!r}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(checkpoint.model[name])
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in checkpoint.optimizer.items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index) if index.isdecimal() else -1, {})[name] = value
    _check_moments(moments, optimizer)
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
