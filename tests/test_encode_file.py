"""Embedding a file: rows equal `encode`, memory is bounded, and a killed run goes on."""

from __future__ import annotations

import copy
import io
import sys

import numpy as np
import pytest
import torch

import ems
from ems import inference
from ems.data.grammar import held_out
from ems.encode_file import _locked, encode_file
from ems.errors import InputError


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return ems.load(tiny_model, device="cpu")


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(inference, "WINDOW", 10)


@pytest.fixture
def text(tmp_path):
    lines = held_out(35)["de"]
    path = tmp_path / "in.txt"
    path.write_text("\n".join([*lines, "", "letzte ohne Zeilenende"]), encoding="utf-8")
    return path


def lines_of(path):
    return path.read_text(encoding="utf-8").split("\n")


def test_rows_equal_encode_line_by_line(encoder, text, tmp_path, small_windows):
    assert encode_file(encoder, str(text), tmp_path / "out.npy") == 37
    rows = np.load(tmp_path / "out.npy")
    assert rows.dtype == np.float32
    assert np.abs(rows - encoder.encode(lines_of(text))).max() < 1e-5
    assert (rows[35] == 0).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.txt", "out.npy"]


def test_only_line_feeds_end_lines(encoder, tmp_path):
    (tmp_path / "in.txt").write_bytes("eins\u2028zwei\r\ndrei\x85vier\n".encode())
    assert encode_file(encoder, str(tmp_path / "in.txt"), tmp_path / "out.npy") == 2


def test_an_empty_file_gives_no_rows(encoder, tmp_path):
    (tmp_path / "in.txt").write_bytes(b"")
    assert encode_file(encoder, str(tmp_path / "in.txt"), tmp_path / "out.npy") == 0
    assert np.load(tmp_path / "out.npy").shape == (0, encoder.dimension)


def test_standard_input(encoder, tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(b"Guten Morgen\nHallo\n"))
    monkeypatch.setattr(sys, "stdin", stream)
    assert encode_file(encoder, "-", tmp_path / "out.npy", normalize=True) == 2
    assert np.linalg.norm(np.load(tmp_path / "out.npy"), axis=1) == pytest.approx([1, 1], abs=1e-5)


class StoppedError(Exception):
    pass


def stop_after(monkeypatch, encoder, windows):
    original, calls = encoder.encode_tokens, []

    def encode_tokens(tokens, lengths, batch_size=None):
        if len(calls) == windows:
            raise StoppedError
        calls.append(len(lengths))
        return original(tokens, lengths, batch_size)

    monkeypatch.setattr(encoder, "encode_tokens", encode_tokens)
    return calls


def test_a_stopped_run_goes_on_behind_the_last_whole_window(encoder, text, tmp_path, small_windows, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, encoder, 2)
        with pytest.raises(StoppedError):
            encode_file(encoder, str(text), tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()
    with monkeypatch.context() as patch:
        calls = stop_after(patch, encoder, 100)
        encode_file(encoder, str(text), tmp_path / "out.npy")
    assert sum(calls) == 17
    assert np.abs(np.load(tmp_path / "out.npy") - encoder.encode(lines_of(text))).max() < 1e-5


def test_a_changed_input_starts_anew(encoder, text, tmp_path, small_windows, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, encoder, 2)
        with pytest.raises(StoppedError):
            encode_file(encoder, str(text), tmp_path / "out.npy")
    text.write_text("ganz anderer Text\n" * 30, encoding="utf-8")
    encode_file(encoder, str(text), tmp_path / "out.npy")
    assert np.abs(np.load(tmp_path / "out.npy") - encoder.encode("ganz anderer Text")).max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16])
def test_rows_of_another_precision_are_not_continued(
    encoder, tiny_model, text, tmp_path, small_windows, monkeypatch, dtype
):
    other = ems.load(tiny_model, device="cpu", dtype=dtype)
    with monkeypatch.context() as patch:
        stop_after(patch, other, 2)
        with pytest.raises(StoppedError):
            encode_file(other, str(text), tmp_path / "out.npy")
    encode_file(encoder, str(text), tmp_path / "out.npy")
    assert np.abs(np.load(tmp_path / "out.npy") - encoder.encode(lines_of(text))).max() < 1e-5


def test_a_line_that_is_not_utf8_is_named_and_nothing_takes_the_final_name(encoder, tmp_path):
    (tmp_path / "in.txt").write_bytes(b"gut\nschl\xffecht\n")
    with pytest.raises(InputError, match=r"in.txt, line 2: not UTF-8"):
        encode_file(encoder, str(tmp_path / "in.txt"), tmp_path / "out.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


@pytest.mark.parametrize("output", ["in.txt", "folder", "/dev/null"])
def test_an_output_that_would_destroy_something_is_refused(encoder, text, tmp_path, output):
    (tmp_path / "folder").mkdir()
    before = text.read_bytes()
    with pytest.raises(InputError, match=r"would be overwritten|is not a file"):
        encode_file(encoder, str(text), tmp_path / output)
    assert text.read_bytes() == before


def test_a_second_process_on_one_output_is_refused(encoder, text, tmp_path):
    with _locked(tmp_path / "out.npy.partial"), pytest.raises(InputError, match="another process is writing"):
        encode_file(encoder, str(text), tmp_path / "out.npy")


def test_a_byte_order_mark_is_no_text(encoder, tmp_path):
    (tmp_path / "in.txt").write_bytes(b"\xef\xbb\xbfHallo\n")
    encode_file(encoder, str(tmp_path / "in.txt"), tmp_path / "out.npy")
    assert np.abs(np.load(tmp_path / "out.npy")[0] - encoder.encode("Hallo")).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "output", "message"),
    [("none.txt", "out.npy", "cannot be read"), ("in.txt", "no/out.npy", "does not exist")],
)
def test_unusable_places_are_named(encoder, text, tmp_path, name, output, message):
    with pytest.raises(InputError, match=message):
        encode_file(encoder, str(tmp_path / name), tmp_path / output)


def encode_two_windows(monkeypatch, encoder, name, output):
    with monkeypatch.context() as patch:
        stop_after(patch, encoder, 2)
        with pytest.raises(StoppedError):
            encode_file(encoder, name, output)


def test_rows_of_standard_input_never_pass_for_those_of_an_older_run(
    encoder, text, tmp_path, small_windows, monkeypatch
):
    output = tmp_path / "out.npy"
    encode_two_windows(monkeypatch, encoder, str(text), output)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"something else\n" * 40)))
    encode_two_windows(monkeypatch, encoder, "-", output)
    encode_file(encoder, str(text), output)
    assert np.abs(np.load(output) - encoder.encode(lines_of(text))).max() < 1e-5


def test_rows_of_other_weights_are_not_continued_even_where_the_embeddings_are_equal(
    encoder, text, tmp_path, small_windows, monkeypatch
):
    output = tmp_path / "out.npy"
    encode_two_windows(monkeypatch, encoder, str(text), output)
    other = copy.deepcopy(encoder)
    with torch.no_grad():
        for name, weight in other.encoder.named_parameters():
            if "embedding" not in name:
                weight.neg_()
    assert np.abs(other.encode(lines_of(text)) - encoder.encode(lines_of(text))).max() > 0.01
    encode_file(other, str(text), output)
    assert np.abs(np.load(output) - other.encode(lines_of(text))).max() < 1e-5
