"""A damaged or forged corpus on disk is refused or made again, never read."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ems.data import shard_manifest
from ems.data.shard_manifest import read_manifest, write_checked
from ems.data.shards import open_shards
from ems.errors import InputError
from tests.data.shard_rows import arrays_of, flip, without_stamps
from tests.data.small_corpus import (
    WordTokenizer,
    numbered,
    prepare_all,
    write_tsv,
)


def flip_secretly(path: Path) -> None:
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    flip(path)
    os.utime(path, ns=times)


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0" * 8)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("array", ["tokens.bin", "offsets.bin", "digests.bin"])
@pytest.mark.parametrize("damage", [flip, flip_secretly, remove, truncate, lengthen, make_folder])
def test_a_damaged_array_is_refused_by_reading_and_made_again_by_preparing(
    tmp_path: Path, corpus: Path, array: str, damage: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    first = prepare_all(corpus, out, WordTokenizer())
    whole = arrays_of(out)
    path = out / "files" / first.files[1].shard / array
    damage(path)
    with pytest.raises(InputError, match=f"{array}.*made of b.de-en.tsv.*prepare"):
        open_shards(out, "words")
    tokenizer = WordTokenizer()
    assert without_stamps(prepare_all(corpus, out, tokenizer)) == without_stamps(first)
    assert tokenizer.calls == 1
    assert arrays_of(out) == whole
    open_shards(out, "words").verify()


def test_a_flipped_bit_that_the_file_system_does_not_know_of_shows_in_verify(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    prepare_all(corpus, out, WordTokenizer())
    open_shards(out, "words").verify()
    damaged = out / "files" / read_manifest(out).files[0].shard / "digests.bin"
    flip(damaged)
    pretend_untouched(out)
    folder = open_shards(out, "words")
    with pytest.raises(InputError, match=r"digests\.bin"):
        folder.verify()


def pretend_untouched(out: Path, *, honest_digests: bool = False) -> None:
    """Rewrite the manifest so that the arrays as they are now seem to be those that were written."""
    value = read_manifest(out).model_dump(mode="json")
    for shard in value["files"]:
        for name, array in shard["arrays"].items():
            path = out / "files" / shard["shard"] / f"{name}.bin"
            array["ctime_ns"] = path.stat().st_ctime_ns
            if honest_digests:
                array["digest"] = shard_manifest.digest_of(path)
    write_checked(out / "manifest.json", value)


@pytest.mark.parametrize("value", [-1, 2, 10**6, 2**62, -(2**63)])
@pytest.mark.parametrize("place", [0, 1, 2, 3, 80])
def test_forged_offsets_never_lead_outside_the_file(tmp_path: Path, corpus: Path, value: int, place: int) -> None:
    out = tmp_path / "out"
    prepare_all(corpus, out, WordTokenizer())
    path = out / "files" / read_manifest(out).files[0].shard / "offsets.bin"
    offsets = np.fromfile(path, "<i8")
    offsets[place] = value
    offsets.tofile(path)
    pretend_untouched(out, honest_digests=True)
    folder = open_shards(out, "words")
    row = min(place // 2, 39)
    index = np.array([folder.language_pairs.index(("en", "de"))])
    for read in (folder.fetch, folder.lengths):
        if 0 <= value <= 10 * (row + 2):
            # Not every forgery can be told from the truth; what is read is then short and in the file.
            with contextlib.suppress(InputError):
                read(index, np.array([row]))
        else:
            with pytest.raises(InputError, match=r"offsets\.bin.*a\.en-de\.tsv"):
                read(index, np.array([row]))


@pytest.mark.parametrize("vocab_size", [1000, 70_000])
def test_forged_ids_outside_the_vocabulary_are_refused(tmp_path: Path, vocab_size: int) -> None:
    write_tsv(tmp_path / "corpus", {"a.en-de.tsv": numbered("en-de", 40), "b.en-fr.tsv": numbered("en-fr", 40)})
    out = tmp_path / "out"
    prepare_all(tmp_path / "corpus", out, WordTokenizer(vocab_size))
    shard = read_manifest(out).files[1]
    path = out / "files" / shard.shard / "tokens.bin"
    dtype = shard_manifest.token_dtype(vocab_size)
    for bad in (vocab_size, np.iinfo(dtype).max):
        tokens = np.fromfile(path, dtype)
        tokens[0] = bad
        tokens.tofile(path)
        pretend_untouched(out, honest_digests=True)
        folder = open_shards(out, "words")
        folder.fetch(np.array([0, 1]), np.array([0, 1]))
        with pytest.raises(InputError, match=r"tokens\.bin.*b\.en-fr"):
            folder.fetch(np.array([0, 1, 0]), np.array([0, 0, 1]))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"checksum": 3}', b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused_and_made_again(tmp_path: Path, corpus: Path, content: bytes) -> None:
    out = tmp_path / "out"
    first = prepare_all(corpus, out, WordTokenizer())
    (out / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=r"manifest\.json: damaged"):
        open_shards(out, "words")
    tokenizer = WordTokenizer()
    assert prepare_all(corpus, out, tokenizer) == first
    assert tokenizer.calls == 0  # the shards describe themselves


def test_a_changed_number_in_the_manifest_is_found(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    prepare_all(corpus, out, WordTokenizer())
    text = (out / "manifest.json").read_text()
    (out / "manifest.json").write_text(text.replace('"rows": 40', '"rows": 41'))
    with pytest.raises(InputError, match="checksum"):
        open_shards(out, "words")


def test_manifests_of_other_versions_or_with_impossible_values_are_refused(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    prepare_all(corpus, out, WordTokenizer())
    good = read_manifest(out).model_dump(mode="json")

    def refused(change: Callable[[dict], None], message: str) -> None:  # type: ignore[type-arg]
        value = json.loads(json.dumps(good))
        change(value)
        write_checked(out / "manifest.json", value)
        with pytest.raises(InputError, match=message):
            open_shards(out, "words")

    refused(lambda value: value.update(format_version=2), "format version 2, this program reads 1")
    refused(lambda value: value.update(vocab_size=0), "vocab_size")
    refused(lambda value: value["files"][0].update(shard="../../elsewhere"), "shard")
    refused(lambda value: value["files"][0]["segments"][0].update(rows=-1), "rows")
    refused(lambda value: value["files"][0]["segments"][0].update(rows=41), "language_pairs are not those")
    refused(lambda value: value["files"][0].pop("arrays"), "arrays")


def test_a_folder_that_was_never_finished_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prepare the corpus first"):
        open_shards(tmp_path / "nowhere", "words")
