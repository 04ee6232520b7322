"""A teacher's vectors: found by sentence, whatever side it is on, and refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ems.config import TeacherConfig
from ems.data.keyed import token_digests
from ems.data.teacher import TeacherVectors
from ems.errors import InputError


class Words:
    """A tokenizer of letters; blank lines have no token."""

    vocab_size = 300
    fingerprint = "letters"

    def encode_flat(self, sentences: list[str]) -> tuple[np.ndarray, np.ndarray]:
        ids = [[ord(letter) % 300 for letter in sentence.strip().lower()] for sentence in sentences]
        return np.array([i for row in ids for i in row], dtype=np.int32), np.array([len(row) for row in ids])


def digests(*sentences: str) -> np.ndarray:
    return token_digests(*Words().encode_flat(list(sentences)))


def write(folder: Path, text: str, vectors: np.ndarray) -> TeacherConfig:
    (folder / "sentences.txt").write_bytes(text.encode())
    np.save(folder / "vectors.npy", vectors)
    return TeacherConfig(sentences=str(folder / "sentences.txt"), vectors=str(folder / "vectors.npy"))


def open_teacher(config: TeacherConfig) -> TeacherVectors:
    return TeacherVectors(config, Words())  # type: ignore[arg-type]


def test_the_vector_of_the_source_is_taken_else_that_of_the_target_else_none(tmp_path: Path) -> None:
    vectors = np.arange(12, dtype=np.float16).reshape(4, 3)
    teacher = open_teacher(write(tmp_path, "one\ntwo\nthree\nfour\n", vectors))
    rows = teacher.rows_of(digests("two", "zwei", "vier", "one"), digests("zwei", "three", "quatre", "four"))
    assert rows.known.tolist() == [True, True, False, True]
    assert rows.vectors.tolist() == [[3, 4, 5], [6, 7, 8], [0, 0, 0], [0, 1, 2]]
    assert (rows.vectors.dtype, teacher.size) == (torch.float32, 3)


def test_sentences_that_the_tokenizer_cannot_tell_apart_are_one_and_blank_lines_keep_their_row(tmp_path: Path) -> None:
    teacher = open_teacher(write(tmp_path, "\r\nTWO\r\n\r\nthree", np.eye(4)))
    assert teacher.find(digests("two", "three"), digests("x", "x")).tolist() == [1, 3]


def test_the_digest_knows_vectors_and_sentences(tmp_path: Path) -> None:
    cases = [("a\nb\n", np.eye(2)), ("a\nb\n", 2 * np.eye(2)), ("a\nc\n", np.eye(2)), ("a\nb\n", np.eye(2))]
    found = [open_teacher(write(tmp_path, *case)).digest for case in cases]
    assert len(set(found)) == 3
    assert found[0] == found[3]


@pytest.mark.parametrize(
    ("text", "vectors", "wanted"),
    [
        ("a\nb\n", np.eye(3), "has 2 lines, .* has 3 rows"),
        ("a\nb\n", np.arange(2.0), "does not hold a matrix of floats"),
        ("a\nb\n", np.eye(2, dtype=np.int64), "does not hold a matrix of floats"),
        ("", np.zeros((0, 3)), "does not hold a matrix of floats"),
        ("a\nb\n", np.array([["a"], ["b"]], dtype=object), "cannot be read"),
        ("a\nb\n", np.array([[1.0, 2.0], [np.nan, 0.0]]), r"row 1 \(line 2\) is not finite"),
        ("a\nb\n", np.array([[1e300, 2.0], [0.0, 0.0]]), r"row 0 \(line 1\) is not finite in float32"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, text: str, vectors: np.ndarray, wanted: str) -> None:
    with pytest.raises(InputError, match=wanted):
        open_teacher(write(tmp_path, text, vectors))


def test_missing_and_undecodable_files_are_named(tmp_path: Path) -> None:
    config = write(tmp_path, "a\n", np.eye(1))
    (tmp_path / "sentences.txt").write_bytes(b"\xff\n")
    with pytest.raises(InputError, match=r"sentences\.txt is not UTF-8"):
        open_teacher(config)
    (tmp_path / "sentences.txt").unlink()
    with pytest.raises(InputError, match=r"sentences\.txt cannot be read"):
        open_teacher(config)
    (tmp_path / "vectors.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"vectors\.npy cannot be read"):
        open_teacher(config)
