"""How many tokens one forward pass may hold, found for the memory of the device: `batching.max_tokens: auto`."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ems.config import Config, with_max_tokens
from ems.data.packing import pack
from ems.errors import InputError
from ems.model.dual_encoder import DualEncoder
from ems.training.device import autocasting, choose_autocast
from ems.training.reconstruction import LOGITS_AT_ONCE

logger = logging.getLogger(__name__)

_PROBES = 2  # sentences of the longest length that are run to see what a token costs
_WORKING_LAYERS = 1.2  # what computing needs beside what is kept, in layers: 1.0 to 1.2 were measured
_LIBRARIES = 128 << 20  # buffers of the threads that multiply matrices, bytes
_SPARE = 0.9  # share of the free memory that is used: allocators leave gaps


def _cgroup_bytes() -> int | None:
    """Return what the control group of this process still grants, None where it sets no limit."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        # File contents that were read are counted as used, but given back when memory is wanted.
        cached = next(
            int(line.split()[1])
            for line in (folder / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
        return None if limit == "max" else max(0, int(limit) - int(used) + cached)
    except (OSError, ValueError, StopIteration):
        return None


def free_bytes(device: torch.device) -> int:
    """Return the memory that this process can still have on a device, in bytes.

    Raises:
        InputError: the system does not say.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    try:
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        raise InputError("batching.max_tokens: this system does not tell its free memory; give a number") from None
    available, granted = int(line.split()[1]) * 1024, _cgroup_bytes()
    return available if granted is None else min(available, granted)


def kept_bytes(model: DualEncoder, autocast: torch.dtype | None) -> float:
    """Return what a forward pass in training keeps for the backward pass: bytes a token, of the longest sentences."""
    device = next(model.parameters()).device
    longest = model.encoder.sizes.max_tokens
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}  # by address; held, so that none is used twice

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = np.full(_PROBES * longest, min(3, model.encoder.sizes.vocab_size - 1))
    sentences = pack(tokens, np.full(_PROBES, longest)).to(device)
    was_training = model.training
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocasting(autocast, device):
        embedding = model.encoder(sentences)
    model.train(was_training)
    del embedding
    sizes = (tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in weights)
    return sum(sizes) / len(tokens)


def _fixed_bytes(model: DualEncoder, config: Config) -> int:
    """Return what a step needs whatever the number of tokens: gradients, moments, logits and cosines."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    output = model.reconstruction.output.weight
    moments = 3 if config.training.amsgrad else 2
    logits = min(LOGITS_AT_ONCE, 2 * config.batching.pairs * output.shape[0])
    # Logits in float32 and twice in half precision; cosines of both directions, masked, their gradients, and the mask.
    losses = 8 * logits + 25 * config.batching.pairs**2
    # A gradient of the output matrix may wait to be added to that of an earlier run of rows.
    return (1 + moments) * weights + 4 * output.numel() + losses + _LIBRARIES


def with_token_budget(config: Config, model: DualEncoder) -> Config:
    """Replace `batching.max_tokens: auto` by the most tokens that fit into the memory which the device has free now.

    Args:
        config: returned as it is where the number is given, or null.
        model: on its device, without gradients or optimizer state yet.

    Raises:
        InputError: not even one pair of longest sentences fits.
    """
    if config.batching.max_tokens != "auto":
        return config
    device = next(model.parameters()).device
    working = 1 + _WORKING_LAYERS / config.model.num_layers
    per_token = working * kept_bytes(model, choose_autocast(config.run.precision, device))
    free, fixed = free_bytes(device), _fixed_bytes(model, config)
    found = int((_SPARE * free - fixed) / per_token)
    least = 2 * config.model.max_tokens
    if found < least:
        raise InputError(
            f"batching.max_tokens: {free / 1e9:.1f} GB are free, but weights and losses need {fixed / 1e9:.1f} GB and "
            f"a pair of longest sentences {least * per_token / 1e9:.1f} GB; choose a smaller model, model.max_tokens "
            "or batching.pairs"
        )
    chosen = min(found, config.batching.pairs * least)
    logger.info(
        "batching.max_tokens: %d, of %.1f GB free memory (%.0f kB a token)", chosen, free / 1e9, per_token / 1e3
    )
    return with_max_tokens(config, chosen)
