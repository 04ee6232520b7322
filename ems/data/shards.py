"""Read a prepared corpus: all pairs of all language pairs, tokenised, in files that are mapped into memory.

What is used of the files is cached by the operating system and given back when memory is short; a process itself holds
some numbers for each corpus file. How the files are made and laid out is told in `shard_writer` and `shard_manifest`.

Example:
    >>> shards = open_shards("runs/small/prepared", tokenizer.fingerprint)  # doctest: +SKIP
    >>> pairs = shards.fetch(np.array([0, 0]), np.array([5, 17]))  # doctest: +SKIP
"""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ems.data.shard_manifest import (
    DIGEST,
    FILES,
    OFFSET,
    Manifest,
    Shard,
    find_damage,
    orient,
    read_manifest,
    token_dtype,
)
from ems.data.shard_writer import prepare
from ems.errors import InputError

__all__ = ["Manifest", "ShardFolder", "TokenPairs", "open_shards", "prepare"]

_ROWS_AT_ONCE = 1 << 16  # 1 MiB of digests
_ROWS_UNTIL_RELEASE = 1024  # each may map 64 KiB around its three places
_OTHER_FILES = 32  # that a process may want open beside the shards


@dataclass(frozen=True)
class TokenPairs:
    """n pairs, not truncated.

    Attributes:
        src_tokens: int32 (S,), token ids of all sources, one after the other; none empty.
        src_offsets: int64 (n + 1,), where each source begins, and the end.
        tgt_tokens: int32 (T,), likewise.
        tgt_offsets: int64 (n + 1,).
        src_langs: int64 (n,), index into `ShardFolder.languages`.
        tgt_langs: int64 (n,).
        src_digests: uint64 (n,), equal for equal token sequences; see `token_digests`.
        tgt_digests: uint64 (n,).
    """

    src_tokens: np.ndarray
    src_offsets: np.ndarray
    tgt_tokens: np.ndarray
    tgt_offsets: np.ndarray
    src_langs: np.ndarray
    tgt_langs: np.ndarray
    src_digests: np.ndarray
    tgt_digests: np.ndarray

    def __len__(self) -> int:
        return len(self.src_langs)


