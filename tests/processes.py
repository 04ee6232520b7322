"""Start real processes for tests: several at once by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from tests.tiny import ROOT


def torchrun(size: int, *arguments: object, **more: Any) -> subprocess.Popen[str]:
    """Start a script in `size` processes; text comes back through pipes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )
