"""Compute the next items of an iterator in a thread while the caller works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    """What comes after the last item."""


def prefetch(items: Iterable[Item], depth: int = 1) -> Iterator[Item]:
    """Yield the items in order, up to `depth` of them computed ahead by one thread.

    An exception of the iterator is raised at the item where it happened. Closing the generator waits for the item
    under way and computes no further one.
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    waiting: deque[Future[Item | _End]] = deque(pool.submit(next, iterator, _End()) for _ in range(depth))
    try:
        while not isinstance(item := waiting.popleft().result(), _End):
            waiting.append(pool.submit(next, iterator, _End()))
            yield item
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
