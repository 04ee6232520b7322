"""The reader of lines: what was written is read, plain or packed, and what cannot be read is named."""

from __future__ import annotations

import gzip
import lzma
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.errors import InputError
from ems.eval.parallel_text import read_lines

PACKERS = {"": lambda data: data, ".gz": gzip.compress, ".xz": lzma.compress}

line_texts = st.text(st.characters(blacklist_characters="\n", blacklist_categories=["Cs"]), max_size=15).filter(
    lambda line: not line.endswith("\r") and not line.startswith("\ufeff")
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(line_texts, min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(sorted(PACKERS)),
    st.booleans(),
)
def test_what_was_written_is_read(lines, end, packing, mark):
    text = ("\ufeff" if mark else "") + "".join(line + end for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{packing}"
        path.write_bytes(PACKERS[packing](text.encode()))
        assert read_lines(path) == lines


def test_a_missing_last_line_end_is_no_matter(tmp_path):
    (tmp_path / "x").write_bytes(b"a\n\nb")
    assert read_lines(tmp_path / "x") == ["a", "", "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x", b"a\nb\n\xff\n", "x, line 3: not UTF-8"),
        ("x", b"", "x: no sentences in it"),
        ("x", b"a\n" + b"b" * (1 << 21), "x, line 2: longer than 1048576 bytes"),
        ("x.gz", gzip.compress(b"a\n" * 1000, mtime=0)[:-9], "x.gz: corrupt or cut off"),
        ("x.xz", b"a\n", "x.xz: corrupt or cut off"),
    ],
)
def test_an_unusable_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_lines(tmp_path / name)


def test_text_that_is_not_utf8_and_empty_files_are_refused(tmp_path):
    (tmp_path / "latin").write_bytes("gut\nschön\n".encode("latin-1"))
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(InputError, match="latin, line 2: not UTF-8"):
        read_lines(tmp_path / "latin")
    with pytest.raises(InputError, match="empty: no sentences"):
        read_lines(tmp_path / "empty")
    with pytest.raises(InputError, match="gone: cannot be read"):
        read_lines(tmp_path / "gone")
