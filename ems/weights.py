"""Read and write weight files: safetensors only, and every failure in one line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ems.errors import InputError


def _default_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


_MODE = _default_mode()  # of new files; read once, as nothing else can read it without changing it


def write_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name; those on other devices are copied to the CPU first.

    Raises:
        OSError: the disk is full or not writable.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(contiguous, path, metadata={"format": "pt"})
        os.chmod(path, _MODE)  # safetensors writes files that only their owner can read
    except SafetensorError as error:  # what the package makes of an error of the file system
        raise OSError(f"{path} cannot be written: {error}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        InputError: it is missing, truncated, or no safetensors file (a pickle, for one, whatever its name).
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; pickled weights are never loaded") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path} is no whole safetensors file: {error}") from None
