"""Implementations side by side, each in a process of its own, doing one piece of work at a time when told to.

So each has its own allocator and peak memory, and yet they take turns on the same machine within seconds.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

from ems.benchmark.measure import peak_bytes
from ems.errors import InputError, RunError

_SECONDS_TO_END = 10

Work = Callable[[Any], Any]


def _serve(pipe: Connection, prepare: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    try:
        work = prepare(*arguments)
        pipe.send(("ready", None))
        while (message := pipe.recv()) is not None:
            pipe.send(("done", _peak() if message == "peak" else work(message)))
        del work
        gc.collect()  # ends its threads while the interpreter is whole
    except BaseException as error:
        told = isinstance(error, (InputError, RunError))
        pipe.send(("failed", error if told else RuntimeError(repr(error))))


def _peak() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else peak_bytes()


class Worker:
    """One implementation in its process.

    Args:
        prepare: called there with `arguments`; returns what does a piece of work, given what `do` is given.
        arguments: picklable.

    Raises:
        InputError: `prepare` raised it.
        RuntimeError: anything else it raised.
    """

    def __init__(self, prepare: Callable[..., Work], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            raise RuntimeError("a measured process ended; was there memory for it?") from None
        if kind == "failed":
            raise value
        return value

    def do(self, piece: Any) -> Any:
        """Have a piece of work done and return its result.

        Raises:
            RunError: it raised it.
            RuntimeError: it failed otherwise, or has ended.
        """
        with contextlib.suppress(OSError):  # it has ended; so says the answer
            self._pipe.send(piece)
        return self._answer()

    def peak(self) -> int:
        """Return its peak memory in bytes: what PyTorch allocated on a GPU, else the resident memory of the process."""
        return int(self.do("peak"))

    def close(self) -> None:
        """End the process: by asking, so that it can clean up, and by force if it does not listen."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(_SECONDS_TO_END)
        self._process.kill()
        self._process.join()


@contextmanager
def workers(names: list[str], prepare: Callable[..., Work], *arguments: Any) -> Iterator[dict[str, Worker]]:
    """Start a worker for each name, one after the other: `prepare(name, *arguments)`; all end with the block."""
    started: dict[str, Worker] = {}
    try:
        for name in names:
            started[name] = Worker(prepare, name, *arguments)
        yield started
    finally:
        for worker in started.values():
            worker.close()
