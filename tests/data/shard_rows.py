"""Pairs of a tokenised corpus as plain lists, what two of them have in common, and damage to one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ems.data.shard_manifest import Manifest
from ems.data.shards import ShardFolder
from tests.data.small_corpus import (
    WordTokenizer,
)

Row = tuple[list[int], list[int], str, str]


def rows_of(folder: ShardFolder, pair_index: np.ndarray, rows: np.ndarray) -> list[Row]:
    """Fetch pairs and spell them out as plain lists."""
    pairs = folder.fetch(pair_index, rows)
    assert len(pairs) == len(rows)
    return [
        (
            pairs.src_tokens[pairs.src_offsets[i] : pairs.src_offsets[i + 1]].tolist(),
            pairs.tgt_tokens[pairs.tgt_offsets[i] : pairs.tgt_offsets[i + 1]].tolist(),
            folder.languages[pairs.src_langs[i]],
            folder.languages[pairs.tgt_langs[i]],
        )
        for i in range(len(rows))
    ]


def all_rows(folder: ShardFolder, languages: tuple[str, str]) -> list[Row]:
    index = folder.language_pairs.index(languages)
    count = int(folder.counts[index])
    return rows_of(folder, np.full(count, index), np.arange(count))


def expected_rows(pairs: list[tuple[str, str]], languages: tuple[str, str], tokenizer: WordTokenizer) -> list[Row]:
    return [(tokenizer.encode(src), tokenizer.encode(tgt), *languages) for src, tgt in pairs]


def arrays_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "files").rglob("*.bin"))}


def without_stamps(manifest: Manifest) -> Manifest:
    """Leave out the times at which inodes changed: they are all that may differ between two runs on the same text."""
    value = manifest.model_dump()
    for shard in value["files"]:
        shard["source_stamps"] = ()
        for array in shard["arrays"].values():
            array["ctime_ns"] = 0
    return Manifest.model_validate(value)


def flip(path: Path, byte: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)
