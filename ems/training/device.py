"""Which device and precision a run uses, and what its bits depend on beside the config."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from ems.ranks import Ranks


def choose_autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """Resolve run.precision to the dtype of matrix products, None for float32.

    On CPUs `auto` is float32: bfloat16 without native instructions is several times slower.
    """
    if precision == "auto":
        if device.type == "cpu":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocasting(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    """Compute matrix products in `dtype` within the block; None leaves them alone."""
    return torch.autocast(device.type, dtype=dtype) if dtype is not None else nullcontext()


def out_of_memory(error: RuntimeError) -> bool:
    """Say whether PyTorch failed because a device, or the CPU, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def environment(device: torch.device, ranks: Ranks) -> dict[str, str]:
    """Name what bit-equal resuming depends on beside the config.

    Args:
        device: that computes.
        ranks: the processes that train together.
    """
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    capability = "" if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": f"{device.type} {platform.machine()} {processor} {capability}".strip(),
        "threads": str(torch.get_num_threads()),
        "number of processes": str(ranks.size),
    }
