"""Describe a prepared folder: which shard holds which corpus file, and how to tell that a shard is whole.

    prepared/
      manifest.json                      everything below, written last
      .lock                              held while a process prepares
      files/<shard>/                     one shard for each corpus file
        tokens.bin                       uint16 or uint32, token ids: source and target of row 0, of row 1, …
        offsets.bin                      int64, 2 * rows + 1: where each sentence begins in tokens, and the end
        digests.bin                      uint64, 2 * rows: `token_digests` of source and target
        shard.json                       this shard's part of the manifest, to take it over from an interrupted run

All numbers are little-endian. Rows of one language pair lie together: such a run is a segment, and its two languages
stand in the manifest, so that no row has to repeat them. Beside its tokens a pair takes 32 bytes.

Both JSON files end with a checksum of themselves, and hold a digest of every array. Digests are compared when an
array's inode has changed since (`ctime`, which no program can set back), so opening a folder that nobody touched reads
no array.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ems.data.reports import FileReport, Rejection
from ems.errors import InputError
from ems.files import write_json

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
MANIFEST, SHARD, FILES = "manifest.json", "shard.json", "files"
OFFSET, DIGEST = np.dtype("<i8"), np.dtype("<u8")

Count = Annotated[int, Field(ge=0, lt=2**60)]
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # never leads out of its folder


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Segment(_Part):
    """Rows of one language pair that lie together in a shard."""

    languages: tuple[str, str]
    rows: Count
    src_tokens: Count
    tgt_tokens: Count


class ArrayFile(_Part):
    """One array on disk: its size, digest, and the inode change time at which that digest held."""

    bytes: Count
    digest: Hex
    ctime_ns: int


class Arrays(_Part):
    """The arrays of a shard."""

    tokens: ArrayFile
    offsets: ArrayFile
    digests: ArrayFile

    def items(self) -> Iterator[tuple[str, ArrayFile]]:
        """Yield the name of each file with its description."""
        return ((f"{name}.bin", getattr(self, name)) for name in type(self).model_fields)


class Shard(_Part):
    """What was made of one corpus file.

    Attributes:
        name: `CorpusFile.name`.
        shard: name of its folder; follows from the text, the tokenizer and the rules.
        source_digest: `file_digest` of the corpus file.
        source_stamps: (size, ctime in ns) of its one or two files when that digest was taken; empty if it has none.
        source_bytes: size of the file or files.
        lines: lines read, kept and rejected ones.
        rejected: by reason, how many lines and the first of them.
        segments: in the order in which they lie.
        longest: tokens of the longest sentence.
        arrays: the files of the shard.
    """

    name: str
    shard: FileName
    source_digest: Hex
    source_stamps: tuple[tuple[int, int], ...]
    source_bytes: Count
    lines: Count
    rejected: dict[str, tuple[Count, Count]]
    segments: tuple[Segment, ...]
    longest: Count
    arrays: Arrays

    @property
    def rows(self) -> int:
        """Number of pairs."""
        return sum(segment.rows for segment in self.segments)

    @property
    def tokens(self) -> int:
        """Number of tokens of both sides."""
        return sum(segment.src_tokens + segment.tgt_tokens for segment in self.segments)

    def report(self) -> FileReport:
        """Return what was kept and rejected of the corpus file."""
        rejected = {reason: Rejection(*counts) for reason, counts in self.rejected.items()}
        return FileReport(self.name, self.lines, self.rows, rejected)


class LanguagePairCount(_Part):
    """Pairs and tokens of a language pair in all shards."""

    languages: tuple[str, str]
    pairs: Count
    src_tokens: Count
    tgt_tokens: Count


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the narrowest type on disk that holds every token id."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class Manifest(_Part):
    """The whole prepared folder.

    Attributes:
        format_version: `FORMAT_VERSION` of the writer.
        tokenizer: fingerprint of the tokenizer that made the tokens.
        vocab_size: ids are below it.
        language_pairs: totals over all shards, sorted; see `count_language_pairs`.
        rejected: lines rejected over all shards, by reason.
        files: one shard for each corpus file, in the order of the corpus.
    """

    format_version: int
    tokenizer: str
    vocab_size: Annotated[int, Field(ge=1, le=2**31)]
    language_pairs: tuple[LanguagePairCount, ...]
    rejected: dict[str, Count]
    files: tuple[Shard, ...]

    @property
    def pairs(self) -> int:
        """Number of pairs of all language pairs."""
        return sum(shard.rows for shard in self.files)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that are equal for equal pairs in the same order, however and whenever prepared."""
        arrays = [[array.digest for _, array in shard.arrays.items()] for shard in self.files]
        segments = [[(*segment.languages, segment.rows) for segment in shard.segments] for shard in self.files]
        content = json.dumps([self.format_version, self.tokenizer, arrays, segments])
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def reports(self) -> list[FileReport]:
        """Return what was kept and rejected of each corpus file, for `report_table`."""
        return [shard.report() for shard in self.files]


