"""Anything that encodes can be scored: folders, objects, precomputed vectors, and the cache."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest

import ems
from ems.data.grammar import held_out
from ems.errors import InputError
from ems.eval import precomputed
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


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_precomputed_array_with_a_damaged_header_is_named_in_one_line(tmp_path, header):
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "a.npy").write_bytes(with_header(header))
    with pytest.raises(InputError, match=r"a\.npy: not a readable \.npy array \(.+\)$") as caught:
        open_encoder(tmp_path)
    assert "\n" not in str(caught.value)


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

    def load(folder, device=None):
        asked.update(folder=folder, device=device)
        return Model()

    folder = tmp_path / "quickstart" / "model"
    folder.mkdir(parents=True)
    for name in ("ems.json", "modules.json"):  # an ems folder is a sentence-transformers folder, too
        (folder / name).write_text("{}")
    monkeypatch.setitem(vars(ems), "load", load)
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
        "1 sentences hold no text; their vectors are zero (deu_Latn)",
        "1 sentences were cut to their first 48 tokens (deu_Latn)",
        "1 sentences hold no text; their vectors are zero",
    ]


@pytest.mark.slow
def test_a_real_ems_folder_gives_the_vectors_of_ems_load(tiny_model):
    sentences = [*held_out(3)["de"], *held_out(3)["en"]]
    encoder = open_encoder(tiny_model, device="cpu", batch_size=2)
    assert encoder.name == "run/model"
    assert encoder.fingerprint == folder_fingerprint(tiny_model)
    expected = ems.load(tiny_model, device="cpu").encode(sentences)
    assert np.abs(embed(encoder, sentences) - expected).max() < 1e-6


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
    assert np.abs(vectors[2] - embed(encoder, ["e f g h"])[0]).max() < 1e-6  # cut at 6 tokens, with [CLS] and [SEP]
