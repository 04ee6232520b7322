"""The processes that share the work of one command (ranks), and what they tell each other.

`torchrun` starts them and says to each which it is. A process that was started alone is rank 0 of 1; every call then
returns at once. Whatever is written, rank 0 writes.
"""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from ems.errors import InputError, RunError, ToldElsewhere
from ems.torchrun import local_rank, world_size

Result = TypeVar("Result")

# Others wait that long for rank 0, which prepares text and validates; one that has died is noticed at once.
_PATIENCE = timedelta(hours=12)
_MEETING = timedelta(minutes=10)  # until all processes have started


class _Gather(torch.autograd.Function):
    """Rows of all ranks, in the order of ranks; what all ranks want of a row comes back to it as one gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        ctx.first, ctx.count = sum(counts[:rank]), counts[rank]
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        gradient = grads[0].contiguous()
        dist.all_reduce(gradient)
        return gradient[ctx.first : ctx.first + ctx.count], None, None


class Ranks:
    """This process among those of its run.

    Attributes:
        rank: 0 for the one that writes.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Join the rows of all ranks, with gradient.

        Args:
            rows: (own count, …), on the device of the run.
            counts: rows of each rank.

        Returns:
            (sum of counts, …), in the order of ranks.
        """
        if self.size == 1:
            return rows
        joined: Tensor = _Gather.apply(rows, tuple(counts), self.rank)
        return joined

    def add(self, values: Tensor) -> Tensor:
        """Add up a tensor over all ranks; every rank gets the sum."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def _reduce(self, number: int, operation: dist.ReduceOp.RedOpType) -> int:
        reduced = torch.tensor(number)  # on the CPU, so that no GPU is waited for
        if self.size > 1:
            dist.all_reduce(reduced, op=operation)
        return int(reduced)

    def least(self, number: int) -> int:
        """Return the smallest of the numbers that the ranks give."""
        return self._reduce(number, dist.ReduceOp.MIN)

    def any(self, flag: bool) -> bool:
        """Say whether one of the ranks says so."""
        return bool(self._reduce(int(flag), dist.ReduceOp.MAX))

    def choose(self, good: bool, value: Result) -> Result:
        """Return, on every rank, the value of the first rank that calls its own good; of rank 0 if none does."""
        found: list[Any] = [(good, value)] * self.size
        if self.size > 1:
            dist.all_gather_object(found, (good, value))  # pickled, between our own processes
        chosen: Result = next((value for good, value in found if good), found[0][1])
        return chosen

    def only_first(self, do: Callable[[], Result]) -> Result:
        """Call a function on rank 0 while the others wait, and return its result, picklable, on every rank.

        Raises:
            ToldElsewhere: on the other ranks, when it failed on rank 0, where its own error is raised.
        """
        if self.size == 1:
            return do()
        outcome: list[Any] = [None, True]
        failure: BaseException | None = None
        if self.is_first:
            try:
                outcome[0] = do()
            except BaseException as error:
                outcome[1], failure = False, error
        dist.broadcast_object_list(outcome)
        if failure is not None:
            raise failure
        if not outcome[1]:
            raise ToldElsewhere("rank 0 says why")
        result: Result = outcome[0]
        return result

    def told_once(self, do: Callable[[], Result]) -> Result:
        """Call a function on every rank; where its input is at fault on several, one of them says so.

        The function may not talk to other ranks.

        Raises:
            InputError: on the first rank where the function raised it.
            ToldElsewhere: on the other ranks.
        """
        if self.size == 1:
            return do()
        own: list[Result] = []
        failure: InputError | None = None
        try:
            own.append(do())
        except InputError as error:
            failure = error
        failed: list[Any] = [None] * self.size
        dist.all_gather_object(failed, failure is not None)
        if not any(failed):
            return own[0]
        if failure is not None and failed.index(True) == self.rank:
            raise failure
        raise ToldElsewhere("another rank says why")

    def tell(self, messages: Sequence[Any]) -> None:
        """Send each rank its own message, picklable, from rank 0; the others wait for it in `listen`."""
        if self.size > 1:
            dist.scatter_object_list([None], list(messages))

    def listen(self) -> Any:
        """Wait for what rank 0 tells this rank."""
        message: list[Any] = [None]
        dist.scatter_object_list(message)
        return message[0]

    def send(self, values: Tensor) -> None:
        """Send a tensor on the CPU to rank 0, which waits for it in `receive`."""
        dist.send(values.contiguous(), 0)

    def receive(self, values: Tensor, rank: int) -> None:
        """Fill a tensor on the CPU with what a rank sends."""
        dist.recv(values, rank)

    def first_then_all(self, do: Callable[[], Result]) -> Result:
        """Call a function on rank 0, and when it is done on the others, each with a result of its own.

        Raises:
            ToldElsewhere: on the other ranks, when it failed on rank 0, where its own error is raised.
        """
        if self.size == 1:
            return do()
        own: list[Result] = []
        self.only_first(lambda: own.append(do()))
        return own[0] if own else do()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let signals end this process at once: where it waits in PyTorch, no handler of Python's would run."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lost_another(error: BaseException) -> bool:
    """Say whether an error means that another process of the run ended or does not answer."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


@contextmanager
def joined_ranks(device: str | None, remedy: str) -> Iterator[Ranks]:
    """Join the other processes of this run, if `torchrun` started this one.

    Args:
        device: that is asked for, "auto" or None for the best there is; on GPUs, one each for the ranks of a machine.

        remedy: what to do when another process has ended.

    Raises:
        RunError: another process ended, or does not answer.
    """
    size = world_size()
    if size == 1:
        yield Ranks()
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(local_rank())
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    with _ended_by_signals():
        store, rank, size = next(rendezvous("env://", timeout=_MEETING))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    ranks = Ranks(rank, size)
    if not ranks.is_first:
        logging.getLogger("ems").setLevel(logging.ERROR)
    try:
        yield ranks
        gc.collect()  # what still refers to the group must not outlive it
        dist.barrier()
    except RuntimeError as error:
        if not _lost_another(error):
            raise
        raise RunError(f"rank {ranks.rank}: another process of this run ended or does not answer; {remedy}") from None
    finally:
        dist.destroy_process_group()
