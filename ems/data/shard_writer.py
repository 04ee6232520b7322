"""Prepare a corpus: make a shard of every corpus file that has none yet, and write down what there is.

A shard is written aside and renamed when it is whole; the manifest comes last. Whatever stops the work, the folder
then holds either the old corpus or the new, and shards that were finished are taken over by the next run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from ems.data.corpus import CorpusFile, FileReport, Rules, file_digest, file_size
from ems.data.shard_manifest import (
    DIGEST,
    FILES,
    FORMAT_VERSION,
    MANIFEST,
    OFFSET,
    SHARD,
    Arrays,
    Manifest,
    Segment,
    Shard,
    count_language_pairs,
    describe_array,
    exclusive,
    find_damage,
    read_manifest,
    read_shard,
    token_dtype,
    write_checked,
)
from ems.data.tokenise import BlockTokeniser, FlatTokenizer, TokenBlock, tokenised
from ems.errors import InputError
from ems.files import atomic_folder, clear_left_behind
from ems.languages import LanguageRegistry

logger = logging.getLogger(__name__)

_BYTES_WORTH_A_PROCESS = (
    1 << 20
)  # of corpus files, mostly compressed; starting a process costs as much as tokenising this
_ARRAYS = ("tokens.bin", "offsets.bin", "digests.bin")
_ROWS_AT_ONCE = 1 << 15  # when rows are put in order of their language pairs
_CLOCK_TICK_SECONDS = 0.02  # file systems stamp files with a clock that ticks every 4 to 10 ms


class _ArrayFiles:
    """Rows of pairs, appended to the three arrays of a shard."""

    def __init__(self, folder: Path, tokens: np.dtype[Any]) -> None:
        self.folder = folder
        self.token_dtype = tokens
        self.rows = self.tokens = 0
        with contextlib.ExitStack() as stack:
            self._files = [stack.enter_context(open(folder / name, "wb")) for name in _ARRAYS]
            self._open = stack.pop_all()
        self._files[1].write(np.zeros(1, OFFSET).tobytes())

    def append(self, tokens: np.ndarray, lengths: np.ndarray, digests: np.ndarray) -> None:
        """Append rows: tokens (T,), lengths (2n,) and digests (2n,) of sources and targets in turn."""
        ends = self.tokens + np.cumsum(lengths, dtype=OFFSET)
        for file, array, dtype in zip(self._files, (tokens, ends, digests), self._dtypes, strict=True):
            file.write(array.astype(dtype, copy=False).tobytes())
        self.rows += len(lengths) // 2
        self.tokens += len(tokens)

    @property
    def _dtypes(self) -> tuple[np.dtype[Any], np.dtype[Any], np.dtype[Any]]:
        return self.token_dtype, OFFSET, DIGEST

    def close(self) -> None:
        """Close all files, those behind one that fails, too."""
        self._open.close()

    def read(self, first: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read some rows back: tokens (T,), offsets in them (2 * rows + 1,), digests (2 * rows,)."""
        paths = [self.folder / name for name in _ARRAYS]
        offsets = np.fromfile(paths[1], OFFSET, 2 * rows + 1, offset=2 * first * OFFSET.itemsize)
        width = self.token_dtype.itemsize
        tokens = np.fromfile(paths[0], self.token_dtype, int(offsets[-1] - offsets[0]), offset=int(offsets[0]) * width)
        digests = np.fromfile(paths[2], DIGEST, 2 * rows, offset=2 * first * DIGEST.itemsize)
        return tokens, offsets - offsets[0], digests


def _write_at(file: BinaryIO, array: np.ndarray, place: int) -> None:
    file.seek(place * array.itemsize)
    file.write(array.tobytes())


