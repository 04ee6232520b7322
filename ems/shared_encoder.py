"""Encode with all processes of `torchrun`: rank 0 reads and tokenises, every rank computes its part of each window.

Only rank 0 knows what is done with the vectors; the other ranks are helpers that open the model it names and compute
what it sends, until it is done.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ems.data.packing import ragged_positions
from ems.errors import ToldElsewhere
from ems.inference import SentenceEncoder, load
from ems.ranks import Ranks

Result = TypeVar("Result")

FEWEST_TO_SHARE = 64  # sentences for each rank; fewer are computed before they would have been sent


def _deal(lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Deal sentences to ranks, longest first, so that all have about equally many tokens: an index array a rank."""
    order = np.argsort(-lengths, kind="stable")
    return [order[rank::size] for rank in range(size)]


class SharedEncoder(SentenceEncoder):
    """An encoder on rank 0 whose work the other ranks share; vectors differ from those of one process by rounding.

    Args:
        encoder: this rank's own.
        ranks: all of them; the others are in `first_with_helpers`, and have opened the same model.
        number: of the model among those that were opened; the helpers hold the last one only.
    """

    def __init__(self, encoder: SentenceEncoder, ranks: Ranks, number: int) -> None:
        super().__init__(encoder.encoder, encoder.tokenizer, encoder.languages)
        self.ranks = ranks
        self.number = number

    def encode_tokens(self, tokens: np.ndarray, lengths: np.ndarray, batch_size: int | None = None) -> Tensor:
        """See `SentenceEncoder.encode_tokens`."""
        size = self.ranks.size
        if len(lengths) < FEWEST_TO_SHARE * size:
            return super().encode_tokens(tokens, lengths, batch_size)
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        kept = np.minimum(lengths, self.max_tokens)
        parts = _deal(kept, size)
        picked = [(tokens[np.repeat(starts[p], kept[p]) + ragged_positions(kept[p])], kept[p]) for p in parts]
        self.ranks.tell([("encode", self.number, *part, batch_size) for part in picked])
        vectors = torch.empty(len(lengths), self.dimension)
        try:
            vectors[torch.from_numpy(parts[0])] = super().encode_tokens(*picked[0], batch_size)
        finally:  # also where this rank failed: the helpers listen again only when they have sent their parts
            for rank, part in enumerate(parts[1:], 1):
                found = torch.empty(len(part), self.dimension)
                self.ranks.receive(found, rank)
                vectors[torch.from_numpy(part)] = found
        return vectors


_numbers = itertools.count()


def load_shared(
    folder: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    ranks: Ranks | None = None,
) -> SentenceEncoder:
    """Open a model folder on rank 0 and on its helpers, in place of the one before; see `ems.inference.load`.

    Raises:
        InputError: as `load`; nothing is sent to the helpers then.
    """
    encoder = load(folder, device, dtype)
    if ranks is None or ranks.size == 1:
        return encoder
    number = next(_numbers)
    ranks.tell([("open", number, str(folder), device, dtype)] * ranks.size)
    return SharedEncoder(encoder, ranks, number)


def _help(ranks: Ranks) -> None:
    """Do what rank 0 sends, until it sends "end" or "failed".

    Raises:
        ToldElsewhere: rank 0 failed.
    """
    opened: tuple[int, SentenceEncoder] | None = None
    while True:
        what, *arguments = ranks.listen()
        if what == "end":
            return
        if what == "failed":
            raise ToldElsewhere("rank 0 says why")
        number, *rest = arguments
        if what == "open":
            opened = number, load(*rest)
        elif opened is None or opened[0] != number:
            raise RuntimeError(f"model {number} was opened before another one, which took its place")
        else:
            ranks.send(opened[1].encode_tokens(*rest))


def first_with_helpers(ranks: Ranks, do: Callable[[], Result]) -> Result | None:
    """Call a function on rank 0, which may encode with what `load_shared` opened, while the other ranks help.

    Returns:
        What it returned; None on the other ranks.

    Raises:
        ToldElsewhere: on the other ranks, when it failed on rank 0, where its own error is raised.
    """
    if not ranks.is_first:
        _help(ranks)
        return None
    try:
        result = do()
    except Exception:
        ranks.tell([("failed",)] * ranks.size)
        raise
    ranks.tell([("end",)] * ranks.size)
    return result
