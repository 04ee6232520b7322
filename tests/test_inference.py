"""`encode` as a user of sentence-transformers expects it, and what it does with odd input."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import ems
from ems import inference
from ems.data.grammar import held_out
from ems.errors import InputError
from ems.inference import choose_device

ODD = [
    "😀 emoji 🏳️‍🌈",
    "مرحبا بالعالم",
    "שלום עולם",
    "nul\x00byte",
    "lone \ud800 surrogate",
    "x" * 3000,
    "<pad> <mask> <unk>",
    "▁",
]


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return ems.load(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def sentences():
    return [text for texts in held_out(40).values() for text in texts]


def test_a_string_gives_a_vector_and_a_list_a_matrix(encoder):
    assert encoder.encode("Good morning").shape == (encoder.dimension,)
    matrix = encoder.encode(["Good morning", "Guten Morgen"])
    assert matrix.shape == (2, encoder.dimension)
    assert matrix.dtype == np.float32


def test_no_sentence_gives_no_row(encoder):
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_order_in_is_order_out_whatever_the_lengths(encoder, sentences):
    together = encoder.encode(sentences)
    for i in (0, 7, 133, 250):
        assert np.abs(together[i] - encoder.encode(sentences[i])).max() < 1e-5


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_does_not_change_results(encoder, sentences, batch_size):
    some = sentences[:50]
    assert np.abs(encoder.encode(some, batch_size=batch_size) - encoder.encode(some)).max() < 1e-5


def test_a_generator_is_read_once_window_by_window(encoder, sentences, monkeypatch):
    monkeypatch.setattr(inference, "WINDOW", 7)
    assert np.abs(encoder.encode(s for s in sentences[:30]) - encoder.encode(sentences[:30])).max() < 1e-5


def test_blank_sentences_give_zero_rows_and_one_warning(encoder, caplog):
    with caplog.at_level(logging.WARNING):
        vectors = encoder.encode(["", "Good morning", " \t\n", "​"])
    assert (vectors[[0, 2, 3]] == 0).all()
    assert np.abs(vectors[1]).max() > 0
    assert [record.getMessage() for record in caplog.records] == ["3 sentences hold no text; their vectors are zero"]


def test_long_sentences_are_cut_and_counted_in_one_warning(encoder, caplog):
    long = "house " * 100_000
    with caplog.at_level(logging.WARNING):
        vectors = encoder.encode([long, long + "garden", "house"])
    assert np.array_equal(vectors[0], vectors[1])
    assert [r.getMessage() for r in caplog.records] == [
        f"2 sentences were cut to their first {encoder.max_tokens} tokens"
    ]


@pytest.mark.parametrize("text", ODD)
def test_any_string_gives_a_finite_vector(encoder, text):
    vector = encoder.encode(text)
    assert np.isfinite(vector).all()
    assert np.abs(vector - encoder.encode(["Good morning", text])[1]).max() < 1e-5


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ([None], "sentence 0 is NoneType"),
        (["a", 3], "sentence 1 is int 3"),
        (b"a", "not bytes"),
        (None, "not NoneType"),
        ({"a": 1}, "not dict"),
    ],
)
def test_what_is_no_string_is_named(encoder, bad, named):
    with pytest.raises(TypeError, match=named):
        encoder.encode(bad)


def test_normalised_vectors_have_length_one_and_zero_stays_zero(encoder):
    vectors = encoder.encode(["Good morning", ""], normalize_embeddings=True)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0], abs=1e-6)


def test_truncation_comes_before_normalisation(encoder):
    full, cut = (
        encoder.encode("Good morning"),
        encoder.encode("Good morning", truncate_dim=8, normalize_embeddings=True),
    )
    assert cut == pytest.approx(full[:8] / np.linalg.norm(full[:8]), abs=1e-6)


def test_tensors_and_lists_of_tensors(encoder):
    tensor = encoder.encode(["a", "b"], convert_to_tensor=True)
    rows = encoder.encode(["a", "b"], convert_to_numpy=False)
    assert isinstance(tensor, torch.Tensor)
    assert isinstance(rows, list)
    assert torch.equal(tensor, torch.stack(rows))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"precision": "binary"}, "precision 'binary'"),
        ({"batch_size": 0}, "batch_size"),
        ({"truncate_dim": 0}, "truncate_dim"),
    ],
)
def test_what_is_not_supported_raises(encoder, option, message):
    with pytest.raises(ValueError, match=message):
        encoder.encode("a", **option)


def test_half_precision_output(encoder):
    assert encoder.encode("a", precision="float16").dtype == np.float16


def test_similarity_is_the_cosine_of_every_pair(encoder):
    a, b = encoder.encode(["one", "two"]), encoder.encode(["three", "four", "five"])
    expected = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
    assert encoder.similarity(a, b).numpy() == pytest.approx(expected, abs=1e-5)
    assert encoder.similarity(a[0], b).shape == (1, 3)


def test_attributes_tell_dimension_languages_and_length(encoder):
    assert (encoder.dimension, encoder.languages, encoder.max_tokens) == (32, ("de", "en", "es"), 48)
    assert encoder.max_seq_length == 48


def test_ems_encode_keeps_the_model_and_notices_a_new_one(tiny_model, tmp_path, encoder):
    assert np.array_equal(ems.encode("Good morning", model=tiny_model), encoder.encode("Good morning"))
    first = next(iter(inference._loaded.values()))
    ems.encode("again", model=str(tiny_model))
    assert next(iter(inference._loaded.values())) is first


def test_import_is_light():
    import subprocess
    import sys

    code = "import sys, ems; assert 'torch' not in sys.modules and 'tokenizers' not in sys.modules; ems.load"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("device", ["meta", "xla", "privateuseone"])
def test_a_device_that_cannot_compute_is_refused_in_one_line(tiny_model, device):
    with pytest.raises(InputError, match=f"^device '{device}' cannot be used here; choose 'cpu' or 'cuda'$"):
        ems.load(tiny_model, device=device)


def test_a_gpu_that_is_not_there_is_refused_with_the_last_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match=r"^there is no device 'cuda:2'; the last is 'cuda:1'$"):
        choose_device("cuda:2")


@pytest.mark.parametrize("native", [False, True])
def test_bfloat16_on_a_cpu_without_instructions_for_it_is_warned_of(tiny_model, monkeypatch, caplog, native):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    encoder = ems.load(tiny_model, device="cpu", dtype=torch.bfloat16)
    assert ("no instructions for bfloat16" in caplog.text) != native
    assert encoder.compute_dtype == "bfloat16"


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, "int8"])
def test_numbers_that_cannot_hold_weights_are_refused(tiny_model, dtype):
    with pytest.raises(ValueError, match=r"dtype must be a floating-point type of PyTorch, torch.int8 or None"):
        ems.load(tiny_model, dtype=dtype)