def _group_rows(mixed: _ArrayFiles, language_rows: Path, segments: Sequence[Segment], folder: Path) -> None:
    """Write the rows of `mixed` into `folder` so that those of a segment lie together, in their old order.

    Where every segment begins is known from its counts, so each block of rows is read once and its parts are written
    where they belong: memory is that of a block, and only three files are open however many language pairs there are.
    """
    next_row = np.cumsum([0] + [segment.rows for segment in segments])[:-1]
    next_token = np.cumsum([0] + [segment.src_tokens + segment.tgt_tokens for segment in segments])[:-1]
    with contextlib.ExitStack() as stack:
        tokens_file, offsets_file, digests_file = (stack.enter_context(open(folder / name, "wb")) for name in _ARRAYS)
        _write_at(offsets_file, np.zeros(1, OFFSET), 0)
        for first in range(0, mixed.rows, _ROWS_AT_ONCE):
            rows = min(_ROWS_AT_ONCE, mixed.rows - first)
            tokens, offsets, digests = mixed.read(first, rows)
            segment_of_row = np.fromfile(language_rows, np.int32, rows, offset=4 * first)
            lengths = np.diff(offsets)
            for segment in np.unique(segment_of_row).tolist():
                mine = np.repeat(segment_of_row == segment, 2)
                my_lengths = lengths[mine]
                row, token = int(next_row[segment]), int(next_token[segment])
                _write_at(tokens_file, tokens[np.repeat(mine, lengths)], token)
                _write_at(offsets_file, (token + np.cumsum(my_lengths)).astype(OFFSET), 2 * row + 1)
                _write_at(digests_file, digests[mine], 2 * row)
                next_row[segment] += len(my_lengths) // 2
                next_token[segment] += my_lengths.sum()


class _ShardWriter:
    """Collect the blocks of one corpus file into a folder."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        self._folder = folder
        self._mixed_folder = folder / "mixed"
        self._mixed_folder.mkdir()
        with contextlib.ExitStack() as stack:
            self._rows = _ArrayFiles(self._mixed_folder, token_dtype(vocab_size))
            stack.callback(self._rows.close)
            self._language_rows = stack.enter_context(open(self._mixed_folder / "language_rows.bin", "wb"))
            self._open = stack.pop_all()
        self._segments: dict[tuple[str, str], int] = {}
        self._counts = np.zeros((0, 3), dtype=np.int64)  # rows, source tokens, target tokens of each segment
        self._longest = 0

    def append(self, block: TokenBlock) -> None:
        """Add the rows of a block."""
        if not len(block.language_rows):
            return
        numbers = np.array([self._segments.setdefault(pair, len(self._segments)) for pair in block.languages], np.int32)
        segment_of_row = numbers[block.language_rows]
        self._counts = np.pad(self._counts, ((0, len(self._segments) - len(self._counts)), (0, 0)))
        for column, weights in enumerate((None, block.lengths[0::2], block.lengths[1::2])):
            sums = np.bincount(segment_of_row, weights, minlength=len(self._segments))
            self._counts[:, column] += sums.astype(np.int64)
        self._longest = max(self._longest, int(block.lengths.max()))
        self._rows.append(block.tokens, block.lengths, block.digests)
        self._language_rows.write(segment_of_row.tobytes())

    def close(self) -> None:
        """Close what is open; needed when the work stops early."""
        self._open.close()

    def finish(self) -> tuple[tuple[Segment, ...], int, Arrays]:
        """Bring the arrays into their final form: segments, tokens of the longest sentence, and the files."""
        self.close()
        segments = tuple(
            Segment(languages=languages, rows=rows, src_tokens=src_tokens, tgt_tokens=tgt_tokens)
            for languages, (rows, src_tokens, tgt_tokens) in zip(self._segments, self._counts.tolist(), strict=True)
        )
        if len(segments) == 1:
            for name in _ARRAYS:
                os.replace(self._mixed_folder / name, self._folder / name)
        else:
            _group_rows(self._rows, self._mixed_folder / "language_rows.bin", segments, self._folder)
        shutil.rmtree(self._mixed_folder)
        arrays = {name: describe_array(self._folder / f"{name}.bin") for name in Arrays.model_fields}
        return segments, self._longest, Arrays(**arrays)


@dataclasses.dataclass(frozen=True)
class _Source:
    """A corpus file as it is now, and the shard that belongs to it."""

    file: CorpusFile
    stamps: tuple[tuple[int, int], ...]
    digest: str
    shard: str


def _stamps(file: CorpusFile) -> tuple[tuple[int, int], ...]:
    """Return size and inode change time of each of the file's files; nothing for text that is in no file."""
    if file.format == "embedded":
        return ()
    try:
        found = [os.stat(path) for path in (file.source, file.target) if path is not None]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror or error}") from None
    return tuple((entry.st_size, entry.st_ctime_ns) for entry in found)


