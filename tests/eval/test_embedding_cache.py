"""Cached embeddings are those of this encoder and text, or are computed again."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from ems.errors import InputError
from ems.eval.encoders import embed, open_encoder
from tests.eval.test_encoders import Lengths


def test_the_cache_gives_back_what_was_computed(tmp_path):
    model = Lengths()
    first = open_encoder(model, cache=tmp_path).encode(["a", "bb"])
    again = open_encoder(model, cache=tmp_path).encode(["a", "bb"])
    np.testing.assert_array_equal(first, again)
    assert model.calls == [["a", "bb"]]
    open_encoder(model, cache=tmp_path).encode(["ab", "b"])
    assert len(model.calls) == 2
    model.fingerprint = "other"
    open_encoder(model, cache=tmp_path).encode(["a", "bb"])
    assert len(model.calls) == 3


def test_a_damaged_cache_file_is_computed_again(tmp_path, caplog):
    model = Lengths()
    encoder = open_encoder(model, cache=tmp_path)
    encoder.encode(["a", "bb"])
    (file,) = tmp_path.rglob("*.npy")
    np.savez(tmp_path / "archive.npz", np.eye(2))
    np.save(tmp_path / "other", np.eye(3))
    archive, other = (tmp_path / "archive.npz").read_bytes(), (tmp_path / "other.npy").read_bytes()
    for content in (b"", file.read_bytes()[:-3], b"no array", archive, archive[:40], other):
        caplog.clear()
        file.write_bytes(content)
        assert encoder.encode(["a", "bb"]).tolist() == [[1, 1], [2, 1]]
        assert "damaged" in caplog.text
    assert len(model.calls) == 7


def test_a_folder_in_place_of_a_cache_file_is_refused_before_anything_is_encoded(tmp_path):
    model = Lengths()
    encoder = open_encoder(model, cache=tmp_path)
    encoder.encode(["a", "bb"])
    (file,) = tmp_path.rglob("*.npy")
    file.unlink()
    file.mkdir()
    with pytest.raises(InputError, match=f"{file.name} is not a file; remove it"):
        encoder.encode(["a", "bb"])
    assert len(model.calls) == 1


def whole_file(vectors):
    """What NumPy alone, as an older version did, writes into a cache file."""
    file = io.BytesIO()
    np.save(file, vectors)
    return file.getvalue()


def changed_values(content):
    place = content.index(np.array([[2, 1]], dtype=np.float32).tobytes())
    return content[:place] + np.float32(3).tobytes() + content[place + 4 :]


@pytest.mark.parametrize(
    "change",
    [
        changed_values,
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content.replace(b"(2, 2)", b"(1, 4)"),
        lambda content: content.replace(b"<f4", b"<i4"),
        *(
            lambda content, vectors=vectors: whole_file(vectors) + content[-16:]
            for vectors in (
                np.full((2, 2), np.nan, dtype=np.float32),
                np.ones((2, 3), dtype=np.float32),
                np.ones((2, 2), dtype=np.complex64),
                np.array([["1", "1"], ["2", "1"]]),
            )
        ),
        lambda content: whole_file(np.array([[1, 1], [2, 1]], dtype=np.float32)),
    ],
    ids=["a value", "the digest", "the shape", "the dtype", "nan", "columns", "complex", "text", "no digest"],
)
def test_a_cache_file_in_which_anything_changed_is_computed_again(tmp_path, caplog, change):
    model = Lengths()
    encoder = open_encoder(model, cache=tmp_path)
    encoder.encode(["a", "bb"])
    (file,) = tmp_path.rglob("*.npy")
    before = file.read_bytes()
    file.write_bytes(change(before))
    assert file.read_bytes() != before
    assert encoder.encode(["a", "bb"]).tolist() == [[1, 1], [2, 1]]
    assert f"{file} is damaged and is computed again" in caplog.text
    assert (len(model.calls), file.read_bytes()) == (2, before)


def test_a_cache_file_under_the_name_of_another_is_computed_again(tmp_path, caplog):
    encoder = open_encoder(Lengths(), cache=tmp_path)
    encoder.encode(["a", "bb"])
    (file,) = tmp_path.rglob("*.npy")
    encoder.encode(["ccc", "dddd"])
    (other,) = set(tmp_path.rglob("*.npy")) - {file}
    other.write_bytes(file.read_bytes())
    assert encoder.encode(["ccc", "dddd"]).tolist() == [[3, 1], [4, 1]]
    assert "damaged" in caplog.text


# NumPy's reader raises something else for each: TokenError, OverflowError, MemoryError, ...
HEADERS = {
    "brackets": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2(((((}",
    "a number beyond 64 bits": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30}, 2), }}",
    "36 TiB": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({5 * 10**12}, 2), }}",
    "indentation": "  1\n 2\n",
    "a negative number": "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 2), }",
    "an unknown type": "{'descr': '<q9', 'fortran_order': False, 'shape': (2, 2), }",
    "a list": "[1, 2]",
    "other keys": "{1: 2, 'a': 3}",
}


def with_header(header):
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_cache_file_with_a_damaged_header_is_computed_again(tmp_path, caplog, header):
    encoder = open_encoder(Lengths(), cache=tmp_path)
    encoder.encode(["a", "bb"])
    (file,) = tmp_path.rglob("*.npy")
    file.write_bytes(with_header(header))
    assert encoder.encode(["a", "bb"]).tolist() == [[1, 1], [2, 1]]
    assert f"{file} is damaged and is computed again" in caplog.text


def test_vectors_that_cannot_be_scored_are_never_kept(tmp_path):
    class Broken(Lengths):
        broken = True

        def encode(self, sentences):
            return np.full((len(sentences), 2), np.nan if self.broken else 1.0)

    model = Broken()
    encoder = open_encoder(model, cache=tmp_path)
    with pytest.raises(ValueError, match="encoder lengths returned nan for row 0"):
        embed(encoder, ["a"])
    assert list(tmp_path.rglob("*.npy")) == []
    model.broken = False
    assert embed(encoder, ["a"]).tolist() == [[1, 1]]


def test_a_second_benchmark_on_the_same_file_encodes_nothing(tmp_path):
    from ems.eval.benchmarks.flores import evaluate_flores
    from ems.eval.benchmarks.xsimpp import evaluate_xsimpp

    for code in ("eng_Latn", "deu_Latn"):
        (tmp_path / "devtest").mkdir(exist_ok=True)
        (tmp_path / "devtest" / f"{code}.devtest").write_text("".join(f"{code * row}\n" for row in range(1, 6)))
    altered = {"eng_Latn ": {"src": "eng_Latn", "errtype": "a"}, "b": {"src": "eng_Latn", "errtype": "a"}}
    (tmp_path / "devtest_augmented").mkdir()
    (tmp_path / "devtest_augmented" / "eng_Latn_augmented.devtest").write_text("\n".join(altered))
    (tmp_path / "devtest_augmented" / "eng_Latn_errtype.devtest.json").write_text(json.dumps(altered))
    model = Lengths()
    evaluate_flores(open_encoder(model, cache=tmp_path / "cache"), tmp_path)
    assert len(model.calls) == 2
    evaluate_flores(open_encoder(model, cache=tmp_path / "cache"), tmp_path, all_pairs=True)
    assert len(model.calls) == 2
    evaluate_xsimpp(open_encoder(model, cache=tmp_path / "cache"), tmp_path)
    assert model.calls[2:] == [list(altered)]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_that_is_no_folder_is_refused_before_anything_is_encoded(tmp_path, place):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=f"cache .*{place} cannot be used as a folder"):
        open_encoder(Lengths(), cache=tmp_path / place)
    assert (tmp_path / "file").read_text() == "x"


def test_an_object_without_fingerprint_is_never_cached(tmp_path):
    model = Lengths()
    model.fingerprint = None
    for _ in range(2):
        open_encoder(model, cache=tmp_path).encode(["a"])
    assert len(model.calls) == 2
    assert list(tmp_path.iterdir()) == []
