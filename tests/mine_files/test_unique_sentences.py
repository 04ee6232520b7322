"""Sentences on disk: each distinct one once, every line accounted for, in any compression."""

from __future__ import annotations

import gzip
import lzma
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.data.blocks import MAX_LINE_BYTES
from ems.errors import InputError
from ems.mine_files.unique_sentences import first_occurrences, open_unique_sentences, read_unique_sentences


def read(folder, content):
    (folder / "in.txt").write_bytes(content)
    return read_unique_sentences(folder / "in.txt", folder / "kept")


def test_distinct_sentences_keep_their_order_and_every_line_is_accounted_for(tmp_path):
    kept = read(tmp_path, "eins\n\nzwei \n eins\n  \t \r\nдва\r\nzwei\ndrei".encode())
    assert kept.texts(0, len(kept)) == ["eins", "zwei", "два", "drei"]
    assert kept.texts(1, 3) == ["zwei", "два"]
    assert kept.line_numbers(0, 4).tolist() == [0, 2, 5, 7]
    counts = kept.counts
    assert (counts.lines, counts.blank, counts.duplicates, counts.sentences) == (8, 2, 2, 4)
    with kept.lookup() as text_of:
        assert [text_of(i) for i in (2, 0)] == ["два".encode(), b"eins"]


def test_controls_inside_become_spaces_and_are_counted(tmp_path):
    kept = read(tmp_path, "a\tb\nc\x00\x1fd\ne\u2028f\x85g\n\x00h\nnormal\u00a0space\nsoft\u00adhyphen\n".encode())
    assert kept.texts(0, 6) == ["a b", "c  d", "e f g", "h", "normal\u00a0space", "soft\u00adhyphen"]
    assert kept.counts.cleaned == 4
    assert "\n".join(kept.texts(0, 6)).splitlines() == kept.texts(0, 6)


def test_only_line_feeds_end_lines_and_a_byte_order_mark_is_no_text(tmp_path):
    kept = read(tmp_path, b"\xef\xbb\xbfeins\rzwei\r\neins\n")
    assert kept.texts(0, 2) == ["eins zwei", "eins"]


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    with pytest.raises(InputError, match=r"in.txt, line 2: not UTF-8 \(invalid start byte at byte 6\)"):
        read(tmp_path, b"gut\nschl\xf8cht\xff\n".replace(b"\xf8", b"e\xff"))


def test_an_overlong_line_is_left_out_and_counted(tmp_path):
    kept = read(tmp_path, b"a\n" + b"x" * (MAX_LINE_BYTES + 1) + b"\nb\n")
    assert kept.texts(0, 2) == ["a", "b"]
    assert (kept.counts.lines, kept.counts.overlong) == (3, 1)


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t\n"])
def test_a_file_without_sentences(tmp_path, content):
    kept = read(tmp_path, content)
    assert (len(kept), kept.texts(0, 0)) == (0, [])
    assert len(open_unique_sentences(tmp_path / "kept")) == 0


def test_compressed_files_give_the_same_and_what_was_read_can_be_opened(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    content = "".join(f"Satz {i % 700}\n" for i in range(1000)).encode()
    plain = read(tmp_path, content)
    packed = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}
    for suffix, compress in packed.items():
        file = tmp_path / f"in.{suffix}"
        file.write_bytes(compress(content))
        read_unique_sentences(file, tmp_path / suffix)
        again = open_unique_sentences(tmp_path / suffix)
        assert again.counts == plain.counts
        assert again.texts(0, len(again)) == plain.texts(0, 700)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(content)[:-20])
    with pytest.raises(InputError, match=r"cut.gz: corrupt or cut off"):
        read_unique_sentences(tmp_path / "cut.gz", tmp_path / "cut")


@given(st.lists(st.integers(0, 30)))
def test_first_occurrences_equal_those_of_a_dictionary(numbers):
    digests = b"".join(blake2b(bytes([number]), digest_size=16).digest() for number in numbers)
    expected = sorted({number: i for i, number in reversed(list(enumerate(numbers)))}.values())
    assert first_occurrences(digests).tolist() == expected


def test_digests_that_share_a_half_are_different():
    halves = np.array([[1, 2], [1, 3], [2, 2], [1, 2]], dtype=np.uint64)
    assert first_occurrences(halves.tobytes()).tolist() == [0, 1, 2]
