"""Vectors on disk: unit rows, distinct, read in slices, written on after a kill."""

from __future__ import annotations

import numpy as np
import pytest

from ems.errors import InputError
from ems.mine_files import vector_file
from ems.mine_files.vector_file import write_vectors

VECTORS = np.random.default_rng(0).standard_normal((25, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(vector_file, "CHUNK", 4)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_rows_are_scaled_and_any_slice_can_be_read(tmp_path):
    rows = write_vectors(tmp_path / "v", 25, lambda start, stop: VECTORS[start:stop].tolist(), "text")
    assert rows.shape == (25, 6)
    for part in (slice(None), slice(3, 9), slice(24, 99), slice(5, 5), slice(30, 40)):
        np.testing.assert_allclose(rows[part], unit(VECTORS[part]), atol=1e-6)


def test_equal_rows_are_kept_once(tmp_path):
    repeated = VECTORS[[0, 1, 1, 2, 0, 3, 4, 5, 5, 5, 6]]
    rows = write_vectors(tmp_path / "v", 11, lambda start, stop: repeated[start:stop], "text")
    assert rows.kept.tolist() == [0, 1, 3, 5, 6, 7, 10]
    assert rows.shape == (7, 6)
    for start in range(7):
        for stop in range(start, 9):
            np.testing.assert_allclose(rows[start:stop], unit(VECTORS[:7])[start:stop], atol=1e-6)


def test_a_stopped_run_goes_on_with_the_same_chunks(tmp_path):
    asked = []

    def stopping(start, stop):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append((start, stop))
        return VECTORS[start:stop]

    with pytest.raises(KeyboardInterrupt):
        write_vectors(tmp_path / "v", 25, stopping, "text")
    with open(tmp_path / "v", "ab") as file:
        file.write(b"half a chunk that a kill left")
    later = []
    rows = write_vectors(tmp_path / "v", 25, lambda *chunk: later.append(chunk) or VECTORS[slice(*chunk)], "text")
    assert asked + later == [(start, min(start + 4, 25)) for start in range(0, 25, 4)]
    np.testing.assert_allclose(rows[:], unit(VECTORS), atol=1e-6)
    write_vectors(tmp_path / "v", 25, stopping, "text")  # a complete file asks for nothing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], r"text: the encoder returned shape \(3, 6\), not \(4, 6\)"),
        (lambda rows: rows[:, :5], r"text: the encoder returned shape \(4, 5\), not \(4, 6\)"),
        (lambda rows: rows * np.nan, r"text, sentences 9 to 12: the vectors must be finite"),
        (lambda rows: rows[0], r"text, sentences 9 to 12: the vectors must have two dimensions"),
    ],
)
def test_vectors_that_cannot_be_used_are_refused(tmp_path, change, message):
    def embed(start, stop):
        return change(VECTORS[start:stop]) if start == 8 else VECTORS[start:stop]

    with pytest.raises(InputError, match=message):
        write_vectors(tmp_path / "v", 25, embed, "text")


@pytest.mark.parametrize(
    "content", [b"", b"no array", lambda: np.arange(3.0), lambda: np.array([0, 2, 1]), lambda: np.array([0, 99])]
)
def test_a_damaged_list_of_distinct_rows_is_made_again(tmp_path, caplog, content):
    repeated = VECTORS[[0, 1, 1, 2]]
    write_vectors(tmp_path / "v", 4, lambda start, stop: repeated[start:stop], "text")
    if callable(content):
        np.save(tmp_path / "v.kept.npy", content())
    else:
        (tmp_path / "v.kept.npy").write_bytes(content)
    assert write_vectors(tmp_path / "v", 4, lambda *_: pytest.fail("embedded"), "text").kept.tolist() == [0, 1, 3]
    assert "v.kept.npy is damaged and is computed again" in caplog.text


@pytest.mark.parametrize(("row", "expected"), [(0, 0), (7, 4), (13, 12), (24, 24)])
def test_chunks_from_a_damaged_one_on_are_embedded_again(tmp_path, caplog, row, expected):
    write_vectors(tmp_path / "v", 25, lambda start, stop: VECTORS[start:stop], "text")
    content = bytearray((tmp_path / "v").read_bytes())
    content[row * 24] ^= 1
    (tmp_path / "v").write_bytes(content)
    asked = []
    rows = write_vectors(tmp_path / "v", 25, lambda *chunk: asked.append(chunk[0]) or VECTORS[slice(*chunk)], "text")
    assert asked == list(range(expected, 25, 4))
    np.testing.assert_allclose(rows[:], unit(VECTORS), atol=1e-6)
    assert f"v is damaged: sentences from {expected + 1} on are embedded again" in caplog.text
    asked.clear()
    write_vectors(tmp_path / "v", 25, lambda *_: pytest.fail("embedded"), "text")


def test_a_list_of_distinct_rows_of_right_form_but_other_content_is_made_again(tmp_path):
    write_vectors(tmp_path / "v", 4, lambda *_: VECTORS[[0, 1, 1, 2]], "text")
    np.save(tmp_path / "v.kept.npy", np.array([0, 1, 2]))
    assert write_vectors(tmp_path / "v", 4, lambda *_: pytest.fail("embedded"), "text").kept.tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    "saved",
    ["[]", "{", '{"rows": 26, "dimension": 6}', '{"rows": 25, "dimension": 5}', '{"rows": 6, "dimension": 6}',
     '{"rows": true, "dimension": 6}', '{"rows": -4, "dimension": -6}', '{"rows": 25}'],
)  # fmt: skip
def test_progress_that_cannot_be_is_not_trusted(tmp_path, caplog, saved):
    write_vectors(tmp_path / "v", 25, lambda start, stop: VECTORS[[0] * (stop - start)], "text")
    (tmp_path / "v.progress.json").write_text(saved)
    rows = write_vectors(tmp_path / "v", 25, lambda start, stop: VECTORS[start:stop], "text")
    np.testing.assert_allclose(rows[:], unit(VECTORS), atol=1e-6)
    assert "v.progress.json or the vectors beside it are damaged" in caplog.text