def _shard_name(file: CorpusFile, digest: str, tokenise: BlockTokeniser) -> str:
    """Name a shard after everything that decides its content."""
    deciding = {
        "version": FORMAT_VERSION,
        "tokenizer": tokenise.tokenizer.fingerprint,
        "rules": dataclasses.asdict(tokenise.rules),
        "name": file.name,
        "digest": digest,
        "languages": file.languages,
        "format": file.format,
        "only": file.only,
        # Only JSONL lines name languages themselves.
        "registry": sorted(tokenise.registry) if file.format == "jsonl" else None,
    }
    key = hashlib.blake2b(json.dumps(deciding, sort_keys=True).encode(), digest_size=8).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", file.name)[-60:].strip("-")
    return f"{readable}-{key}".lstrip("-")


def _source(file: CorpusFile, known: Shard | None, tokenise: BlockTokeniser) -> _Source:
    stamps = _stamps(file)
    unchanged = known is not None and stamps and stamps == known.source_stamps
    digest = known.source_digest if known is not None and unchanged else file_digest(file)
    return _Source(file, stamps, digest, _shard_name(file, digest, tokenise))


def _whole_shard(source: _Source, known: Shard | None, folder: Path, vocab_size: int) -> Shard | None:
    """Find a shard of exactly this text that can be used as it is, with its marks of change brought up to date."""
    place = folder / FILES / source.shard
    if known is None or known.shard != source.shard:
        if not (place / SHARD).exists():
            return None
        try:
            known = read_shard(place / SHARD)  # left by a run that was interrupted, or whose manifest was lost
        except InputError as error:
            logger.warning("made again: %s", error)
            return None
        damage = "it is of another file" if known.shard != source.shard else None
        damage = damage or find_damage(folder, known, vocab_size, thorough=True)
    else:
        damage = find_damage(folder, known, vocab_size, thorough=False)
    if damage is not None:
        logger.warning("shard of %s is damaged and made again: %s", source.file.name, damage)
        return None
    arrays = {
        name.removesuffix(".bin"): array.model_copy(update={"ctime_ns": os.stat(place / name).st_ctime_ns})
        for name, array in known.arrays.items()
    }
    return known.model_copy(update={"source_stamps": source.stamps, "arrays": Arrays(**arrays)})


def _write_shard(
    source: _Source, blocks: Iterator[TokenBlock | None], folder: Path, vocab_size: int, bar: Any
) -> Shard:
    """Make the shard of one corpus file from its blocks, up to the None that ends them."""
    report = FileReport(source.file.name)
    with atomic_folder(folder / FILES / source.shard) as aside:
        with contextlib.closing(_ShardWriter(aside, vocab_size)) as writer:
            while (block := next(blocks)) is not None:
                writer.append(block)
                report.merge(block.report)
                bar.update(len(block.language_rows))
            report.require_pairs()
            segments, longest, arrays = writer.finish()
        if _stamps(source.file) != source.stamps:
            raise InputError(f"{source.file.name}: changed while it was read; prepare the corpus again")
        shard = Shard(
            name=source.file.name,
            shard=source.shard,
            source_digest=source.digest,
            source_stamps=source.stamps,
            source_bytes=file_size(source.file),
            lines=report.lines,
            rejected={reason: (counts.count, counts.first_line) for reason, counts in report.rejected.items()},
            segments=segments,
            longest=longest,
            arrays=arrays,
        )
        write_checked(aside / SHARD, shard.model_dump(mode="json"))
    return shard


