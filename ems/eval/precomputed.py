"""Look sentences up among embeddings computed elsewhere, in .npy files beside the texts that they embed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError
from ems.eval.parallel_text import read_lines

_ROWS_CHECKED = 65_536  # at a time, of a mapped array


def load_array(path: Path, mmap_mode: Literal["r"] | None = None) -> NDArray[Any]:
    """Read a .npy file, or map it into memory.

    Raises:
        OSError: it cannot be read.
        ValueError: it is something else, damaged, or cut off, or announces more numbers than there is memory for.
    """
    try:
        loaded = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy evaluates the header as Python: damage there raises nearly anything
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    if not isinstance(loaded, np.ndarray):
        raise ValueError("it is an .npz archive; save one array a file")
    return loaded


class PrecomputedEmbeddings:
    """Look sentences up in a folder of embeddings computed elsewhere.

    Every `NAME.npy`, (N, D), stands beside a text file `NAME` or `NAME.txt` with the N sentences it embeds, one a line:
    what `encode --input NAME --output NAME.npy` gives. Vectors are found by text, so that no row can be mistaken.

    Raises:
        InputError: a text is missing, the numbers of rows differ, dimensions differ, or an array is unreadable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[int, int]] = {}
        self._arrays: list[NDArray[Any]] = []
        for array_file in sorted(folder.glob("*.npy")):
            texts = [path for path in (array_file.with_suffix(""), array_file.with_suffix(".txt")) if path.is_file()]
            if not texts:
                raise InputError(f"{array_file}: the sentences are missing; expected {array_file.stem} beside it")
            sentences = read_lines(texts[0])
            vectors = self._read(array_file)
            if len(vectors) != len(sentences):
                raise InputError(f"{array_file} has {len(vectors)} rows, but {texts[0]} has {len(sentences)} lines")
            for row, sentence in enumerate(sentences):
                self._places.setdefault(sentence, (len(self._arrays), row))
            self._arrays.append(vectors)

    def _read(self, array_file: Path) -> NDArray[Any]:
        try:
            vectors = load_array(array_file, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(f"{array_file}: not a readable .npy array ({error})") from error
        if vectors.dtype.kind not in "fiu":
            raise InputError(f"{array_file} must hold numbers, not {vectors.dtype}")
        if vectors.ndim != 2 or vectors.shape[1] == 0:
            raise InputError(f"{array_file} must have two dimensions (sentences, values), not shape {vectors.shape}")
        for start in range(0, len(vectors), _ROWS_CHECKED):
            with np.errstate(over="ignore"):
                finite = np.isfinite(vectors[start : start + _ROWS_CHECKED].astype(np.float32)).all(axis=1)
            if not finite.all():
                raise InputError(f"{array_file}: row {start + int(finite.argmin())} is not finite in float32")
        if self._arrays and vectors.shape[1] != self._arrays[0].shape[1]:
            raise InputError(f"{array_file} has dimension {vectors.shape[1]}, others {self._arrays[0].shape[1]}")
        return vectors

    def encode(self, sentences: list[str]) -> NDArray[np.float32]:
        """Return float32 (N, D).

        Raises:
            InputError: a sentence is in none of the text files.
        """
        rows = []
        for sentence in sentences:
            if sentence not in self._places:
                raise InputError(f"{self.folder}: no embedding of the sentence {sentence[:60]!r}")
            array, row = self._places[sentence]
            rows.append(self._arrays[array][row])
        return np.array(rows, dtype=np.float32).reshape(len(rows), self._arrays[0].shape[1])
