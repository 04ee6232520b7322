"""Anything that encodes can be scored: folders and objects; what cannot is named."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import ems
from ems import shared_encoder
from ems.data.grammar import held_out
from ems.errors import InputError
from ems.eval.encoders import check_encoder, embed, folder_fingerprint, open_encoder


class Lengths:
    name = "lengths"
    fingerprint = "abc123"

    def __init__(self):
        self.calls = []

    def encode(self, sentences):
        self.calls.append(list(sentences))
        return [[len(sentence), 1.0] for sentence in sentences]


def test_duplicates_are_encoded_once_and_keep_their_places():
    encoder = Lengths()
    vectors = embed(encoder, ["aa", "b", "aa", "cccc"])
    assert encoder.calls == [["aa", "b", "cccc"]]
    assert vectors.tolist() == [[2, 1], [1, 1], [2, 1], [4, 1]]
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(("value", "name"), [(np.nan, "nan"), (-np.inf, "-inf"), (1e300, "inf")])
def test_values_that_are_not_finite_are_named_with_encoder_text_and_row(value, name):
    class Broken(Lengths):
        def encode(self, sentences):
            return [[value if sentence == "bad" else 1.0, 2.0] for sentence in sentences]

    with pytest.raises(ValueError, match=rf"encoder lengths returned {name} for row 3 of deu_Latn \('bad'\)"):
        embed(Broken(), ["a", "a", "b", "bad", "bad"], "deu_Latn")
    with pytest.raises(ValueError, match=rf"encoder lengths returned {name} for row 0 "):
        embed(Broken(), ["bad"])
    assert embed(Broken(), ["a"]).tolist() == [[1, 2]]


def test_squares_beyond_float32_are_not_mistaken_for_infinity():
    class Large(Lengths):
        def encode(self, sentences):
            return np.full((len(sentences), 3), 1e30)

    assert embed(Large(), ["a", "b"]).tolist() == np.full((2, 3), 1e30, dtype=np.float32).tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1.0, 2.0], [3.0]], "no array of numbers for 2 sentences of deu_Latn"),
        ([["a"], ["b"]], "no array of numbers"),
        (None, "returned"),
        ([1.0, 2.0], r"shape \(2,\) for 2 sentences of deu_Latn"),
        ([[1.0]], r"shape \(1, 1\) for 2 sentences"),
        ([[], []], r"shape \(2, 0\) for 2 sentences"),
    ],
)
def test_what_is_not_one_vector_a_sentence_is_refused_with_the_encoder_s_name(given, message):
    class Broken(Lengths):
        def encode(self, sentences):
            return given

    with pytest.raises(ValueError, match="encoder lengths returned .*" + message.removeprefix("returned")):
        embed(Broken(), ["a", "b"], "deu_Latn")


def test_a_dimension_other_than_before_is_refused():
    with pytest.raises(
        ValueError, match="encoder lengths returned dimension 2 for sentences of fra_Latn, but 3 before"
    ):
        embed(Lengths(), ["a"], "fra_Latn", 3)
    assert embed(Lengths(), ["a"], "fra_Latn", 2).shape == (1, 2)


def test_an_object_keeps_its_name_and_fingerprint():
    encoder = open_encoder(Lengths())
    assert (encoder.name, encoder.fingerprint) == ("lengths", "abc123")

    class Nameless:
        encode = Lengths.encode

    assert (open_encoder(Nameless()).name, open_encoder(Nameless()).fingerprint) == ("Nameless", None)
    with pytest.raises(TypeError, match="float has not"):
        open_encoder(1.5)


def test_an_ems_folder_is_checked_without_its_weights_being_read(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"")
    check_encoder(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"not a whole ems model folder: model\.safetensors is missing"):
        check_encoder(folder)
    (folder / "ems.json").write_text("{")
    with pytest.raises(InputError, match=r"ems\.json cannot be read"):
        check_encoder(folder)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ("[", r"modules\.json cannot be read"),
        ("{}", "does not hold a list of modules"),
        ("[]", "does not hold a list of modules"),
        ('[{"path": ""}, {"path": "1_Pooling"}]', "the folder of module .*1_Pooling.* is not there"),
        ('[{"path": 1}]', "is not there"),
    ],
)
def test_a_sentence_transformers_folder_is_checked_without_being_opened(tmp_path, modules, message):
    pytest.importorskip("sentence_transformers")
    (tmp_path / "modules.json").write_text('[{"path": ""}]')
    check_encoder(tmp_path)
    (tmp_path / "modules.json").write_text(modules)
    with pytest.raises(InputError, match=message):
        check_encoder(tmp_path)


def test_what_is_no_encoder_is_found_by_a_check(tmp_path):
    check_encoder(Lengths())
    with pytest.raises(TypeError, match="float has not"):
        check_encoder(1.5)
    for folder, message in ((tmp_path / "gone", "no such model folder"), (tmp_path, "not a model folder")):
        with pytest.raises(InputError, match=message):
            check_encoder(folder)
    np.save(tmp_path / "a.npy", np.eye(2))
    with pytest.raises(InputError, match="the sentences are missing"):
        check_encoder(tmp_path)


def test_folders_that_are_no_encoders_are_named(tmp_path):
    with pytest.raises(InputError, match="no such model folder"):
        open_encoder(tmp_path / "gone")
    with pytest.raises(InputError, match="not a model folder"):
        open_encoder(tmp_path)


def test_a_fingerprint_follows_content_and_not_the_model_card(tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("a")
    before = folder_fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("b")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x").write_text("c")
    assert folder_fingerprint(tmp_path) == before
    (tmp_path / "1_Pooling" / "config.json").write_text("[]")
    assert folder_fingerprint(tmp_path) != before


def test_a_folder_with_ems_json_is_opened_by_ems(tmp_path, monkeypatch):
    asked = {}

    class Model:
        def encode(self, sentences, batch_size, show_progress_bar):
            asked.update(batch_size=batch_size, show_progress_bar=show_progress_bar)
            return np.ones((len(sentences), 3))

    def load(folder, device, dtype):
        asked.update(folder=folder, device=device)
        return Model()

    folder = tmp_path / "quickstart" / "model"
    folder.mkdir(parents=True)
    for name in ("ems.json", "modules.json"):  # an ems folder is a sentence-transformers folder, too
        (folder / name).write_text("{}")
    monkeypatch.setattr(shared_encoder, "load", load)
    encoder = open_encoder(folder, batch_size=7, device="cpu")
    assert encoder.name == "quickstart/model"
    assert encoder.encode(["a"]).tolist() == [[1, 1, 1]]
    assert asked == {"folder": folder, "device": "cpu", "batch_size": 7, "show_progress_bar": False}


@pytest.mark.parametrize("device", ["meta", "xla", "nonsense"])
def test_a_device_that_cannot_compute_is_named(tiny_model, device):
    with pytest.raises(InputError, match=f"device '{device}' .*; choose 'cpu' or 'cuda'$"):
        open_encoder(tiny_model, device=device)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_sentence_transformers_folder_is_opened(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.models import BoW

    model = sentence_transformers.SentenceTransformer(modules=[BoW(vocab=["ein", "zwei", "drei"])], device="cpu")
    model.save(str(tmp_path / "bow"))
    encoder = open_encoder(tmp_path / "bow", batch_size=2, device="cpu")
    sentences = ["ein zwei", "drei", "zwei zwei"]
    np.testing.assert_array_equal(encoder.encode(sentences), model.encode(sentences, show_progress_bar=False))
    assert encoder.count_tokens is None  # a tokenizer of its own kind
    with pytest.raises(InputError, match="device 'meta' cannot be used here"):
        open_encoder(tmp_path / "bow", device="meta")
    (tmp_path / "bow" / "modules.json").write_text("{}")
    with pytest.raises(InputError, match="bow: sentence-transformers cannot open it"):
        open_encoder(tmp_path / "bow", device="cpu")


def test_warnings_of_an_ems_model_name_the_text_and_only_while_it_is_encoded(tiny_model, caplog):
    encoder = open_encoder(tiny_model, device="cpu")
    embed(encoder, ["", "Hallo", "wort " * 100], "deu_Latn")
    embed(encoder, ["", "Hallo"])
    assert [record.getMessage() for record in caplog.records] == [
        "1 sentence holds no text; its vector is zero (deu_Latn)",
        "1 sentence was cut to its first 48 tokens (deu_Latn)",
        "1 sentence holds no text; its vector is zero",
    ]


@pytest.mark.slow
def test_a_real_ems_folder_gives_the_vectors_of_ems_load(tiny_model):
    sentences = [*held_out(3)["de"], *held_out(3)["en"]]
    encoder = open_encoder(tiny_model, device="cpu", batch_size=2)
    assert encoder.name == "run/model"
    assert encoder.fingerprint == folder_fingerprint(tiny_model)
    model = ems.load(tiny_model, device="cpu")
    assert np.abs(embed(encoder, sentences) - model.encode(sentences)).max() < 1e-6
    assert encoder.count_tokens(["", *sentences]) == [0, *(len(model.tokenizer.encode_flat([s])[0]) for s in sentences)]


@pytest.mark.slow
def test_a_real_transformer_of_another_project_is_opened_as_its_own_folder_says(tmp_path):
    """A tiny BERT with weights of its own, a length limit and normalised output: settings that must survive."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as parts
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(tmp_path / "bert")
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    word_vectors = parts.Transformer(str(tmp_path / "bert"), max_seq_length=6)
    pooling = parts.Pooling(16, pooling_mode="mean")
    model = SentenceTransformer(modules=[word_vectors, pooling, parts.Normalize()], device="cpu")
    model.save(str(tmp_path / "theirs"))

    sentences = ["a b c", "d", "e f g h a b c d e f"]
    encoder = open_encoder(tmp_path / "theirs", device="cpu", batch_size=2)
    assert encoder.name == "theirs"
    vectors = embed(encoder, sentences)
    assert np.abs(vectors - model.encode(sentences, show_progress_bar=False)).max() < 1e-6
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert encoder.count_tokens(sentences) == [3, 1, 10]  # all of them, and none but theirs
    assert np.abs(vectors[2] - embed(encoder, ["e f g h"])[0]).max() < 1e-6  # cut at 6 tokens, with [CLS] and [SEP]
