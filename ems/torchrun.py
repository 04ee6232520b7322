"""What `torchrun` says to the processes it starts, read from the environment; light to import."""

from __future__ import annotations

import os

from ems.errors import InputError

_SET_BY_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def _started_by_torchrun() -> bool:
    # A scheduler may set WORLD_SIZE for reasons of its own; without the rest there is nobody to talk to.
    return all(name in os.environ for name in _SET_BY_TORCHRUN)


def _number(name: str) -> int:
    value = os.environ[name]
    if not value.isdecimal():
        raise InputError(f"{name} in the environment is {value!r}, not a number; start several processes with torchrun")
    return int(value)


def world_size() -> int:
    """Return the number of processes that share this command's work; 1 for one that was started alone.

    Raises:
        InputError: the environment holds something else than a number.
    """
    return _number("WORLD_SIZE") if _started_by_torchrun() else 1


def is_first_rank() -> bool:
    """Say whether this is the process that writes and speaks: the only one, or rank 0 under `torchrun`."""
    return not _started_by_torchrun() or os.environ["RANK"] == "0"


def local_rank() -> int:
    """Return the number of this process on its machine, which is that of its GPU."""
    return _number("LOCAL_RANK") if _started_by_torchrun() else 0