class _MappedShard:
    """The arrays of one shard, as they are: what they hold has to be checked whenever it is used."""

    def __init__(self, folder: Path, shard: Shard, vocab_size: int) -> None:
        self.folder = folder / FILES / shard.shard
        self._maps: list[mmap.mmap] = []
        self.tokens = self._map("tokens.bin", token_dtype(vocab_size))
        self.offsets = self._map("offsets.bin", OFFSET)
        self.digests = self._map("digests.bin", DIGEST).reshape(-1, 2)

    def _map(self, name: str, dtype: np.dtype[Any]) -> np.ndarray:
        with open(self.folder / name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return np.empty(0, dtype)  # an empty file cannot be mapped
            self._maps.append(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        return np.frombuffer(self._maps[-1], dtype)

    def release(self) -> None:
        """Give back the memory of what was read; the system keeps the files cached as long as it likes."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)


def _allow_open_files(needed: int) -> None:
    """Raise the limit of open files where it is too low; a file that is mapped counts as open.

    Raises:
        InputError: the system does not allow as many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise InputError(
            f"the prepared corpus needs {needed:,} open files, but this process may open {hard:,} (ulimit -Hn); raise "
            "that, or join corpus files: each needs three"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class ShardFolder:
    """All pairs of a prepared corpus, addressed by language pair and row.

    Rows of a language pair are those of its corpus files, one file after the other. en-de and de-en files are one
    language pair, in the direction that came first. Safe to use from several threads; opened, not pickled, by every
    process.

    Attributes:
        manifest: what the folder says of itself.
        folder: where it is.
        languages: codes of all languages that occur, sorted.
        language_pairs: (source, target) codes, sorted.
        counts: int64 (P,), pairs of each language pair.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.language_pairs = [total.languages for total in manifest.language_pairs]
        self.languages = sorted({code for pair in self.language_pairs for code in pair})
        self._read = 0
        _allow_open_files(3 * len(manifest.files) + _OTHER_FILES)
        self._shards = [_MappedShard(folder, shard, manifest.vocab_size) for shard in manifest.files]
        self._shard_tokens = np.array([shard.tokens for shard in manifest.files], dtype=np.int64)
        self._shard_longest = np.array([shard.longest for shard in manifest.files], dtype=np.int64)
        self._side_langs = np.array(
            [[self.languages.index(code) for code in pair] for pair in self.language_pairs], dtype=np.int64
        )

        directions = orient(manifest.files)
        pair_numbers = {pair: i for i, pair in enumerate(self.language_pairs)}
        found = []  # (language pair, shard, first row in the shard, rows, swapped) of each segment
        for number, shard in enumerate(manifest.files):
            first = 0
            for segment in shard.segments:
                pair = directions[segment.languages]
                found.append((pair_numbers[pair], number, first, segment.rows, pair != segment.languages))
                first += segment.rows
        found.sort(key=lambda segment: segment[0])  # stable: files stay in order
        table = np.array(found, dtype=np.int64).reshape(-1, 5)
        segment_pairs, self._segment_shards, self._segment_first_rows, rows, self._segment_swapped = table.T
        self.counts = np.bincount(segment_pairs, rows, minlength=len(self.language_pairs)).astype(np.int64)
        # All rows of all language pairs in one line: where in it each language pair and each segment begins.
        self._pair_starts = np.cumsum(self.counts) - self.counts
        self._segment_starts = np.cumsum(rows) - rows

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that are equal for the same pairs in the same order."""
        return self.manifest.digest

    def __len__(self) -> int:
        return int(self.counts.sum())

    def _locate(self, pair_index: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find shard, row in it, and whether its sides are swapped, for each pair."""
        pair_index, rows = np.asarray(pair_index, dtype=np.int64), np.asarray(rows, dtype=np.int64)
        if pair_index.shape != rows.shape or pair_index.ndim != 1:
            raise ValueError(
                f"pair_index and rows must be two lists of the same length, not {pair_index.shape}, {rows.shape}"
            )
        if np.any(pair_index < 0) or np.any(pair_index >= len(self.counts)):
            raise ValueError(f"there are {len(self.counts)} language pairs; an index lies outside")
        if np.any(rows < 0) or np.any(rows >= self.counts[pair_index]):
            raise ValueError("a row lies outside its language pair")
        line = self._pair_starts[pair_index] + rows
        segment = np.searchsorted(self._segment_starts, line, side="right") - 1
        local = line - self._segment_starts[segment] + self._segment_first_rows[segment]
        return self._segment_shards[segment], local, self._segment_swapped[segment].astype(bool)

    def _bounds(self, shard: np.ndarray, local: np.ndarray) -> tuple[list[tuple[int, slice]], np.ndarray]:
        """Find where source, target and next row begin: int64 (n, 3), checked. Pairs have to be sorted by shard.

        Also returns which slice of the pairs each shard has.
        """
        numbers, starts = np.unique(shard, return_index=True)
        ends = np.append(starts, len(shard))[1:].tolist()
        parts = [(n, slice(a, b)) for n, a, b in zip(numbers.tolist(), starts.tolist(), ends, strict=True)]
        places = 2 * local[:, None] + np.arange(3)
        bounds = np.empty((len(shard), 3), dtype=np.int64)
        for number, part in parts:
            bounds[part] = self._shards[number].offsets[places[part]]
        lengths = np.diff(bounds, axis=1)
        bad = (bounds[:, 0] < 0) | (bounds[:, 2] > self._shard_tokens[shard])
        bad |= (lengths.min(axis=1) < 1) | (lengths.max(axis=1) > self._shard_longest[shard])
        if bad.any():
            raise self._damaged(int(shard[bad.argmax()]), "offsets.bin")
        return parts, bounds

    def _damaged(self, shard: int, array: str) -> InputError:
        made_of = self.manifest.files[shard].name
        return InputError(
            f"{self._shards[shard].folder / array}: damaged (made of {made_of}); prepare the corpus again"
        )

    def lengths(self, pair_index: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many tokens each source and each target has, without reading the tokens.

        Args:
            pair_index: integer (n,), index into `language_pairs`.
            rows: integer (n,), rows of those language pairs.

        Returns:
            int64 (n,) and int64 (n,).

        Raises:
            ValueError: no such language pair or row.
            InputError: the files are damaged.
        """
        shard, local, swapped = self._locate(pair_index, rows)
        order = np.argsort(shard, kind="stable")
        _, bounds = self._bounds(shard[order], local[order])
        lengths = np.empty((len(order), 2), dtype=np.int64)
        lengths[order] = np.diff(bounds, axis=1)
        lengths[swapped] = lengths[swapped, ::-1]
        return lengths[:, 0].copy(), lengths[:, 1].copy()

    def _release_now_and_then(self, rows: int) -> None:
        # Every row drags pages around it into the memory of this process, in the end the whole corpus.
        self._read += rows
        if self._read >= _ROWS_UNTIL_RELEASE and hasattr(mmap, "MADV_DONTNEED"):
            self._read = 0
            for shard in self._shards:
                shard.release()

    def fetch(self, pair_index: np.ndarray, rows: np.ndarray) -> TokenPairs:
        """Read pairs, in the order given; the same pair may be asked for twice.

        Args:
            pair_index: integer (n,), index into `language_pairs`.
            rows: integer (n,), rows of those language pairs.

        Raises:
            ValueError: no such language pair or row.
            InputError: the files are damaged: offsets that make no sense, or ids outside the vocabulary.
        """
        self._release_now_and_then(len(pair_index))
        shard, local, swapped = self._locate(pair_index, rows)
        order = np.argsort(shard, kind="stable")
        shard, local = shard[order], local[order]
        parts, bounds = self._bounds(shard, local)
        ends = np.cumsum(bounds[:, 2] - bounds[:, 0])
        starts = ends - (bounds[:, 2] - bounds[:, 0])  # of each pair, in the tokens read
        tokens = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.int32)
        positions = np.repeat(bounds[:, 0] - starts, ends - starts) + np.arange(len(tokens))
        digests = np.empty((len(order), 2), dtype=np.uint64)
        for number, part in parts:
            reach = slice(int(starts[part.start]), int(ends[part.stop - 1]))
            tokens[reach] = self._shards[number].tokens[positions[reach]]
            digests[part] = self._shards[number].digests[local[part]]
        # uint32 ids from 2**31 on have become negative, so they are found as well.
        bad = (tokens < 0) | (tokens >= self.manifest.vocab_size)
        if bad.any():
            guilty = np.searchsorted(ends, bad.argmax(), side="right")
            raise self._damaged(int(shard[guilty]), "tokens.bin")

        # Where each side starts in `tokens` and how long it is, (n, 2): in the order asked for, source first.
        side_starts, side_lengths, side_digests = np.empty((3, len(order), 2), dtype=np.int64)
        side_lengths[order] = np.diff(bounds, axis=1)
        side_starts[order] = bounds[:, :2] - bounds[:, :1] + starts[:, None]
        side_digests[order] = digests.view(np.int64)
        for array in (side_starts, side_lengths, side_digests):
            array[swapped] = array[swapped, ::-1]
        (src_tokens, src_offsets), (tgt_tokens, tgt_offsets) = (
            _gather(tokens, side_starts[:, side], side_lengths[:, side]) for side in (0, 1)
        )
        langs = self._side_langs[pair_index]
        digests = np.ascontiguousarray(side_digests.T).view(np.uint64)
        return TokenPairs(
            src_tokens,
            src_offsets,
            tgt_tokens,
            tgt_offsets,
            langs[:, 0].copy(),
            langs[:, 1].copy(),
            digests[0],
            digests[1],
        )

    def digests(self, pair_index: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the digests of all sources and targets of a language pair, in the order of its rows, block by block.

        Files are read, not mapped, so that a pass over all of them leaves memory as it was.

        Returns:
            Iterator of uint64 (b,), uint64 (b,); b varies.

        Raises:
            ValueError: no such language pair.
            InputError: a file is damaged.
        """
        if not 0 <= pair_index < len(self.counts):
            raise ValueError(f"there are {len(self.counts)} language pairs; no index {pair_index}")
        start = self._pair_starts[pair_index]
        first, last = np.searchsorted(self._segment_starts, [start, start + self.counts[pair_index]])
        ends = np.append(self._segment_starts, len(self))[1:]
        for segment in range(int(first), int(last)):
            shard = self._shards[self._segment_shards[segment]]
            rows = int(ends[segment] - self._segment_starts[segment])
            sides = slice(None, None, -1) if self._segment_swapped[segment] else slice(None)
            for done in range(0, rows, _ROWS_AT_ONCE):
                count = 2 * min(_ROWS_AT_ONCE, rows - done)
                place = 2 * (int(self._segment_first_rows[segment]) + done) * DIGEST.itemsize
                block = np.fromfile(shard.folder / "digests.bin", DIGEST, count, offset=place)
                if len(block) != count:
                    raise InputError(f"{shard.folder / 'digests.bin'}: has become shorter; prepare the corpus again")
                yield tuple(block.reshape(-1, 2).T[sides])

    def verify(self) -> None:
        """Compare every array with its digest (some 1 GB/s), even those that nobody seems to have touched.

        Raises:
            InputError: an array is not what was written.
        """
        _require_whole(self.folder, self.manifest, thorough=True)


def _gather(tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Copy the chosen sentences end to end: their tokens and offsets."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return tokens[np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])], offsets


def _require_whole(folder: Path, manifest: Manifest, *, thorough: bool) -> None:
    for shard in manifest.files:
        damage = find_damage(folder, shard, manifest.vocab_size, thorough=thorough)
        if damage is not None:
            raise InputError(f"{damage} (made of {shard.name}); prepare the corpus again")


def open_shards(folder: Path | str, tokenizer_fingerprint: str) -> ShardFolder:
    """Open a prepared folder.

    Sizes are always checked, and the content of every array whose inode has changed since it was prepared. A flipped
    bit that the file system does not know of (a failing disk) shows in `ShardFolder.verify` only, but no content
    whatever makes reading leave the files or return ids outside the vocabulary.

    Args:
        folder: the folder given to `prepare`.
        tokenizer_fingerprint: of the tokenizer in use.

    Raises:
        InputError: the folder is not there, unfinished, damaged, of another format version, or made by another
            tokenizer.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest.tokenizer != tokenizer_fingerprint:
        raise InputError(
            f"{folder}: prepared with tokenizer {manifest.tokenizer}, not with {tokenizer_fingerprint}; "
            "prepare the corpus again"
        )
    _require_whole(folder, manifest, thorough=False)
    return ShardFolder(folder, manifest)