def orient(shards: tuple[Shard, ...]) -> dict[tuple[str, str], tuple[str, str]]:
    """Decide the direction of every language pair: that of the first segment that holds it.

    Returns:
        From the languages of a segment, as its corpus file has them, to the language pair that its rows belong to: the
        same, or the two swapped. So en-de and de-en files are one language pair.
    """
    directions: dict[tuple[str, str], tuple[str, str]] = {}
    for shard in shards:
        for src, tgt in (segment.languages for segment in shard.segments):
            directions.setdefault((src, tgt), directions.get((tgt, src), (src, tgt)))
    return directions


def count_language_pairs(shards: tuple[Shard, ...]) -> tuple[LanguagePairCount, ...]:
    """Add up the segments of each language pair, in sorted order."""
    directions = orient(shards)
    totals: dict[tuple[str, str], list[int]] = {}
    for segment in (segment for shard in shards for segment in shard.segments):
        direction = directions[segment.languages]
        sides = [segment.src_tokens, segment.tgt_tokens]
        total = totals.setdefault(direction, [0, 0, 0])
        for i, more in enumerate((segment.rows, *(sides if direction == segment.languages else sides[::-1]))):
            total[i] += more
    return tuple(
        LanguagePairCount(languages=languages, pairs=pairs, src_tokens=src, tgt_tokens=tgt)
        for languages, (pairs, src, tgt) in sorted(totals.items())
    )


def _locked_soon(lock: TextIO) -> bool:
    """Try to get a lock for a second: the processes of one run hold it one after the other for a moment each."""
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a prepared folder; the second one waits, and then finds the work done.

    Raises:
        InputError: the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(open(folder / ".lock", "w"))
        except OSError as error:
            raise InputError(f"{folder} has to be writable, but is not: {error.strerror or error}") from None
        if not _locked_soon(lock):
            logger.info("another process prepares %s; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _checksum(value: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def write_checked(path: Path, value: dict[str, Any]) -> None:
    """Write an object as JSON with its checksum, atomically."""
    write_json(path, {**value, "checksum": _checksum(value)})


def read_checked(path: Path) -> dict[str, Any]:
    """Read what `write_checked` wrote.

    Raises:
        InputError: it is absent, damaged, or of another format version.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: not found; prepare the corpus first") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: damaged (not JSON); prepare the corpus again") from None
    if not isinstance(value, dict) or "checksum" not in value:
        raise InputError(f"{path}: damaged (no checksum); prepare the corpus again")
    version = value.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {version!r}, this program reads {FORMAT_VERSION}; prepare the corpus again"
        )
    if value.pop("checksum") != _checksum(value):
        raise InputError(f"{path}: damaged (checksum does not match); prepare the corpus again")
    return value


def _validation_problem(path: Path, error: ValidationError) -> InputError:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    return InputError(f"{path}: damaged ({key}: {first['msg']}); prepare the corpus again")


def read_shard(path: Path) -> Shard:
    """Read the description of one shard.

    Raises:
        InputError: it is absent or damaged.
    """
    try:
        return Shard.model_validate(read_checked(path))
    except ValidationError as error:
        raise _validation_problem(path, error) from None


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a prepared folder.

    Raises:
        InputError: it is absent, damaged, or of another format version.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate(read_checked(path))
    except ValidationError as error:
        raise _validation_problem(path, error) from None
    if manifest.language_pairs != count_language_pairs(manifest.files):
        raise InputError(f"{path}: damaged (language_pairs are not those of the files); prepare the corpus again")
    return manifest


def digest_of(path: Path) -> str:
    """Digest the content of a file: some 1 GB/s."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def describe_array(path: Path) -> ArrayFile:
    """Describe an array that has just been written."""
    found = os.stat(path)
    return ArrayFile(bytes=found.st_size, digest=digest_of(path), ctime_ns=found.st_ctime_ns)


def find_damage(folder: Path, shard: Shard, vocab_size: int, *, thorough: bool) -> str | None:
    """Look for anything that keeps a shard from being read.

    Args:
        folder: the prepared folder.
        shard: what its manifest says.
        vocab_size: decides the width of a token.
        thorough: compare the digest of every array, not only of those whose inode has changed.

    Returns:
        One line that says which file is wrong and how, or None.
    """
    widths = {"tokens.bin": shard.tokens, "offsets.bin": 2 * shard.rows + 1, "digests.bin": 2 * shard.rows}
    sizes = {
        "tokens.bin": token_dtype(vocab_size).itemsize,
        "offsets.bin": OFFSET.itemsize,
        "digests.bin": DIGEST.itemsize,
    }
    for name, array in shard.arrays.items():
        path = folder / FILES / shard.shard / name
        expected = widths[name] * sizes[name]
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                return f"{path}: not a file"
            if found.st_size != expected or array.bytes != expected:
                return f"{path}: holds {found.st_size} bytes, not {expected}"
            if (thorough or found.st_ctime_ns != array.ctime_ns) and digest_of(path) != array.digest:
                return f"{path}: its content is not what was written"
        except OSError as error:
            return f"{path}: {error.strerror or error}"
    return None
