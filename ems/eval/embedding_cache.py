"""Keep embeddings on disk so that a file that was changed, damaged or moved is never taken for what was written.

A file is an array as NumPy saves it, and behind that, where NumPy does not look, a digest of the array and of the
file's own place in the cache. Both are in one file because of two one could be replaced without the other.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError
from ems.eval.precomputed import load_array
from ems.files import atomic_write

_DIGEST_BYTES = 16


def cache_folder(cache: Path) -> Path:
    """Make the folder, so that an unusable one is found before time goes into encoding."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cache {cache} cannot be used as a folder ({error.strerror})") from error
    return cache


def _digest(kept: Path, vectors: NDArray[Any]) -> bytes:
    # The names of folder and file are what the vectors are of: the encoder's fingerprint and the sentences' digest.
    of = f"{kept.parent.name}/{kept.name} {vectors.dtype.str} {vectors.shape}"
    digest = blake2b(of.encode(), digest_size=_DIGEST_BYTES)
    digest.update(np.ascontiguousarray(vectors).reshape(-1).data)
    return digest.digest()


def keep_vectors(kept: Path, vectors: NDArray[np.float32]) -> None:
    """Write float32 (N, D) to `kept`, below a folder that is made if absent.

    Raises:
        OSError: as the file system gives it.
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(kept) as file:
        np.save(file, vectors)
        file.write(_digest(kept, vectors))


def read_vectors(kept: Path) -> NDArray[np.float32]:
    """Return what `keep_vectors` wrote to the same place.

    Raises:
        OSError: it cannot be read.
        ValueError: it is anything else.
    """
    vectors = load_array(kept)
    with open(kept, "rb") as file:
        file.seek(-_DIGEST_BYTES, os.SEEK_END)
        stated = file.read()
    if vectors.dtype != np.float32 or stated != _digest(kept, vectors):
        raise ValueError("it does not hold what was written")
    return vectors
