"""How a step is cut: enough pairs for every process, and as many tokens in a forward pass as memory holds (`auto`)."""

from __future__ import annotations

import logging
import os
import resource
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ems.config import Config, with_max_tokens
from ems.data.packing import pack
from ems.errors import InputError, ToldElsewhere
from ems.model.dual_encoder import DualEncoder
from ems.ranks import Ranks
from ems.training.device import autocasting, choose_autocast, out_of_memory
from ems.training.reconstruction import LOGITS_AT_ONCE

logger = logging.getLogger(__name__)

_PROBES = (1, 2)  # numbers of longest sentences that are run to see what a token costs
_WORKING_LAYERS = 1.2  # what computing needs beside what is kept, in layers: 1.0 to 1.2 were measured
_LIBRARIES = 128 << 20  # buffers of the threads that multiply matrices, bytes
_SPARE = 0.9  # share of the free memory that is used: allocators leave gaps


def _cgroup_bytes(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return what the control group of this process still grants, None where it sets no limit."""
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


def _address_space_bytes() -> int | None:
    """Return what is left of the address space that this process may have (`ulimit -v`), None where it is unlimited."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return max(0, limit - pages * resource.getpagesize())


def free_bytes(device: torch.device) -> int:
    """Return the memory that this process can still have on a device, in bytes: of a CPU's, its share among the ranks.

    Of control groups only version 2 is known, and only the one that this process sees as the root, as in a container.

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
    shared = [limit for limit in (int(line.split()[1]) * 1024, _cgroup_bytes()) if limit is not None]
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes of this run on this machine, as torchrun says
    own = _address_space_bytes()
    return min([limit // here for limit in shared] + ([] if own is None else [own]))


def _bytes_kept(model: DualEncoder, autocast: torch.dtype | None, sentences: int) -> int:
    """Return what a training forward pass over so many of the longest sentences keeps for the backward pass."""
    device, longest = next(model.parameters()).device, model.encoder.sizes.max_tokens
    sizes = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor.detach()  # a tensor that held its own graph would never be freed

    tokens = np.full(sentences * longest, min(3, model.encoder.sizes.vocab_size - 1))
    packed = pack(tokens, np.full(sentences, longest)).to(device)
    was_training = model.training
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), autocasting(autocast, device):
        embedding = model.encoder(packed)  # held to the end, so that no address is used twice
    model.train(was_training)
    del embedding
    return sum(sizes.values())


def kept_bytes(model: DualEncoder, autocast: torch.dtype | None) -> tuple[float, float]:
    """Measure what a training forward pass keeps for the backward pass.

    Returns:
        Bytes a token, of the longest sentences, and bytes whatever the number of tokens: copies of the weights in half
        precision, for one.
    """
    few, many = (_bytes_kept(model, autocast, sentences) for sentences in _PROBES)
    longest = model.encoder.sizes.max_tokens
    per_token = (many - few) / (longest * (_PROBES[1] - _PROBES[0]))
    return per_token, few - per_token * longest * _PROBES[0]


def _fixed_bytes(model: DualEncoder, config: Config) -> int:
    """Return what a step needs whatever the number of tokens: gradients, moments, logits and cosines."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    pairs, output = config.batching.pairs, model.reconstruction.output.weight
    needed = (3 + config.training.amsgrad) * weights + _LIBRARIES  # gradient, two or three moments
    if config.objective.contrastive_weight:
        # Cosines of both directions, masked, their gradients, and the mask.
        needed += 25 * pairs**2
    if config.objective.reconstruction_weight:
        # Logits in float32 and half precision; gradients of the output matrix that wait to be added to earlier ones.
        # Where the step has a vocabulary of its own, its rows are copied as well.
        copies = 12 if config.objective.vocabulary == "step" else 8
        needed += 6 * min(LOGITS_AT_ONCE, 2 * pairs * output.shape[0]) + copies * output.numel()
    return needed


def _refuse(free: int, fixed: float, pair: str) -> InputError:
    return InputError(
        f"batching.max_tokens: {free / 1e9:.2f} GB are free, a tenth of which is spared, but weights and losses need "
        f"{fixed / 1e9:.2f} GB and a pair of longest sentences {pair}; choose a smaller model, model.max_tokens or "
        "batching.pairs"
    )


def _found(config: Config, model: DualEncoder) -> int:
    """Find how many tokens fit beside everything else."""
    device = next(model.parameters()).device
    free, fixed = free_bytes(device), float(_fixed_bytes(model, config))
    if _SPARE * free < fixed:
        raise _refuse(free, fixed, "more")
    try:
        kept, copies = kept_bytes(model, choose_autocast(config.run.precision, device))
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise _refuse(free, fixed, "more than there is") from None
    per_token = (1 + _WORKING_LAYERS / config.model.num_layers) * kept
    found, least = int((_SPARE * free - fixed - copies) / per_token), 2 * config.model.max_tokens
    if found < least:
        raise _refuse(free, fixed + copies, f"{least * per_token / 1e9:.2f} GB")
    most = config.batching.pairs * least
    why = "as many as fit" if found <= most else "all that a step can have"
    memory = f"{free / 1e9:.1f} GB are free, a token takes {per_token / 1e3:.0f} kB"
    logger.info("batching.max_tokens: %d (%s; %s)", min(found, most), why, memory)
    return min(found, most)


def check_ranks(config: Config, ranks: Ranks) -> None:
    """Make sure that every process has a pair of every step.

    Raises:
        InputError: there are more processes than pairs.
    """
    if config.batching.pairs < ranks.size:
        raise InputError(
            f"batching.pairs {config.batching.pairs} is below the number of processes, {ranks.size}, each of which "
            "needs a pair of every step"
        )


def with_token_budget(config: Config, model: DualEncoder, ranks: Ranks | None = None) -> Config:
    """Replace `batching.max_tokens: auto` by the most tokens that fit into the memory which the device has free now.

    Args:
        config: returned as it is where the number is given, or null.
        model: on its device, without gradients or optimizer state yet.
        ranks: all of them get the smallest number that one finds; None for this process alone.

    Raises:
        InputError: not even one pair of longest sentences fits.
    """
    if config.batching.max_tokens != "auto":
        return config
    ranks, found, problem = ranks or Ranks(), 0, ""
    try:
        found = _found(config, model)
    except InputError as error:
        problem = str(error)
    told = ranks.choose(bool(problem), problem)  # every rank learns whether one has too little
    if told:
        raise InputError(told) if ranks.is_first else ToldElsewhere(told)
    return with_max_tokens(config, ranks.least(found))
