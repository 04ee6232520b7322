"""Vectors of a teacher model, found by the sentence that they are of: what distillation aims at."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ems.config import TeacherConfig
from ems.data.keyed import token_digests
from ems.errors import InputError
from ems.tokenizer import Tokenizer

_LINES_AT_ONCE = 50_000


@dataclass(frozen=True)
class TeacherRows:
    """The teacher's vectors of B pairs.

    Attributes:
        vectors: float32 (B, D), of the source sentence, or of the target where the teacher does not know the source.
        known: bool (B,), False where it knows neither; the vector is then zero.
    """

    vectors: Tensor
    known: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> TeacherRows:
        """Apply a function to both tensors."""
        return TeacherRows(change(self.vectors), change(self.known))


def _read_blocks(path: Path) -> Iterator[list[str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            lines = (line.rstrip("\r\n") for line in file)
            yield from iter(lambda: list(itertools.islice(lines, _LINES_AT_ONCE)), [])
    except OSError as error:
        raise InputError(f"objective.teacher.sentences: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"objective.teacher.sentences: {path} is not UTF-8: {error}") from None


def _open_vectors(path: Path) -> np.ndarray:
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"objective.teacher.vectors: {path} cannot be read: {error}") from None
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        raise InputError(f"objective.teacher.vectors: {path} does not hold a matrix of floats, one row a sentence")
    return vectors


def _check_finite(vectors: np.ndarray, path: Path) -> None:
    for first in range(0, len(vectors), _LINES_AT_ONCE):
        with np.errstate(over="ignore"):
            block = vectors[first : first + _LINES_AT_ONCE].astype(np.float32)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = first + int(finite.argmin())
            raise InputError(f"objective.teacher.vectors: {path}, row {row} (line {row + 1}) is not finite in float32")


class TeacherVectors:
    """Look vectors up by the digest of a sentence's tokens.

    The vectors stay on disk, mapped into memory; 16 bytes a sentence are held.

    Attributes:
        size: width D of a vector.
        digest: of both files, so that a run goes on with the same teacher only.

    Args:
        config: where the sentences and their vectors are.
        tokenizer: of the run; sentences that it cannot tell apart are one.

    Raises:
        InputError: a file cannot be read, there are not as many vectors as sentences, or a vector is not finite.
    """

    def __init__(self, config: TeacherConfig, tokenizer: Tokenizer) -> None:
        sentences, vectors = Path(config.sentences), Path(config.vectors)
        self._vectors = _open_vectors(vectors)
        digests = []
        for lines in _read_blocks(sentences):
            tokens, lengths = tokenizer.encode_flat(lines)
            digests.append(token_digests(tokens, lengths))
        joined = np.concatenate(digests) if digests else np.zeros(0, dtype=np.uint64)
        if len(joined) != len(self._vectors):
            raise InputError(
                f"objective.teacher: {sentences} has {len(joined)} lines, {vectors} has {len(self._vectors)} rows; "
                "row i has to be the vector of line i"
            )
        _check_finite(self._vectors, vectors)
        self._order = np.argsort(joined, kind="stable")
        self._sorted = joined[self._order]
        self.size = self._vectors.shape[1]
        with open(vectors, "rb") as file:
            both = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        both.update(joined.tobytes())
        self.digest = both.hexdigest()

    def _find(self, digests: np.ndarray) -> np.ndarray:
        """Return the row of each sentence, -1 where there is none: uint64 (B,) -> int64 (B,)."""
        place = np.minimum(np.searchsorted(self._sorted, digests), len(self._sorted) - 1)
        return np.where(self._sorted[place] == digests, self._order[place], -1)

    def find(self, src_digests: np.ndarray, tgt_digests: np.ndarray) -> np.ndarray:
        """Return the row of each pair's source, else of its target, else -1: uint64 (B,) twice -> int64 (B,)."""
        source = self._find(src_digests)
        return np.where(source >= 0, source, self._find(tgt_digests))

    def rows_of(self, src_digests: np.ndarray, tgt_digests: np.ndarray) -> TeacherRows:
        """Read the vectors of B pairs, by the digests of both sides, uint64 (B,)."""
        rows = self.find(src_digests, tgt_digests)
        known = rows >= 0
        vectors = np.zeros((len(rows), self.size), dtype=np.float32)
        vectors[known] = self._vectors[rows[known]]
        return TeacherRows(torch.from_numpy(vectors), torch.from_numpy(known))
