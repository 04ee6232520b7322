"""Freed memory stays with the process once it was asked for."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Page faults of ten rounds of allocating, filling and freeing 64 MB, after as many that let the heap find its size.
FAULTS = """
import resource, sys
import torch
from ems.heap import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(10):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such setting")
def test_memory_that_was_freed_is_not_faulted_in_again():
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "give")
    )
    assert kept < 1000
    assert given_back > 10_000