def _number_of_workers(workers: int | None, sources: Sequence[_Source]) -> int:
    if workers is not None:
        return workers
    size = sum(file_size(source.file) for source in sources)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, size // _BYTES_WORTH_A_PROCESS)


def _write_missing(
    missing: Sequence[_Source], tokenise: BlockTokeniser, folder: Path, *, workers: int, progress: bool
) -> Iterator[Shard]:
    logger.info("tokenising %d corpus files in %s", len(missing), f"{workers} processes" if workers else "this process")
    with (
        tokenised([source.file for source in missing], tokenise, workers) as blocks,
        tqdm(desc="prepare", unit=" pairs", unit_scale=True, disable=not progress) as bar,
    ):
        for source in missing:
            yield _write_shard(source, blocks, folder, tokenise.tokenizer.vocab_size, bar)


def _known_manifest(folder: Path, tokenise: BlockTokeniser) -> Manifest | None:
    if not (folder / MANIFEST).exists():
        return None
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        logger.warning("every shard is checked anew: %s", error)
        return None
    if manifest.tokenizer != tokenise.tokenizer.fingerprint:
        logger.warning("%s was prepared with another tokenizer; everything is tokenised again", folder)
        return None
    return manifest


def _remove_unused(folder: Path, used: set[str]) -> None:
    for entry in folder.iterdir():
        if entry.name not in used:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def prepare(
    files: Sequence[CorpusFile],
    tokenizer: FlatTokenizer,
    folder: Path | str,
    *,
    registry: LanguageRegistry,
    rules: Rules,
    workers: int | None = None,
    progress: bool = False,
) -> Manifest:
    """Bring a prepared folder up to date: tokenise files that are new, changed or damaged, drop those that are gone.

    A file counts as unchanged while its size and inode change time are the same, or else its digest. The result
    depends on the text, the tokenizer and the rules only, not on the number of processes or on what was there before.

    Args:
        files: from `find_files`; their order is the order of rows within a language pair.
        tokenizer: its ids are stored, all of them: nothing is truncated here.
        folder: made if need be; everything in its `files` folder belongs to this function.
        registry: the languages that JSONL lines may name.
        rules: which sentences are usable.
        workers: processes that tokenise; 0 works in this process alone. None takes one for each core, fewer for little
            text.
        progress: show a progress bar.

    Returns:
        The manifest, as it was written.

    Raises:
        InputError: a file cannot be read, changes meanwhile, or holds no usable pair. The old manifest stays.
        RunError: a worker process died.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    (folder / FILES).mkdir(parents=True, exist_ok=True)
    tokenise = BlockTokeniser(tokenizer, rules, registry)
    with exclusive(folder):
        clear_left_behind(folder, [MANIFEST])
        old = _known_manifest(folder, tokenise)
        known = {shard.name: shard for shard in old.files} if old is not None else {}
        sources = [_source(file, known.get(file.name), tokenise) for file in files]
        shards = {
            source.shard: shard
            for source in sources
            if (shard := _whole_shard(source, known.get(source.file.name), folder, tokenizer.vocab_size)) is not None
        }
        missing = [source for source in sources if source.shard not in shards]
        if missing:
            workers = _number_of_workers(workers, missing)
            for shard in _write_missing(missing, tokenise, folder, workers=workers, progress=progress):
                shards[shard.shard] = shard
        ordered = tuple(shards[source.shard] for source in sources)
        manifest = _manifest(ordered, tokenizer)
        if manifest != old:
            write_checked(folder / MANIFEST, manifest.model_dump(mode="json"))
        _remove_unused(folder / FILES, set(shards))
        if missing:
            time.sleep(_CLOCK_TICK_SECONDS)  # so that whatever changes an array from now on shows in its change time
    return manifest


def _manifest(shards: tuple[Shard, ...], tokenizer: FlatTokenizer) -> Manifest:
    rejected: dict[str, int] = {}
    for shard in shards:
        for reason, (count, _) in shard.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    return Manifest(
        format_version=FORMAT_VERSION,
        tokenizer=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        language_pairs=count_language_pairs(shards),
        rejected=dict(sorted(rejected.items())),
        files=shards,
    )
