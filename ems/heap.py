"""Let the process keep the memory it frees, so that a step does not fault the pages of the step before in again.

A training step allocates and frees the same large tensors over and over. The C library hands such blocks back to the
system at once, and the next step pays for every page anew: a sixth of the time of a step at the paper's size on a CPU.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, see its manual page
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Set the C library up for the rest of the process: large blocks come from the heap, which does not shrink.

    The resident memory of the process then stays at its peak. Returns whether the C library can do so (glibc).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
