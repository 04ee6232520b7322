"""Precomputed embeddings are looked up by text, and unusable ones are named."""

from __future__ import annotations

import numpy as np
import pytest

from ems.errors import InputError
from ems.eval import precomputed
from ems.eval.encoders import open_encoder
from tests.eval.test_embedding_cache import HEADERS, with_header


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_precomputed_array_with_a_damaged_header_is_named_in_one_line(tmp_path, header):
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "a.npy").write_bytes(with_header(header))
    with pytest.raises(InputError, match=r"a\.npy: not a readable \.npy array \(.+\)$") as caught:
        open_encoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_precomputed_embeddings_are_found_by_text(tmp_path):
    (tmp_path / "deu_Latn.devtest").write_text("eins\nzwei\n")
    np.save(tmp_path / "deu_Latn.devtest.npy", np.array([[1.0, 0.0], [0.0, 1.0]]))
    (tmp_path / "english.txt").write_text("two\none\n")
    np.save(tmp_path / "english.npy", np.array([[0.0, 2.0], [2.0, 0.0]], dtype=np.float16))
    encoder = open_encoder(tmp_path)
    assert encoder.encode(["one", "zwei", "one"]).tolist() == [[2, 0], [0, 1], [2, 0]]
    with pytest.raises(InputError, match="no embedding of the sentence 'drei'"):
        encoder.encode(["drei"])


def test_unusable_precomputed_embeddings_are_named(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(2))
    with pytest.raises(InputError, match=r"a\.npy: the sentences are missing; expected a beside it"):
        open_encoder(tmp_path)
    (tmp_path / "a").write_text("one\n")
    with pytest.raises(InputError, match=r"a\.npy has 2 rows, but .*a has 1 lines"):
        open_encoder(tmp_path)
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "b").write_text("one\ntwo\n")
    np.save(tmp_path / "b.npy", np.eye(2, 3))
    with pytest.raises(InputError, match="has dimension 3, others 2"):
        open_encoder(tmp_path)
    np.save(tmp_path / "b.npy", np.ones(2))
    with pytest.raises(InputError, match="must have two dimensions"):
        open_encoder(tmp_path)
    np.save(tmp_path / "b.npy", np.array([["a"], ["b"]]))
    with pytest.raises(InputError, match=r"b[.]npy must hold numbers, not <U1"):
        open_encoder(tmp_path)
    np.savez(tmp_path / "b.npz", np.eye(2))
    archive = (tmp_path / "b.npz").read_bytes()
    for content, why in ((b"junk", ""), (archive, "an .npz archive"), (archive[:40], ""), (b"", "")):
        (tmp_path / "b.npy").write_bytes(content)
        with pytest.raises(InputError, match=rf"b[.]npy: not a readable .npy array \(.*{why}"):
            open_encoder(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_precomputed_embeddings_that_are_not_finite_are_refused(tmp_path, monkeypatch, value, row):
    monkeypatch.setattr(precomputed, "_ROWS_CHECKED", 2)
    vectors = np.ones((3, 2))
    vectors[row, 1] = value
    (tmp_path / "a").write_text("one\ntwo\nthree\n")
    np.save(tmp_path / "a.npy", vectors)
    with pytest.raises(InputError, match=rf"a\.npy: row {row} is not finite in float32"):
        open_encoder(tmp_path)
