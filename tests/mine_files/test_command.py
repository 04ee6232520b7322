"""Mining files: the pairs of `mine_bitext`, every line counted, and what cannot be used refused."""

from __future__ import annotations

import gzip
import json
import logging
import os

import numpy as np
import pytest

from ems.errors import InputError
from ems.mine_files import memory
from ems.mine_files.command import mine_files
from ems.mining import MARGINS, STRATEGIES
from tests.mine_files.topics import Topics, assert_same, expected_rows, rows_of


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_pairs_are_those_of_mine_bitext_best_first(files, out, small_blocks, margin, strategy):
    report = mine_files(Topics(), *files, out, margin=margin, strategy=strategy, k=3)
    expected = expected_rows(files, margin=margin, strategy=strategy, k=3)
    assert report.pairs == len(expected) > 0
    assert_same(rows_of(out), expected)


@pytest.mark.parametrize("block_rows", [17, 60, 65_536])
def test_the_size_of_blocks_changes_nothing(files, out, monkeypatch, block_rows):
    monkeypatch.setattr(memory, "BLOCK_ROWS", block_rows)
    mine_files(Topics(), *files, out)
    assert_same(rows_of(out), expected_rows(files))


def test_an_approximate_search_says_its_recall_and_finds_the_pairs(files, out):
    report = mine_files(Topics(), *files, out, approximate=True)
    assert min(report.recall) >= 0.95
    found, expected = rows_of(out), expected_rows(files)
    assert len({row[1:] for row in found} & {row[1:] for row in expected}) >= 0.95 * len(expected)


def test_a_threshold_holds_for_every_strategy_and_pairs_below_it_are_counted(files, out):
    whole = mine_files(Topics(), *files, out, strategy="fwd")
    scores = [row[0] for row in rows_of(out)]
    assert whole.threshold is None
    assert whole.pairs == 90
    cut = mine_files(Topics(), *files, out, strategy="fwd", threshold=scores[30])
    assert (cut.pairs, cut.below_threshold) == (30, 60)
    assert [row[0] for row in rows_of(out)] == scores[:30]
    assert mine_files(Topics(), *files, out).threshold == 0.0


def test_the_report_counts_every_line_and_nothing_else_is_left(files, out):
    report = mine_files(Topics(), *files, out)
    assert (report.source.lines.lines, report.source.lines.blank, report.source.lines.duplicates) == (93, 2, 1)
    assert (report.source.lines.sentences, report.target.lines.sentences) == (90, 120)
    saved = json.loads((out.parent / "pairs.tsv.json").read_text(encoding="utf-8"))
    assert saved["source"]["lines"]["duplicates"] == 1
    assert saved["model"] == {"name": "topics", "fingerprint": "0123456789abcdef"}
    assert (saved["pairs"], saved["dimension"], saved["recall"], saved["k"]) == (report.pairs, 16, None, 4)
    assert saved["approximate"] is False
    assert sorted(path.name for path in out.parent.iterdir()) == ["pairs.tsv", "pairs.tsv.json"]


def test_tabs_are_replaced_and_sentences_with_the_vector_of_an_earlier_one_are_left_out(tmp_path, out):
    (tmp_path / "in.de").write_text("de 1\tx\nde 2\nde 1 y\n", encoding="utf-8")
    (tmp_path / "in.en").write_text("en 2\nen 1\n", encoding="utf-8")
    report = mine_files(Topics(), tmp_path / "in.de", tmp_path / "in.en", out, k=2)
    assert {row[1:] for row in rows_of(out)} == {("de 1 x", "en 1"), ("de 2", "en 2")}
    assert (report.source.lines.cleaned, report.source.equal_vectors, report.target.equal_vectors) == (1, 1, 0)


class Cutting(Topics):
    """Warns in every call, as models of `ems` do of sentences that they cut."""

    def encode(self, sentences):
        logging.getLogger("ems.inference").warning("1 sentence was cut")
        return super().encode(sentences)


def test_a_warning_of_the_model_names_the_file(files, out, caplog):
    mine_files(Cutting(), *files, out)
    assert [record.getMessage() for record in caplog.records if "cut" in record.getMessage()] == [
        f"1 sentence was cut ({file})" for file in files
    ]


def test_a_compressed_source_and_an_empty_target(files, out, tmp_path):
    (tmp_path / "in.de.gz").write_bytes(gzip.compress(files[0].read_bytes()))
    plain = mine_files(Topics(), *files, out)
    before = out.read_bytes()
    packed = mine_files(Topics(), tmp_path / "in.de.gz", files[1], out)
    assert out.read_bytes() == before
    assert packed.source.lines == plain.source.lines
    (tmp_path / "empty").write_text("\n\n")
    assert mine_files(Topics(), files[0], tmp_path / "empty", out).pairs == 0
    assert out.read_bytes() == b""


def test_given_vectors_take_the_place_of_the_encoder(files, out, tmp_path):
    encoder = Topics()
    for file in files:
        lines = file.read_text(encoding="utf-8").split("\n")
        lines = lines[:-1] if lines[-1] == "" else lines
        np.save(tmp_path / f"{file.name}.npy", [encoder._vector(line) if line.strip() else [0] * 16 for line in lines])
    source, target = (tmp_path / f"{file.name}.npy" for file in files)
    mine_files(Topics(), *files, out)
    before = out.read_bytes()
    report = mine_files(None, *files, out, source_vectors=source, target_vectors=target)
    assert out.read_bytes() == before
    assert report.model is None
    mixed = Topics()
    mine_files(mixed, *files, out, target_vectors=target)
    assert out.read_bytes() == before
    assert sum(mixed.sizes) == 90
    with pytest.raises(InputError, match=r"in.de.npy has shape \(93, 16\), but .*in.en has 120 lines"):
        mine_files(None, *files, out, source_vectors=source, target_vectors=source)
    with pytest.raises(InputError, match="sentences need a model, or vectors"):
        mine_files(None, *files, out, source_vectors=source)
    np.save(tmp_path / "narrow.npy", np.ones((120, 8)))
    with pytest.raises(InputError, match=r"returned dimension 16 for sentences of .*in.de, but 8 before"):
        mine_files(mixed, *files, out, target_vectors=tmp_path / "narrow.npy")
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(InputError, match=r"text.npy: not a readable .npy array"):
        mine_files(mixed, *files, out, target_vectors=tmp_path / "text.npy")


def test_what_is_wrong_with_given_vectors_is_known_before_anything_is_embedded(files, out, tmp_path, small_blocks):
    vectors = np.ones((120, 16))
    vectors[100] = np.nan
    for unusable, message in [
        (vectors, "must be finite"),
        (np.ones((119, 16)), r"in\.en has 120 lines; give one row a line"),
        (np.ones(120), r"in\.en has 120 lines; give one row a line"),
    ]:
        encoder = Topics()
        np.save(tmp_path / "en.npy", unusable)
        with pytest.raises(InputError, match=message):
            mine_files(encoder, *files, out, target_vectors=tmp_path / "en.npy")
        assert encoder.sizes == []
    np.save(tmp_path / "en.npy", np.ones((120, 8)))
    with pytest.raises(InputError, match="dimension 16"):
        mine_files(encoder, *files, out, target_vectors=tmp_path / "en.npy")
    assert encoder.sizes == [16]  # the dimension of the model is known after its first chunk


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_the_row_and_line_of_a_given_vector_that_is_not_finite_are_named(tmp_path, out, small_blocks, value):
    (tmp_path / "in.de").write_text("\n".join(["de 1", "de 1", "", *(f"de {i}" for i in range(2, 60))]))
    vectors = np.ones((61, 4))
    vectors[50] = value
    np.save(tmp_path / "de.npy", vectors)
    with pytest.raises(InputError, match=r"de.npy: .* must be finite, but row 50 \(from 0; line 51 of .*in.de\) holds"):
        mine_files(Topics(), tmp_path / "in.de", tmp_path / "in.de", out, source_vectors=tmp_path / "de.npy")
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("shape", [b"(120,16", b"(60,-8)", b"(10**9, 10**9)", b"(120, 10**30)"])
def test_a_damaged_header_of_given_vectors_is_one_line_and_leaves_nothing(files, out, tmp_path, shape):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': " + shape + b", }"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "en.npy").write_bytes(start + header + bytes(120 * 16 * 8))
    with pytest.raises(InputError, match=r"en.npy: not a readable .npy array \(") as caught:
        mine_files(Topics(), *files, out, target_vectors=tmp_path / "en.npy")
    assert "\n" not in str(caught.value)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_vectors_given_for_a_text_without_sentences_must_fit_its_lines_too(files, out, tmp_path, content):
    (tmp_path / "blank").write_text(content)
    lines, given = content.count("\n"), tmp_path / "blank.npy"
    for unusable, message in [
        (np.ones((7, 4)), rf"blank.npy has shape \(7, 4\), but .*blank has {lines} lines"),
        (np.ones(lines), rf"blank has {lines} lines; give one row a line"),
        (np.full((lines, 4), "x"), "blank.npy must hold real numbers, not <U1"),
    ]:
        np.save(given, unusable)
        with pytest.raises(InputError, match=message):
            mine_files(Topics(), tmp_path / "blank", files[1], out, source_vectors=given)
        assert list(out.parent.iterdir()) == []
    np.save(given, np.ones((lines, 4)))
    assert mine_files(Topics(), tmp_path / "blank", files[1], out, source_vectors=given).pairs == 0


@pytest.mark.parametrize("strategy", ["max", "fwd"])
def test_a_threshold_of_minus_infinity_means_everything_and_the_report_is_json(files, out, strategy):
    def refuse(constant):
        raise AssertionError(constant)

    report = mine_files(Topics(), *files, out, strategy=strategy, threshold=-np.inf)
    assert (report.pairs, report.below_threshold, report.threshold) == (90, 0, None)
    saved = json.loads(out.with_name("pairs.tsv.json").read_text(), parse_constant=refuse)
    assert saved["threshold"] is None


def test_numbers_of_numpy_are_taken_as_numbers(files, out):
    report = mine_files(Topics(), *files, out, k=np.int64(3), threshold=np.float32(1.5))
    assert (report.k, report.threshold) == (3, 1.5)


def test_a_model_that_is_not_needed_is_said_to_be_unused(files, out, tmp_path, caplog):
    for file, count in zip(files, (93, 120), strict=True):
        np.save(tmp_path / f"{file.name}.npy", np.random.default_rng(count).standard_normal((count, 4)))
    vectors = {f"{side}_vectors": tmp_path / f"in.{name}.npy" for side, name in (("source", "de"), ("target", "en"))}
    mine_files(None, *files, out, **vectors)
    assert "not used" not in caplog.text
    assert mine_files(Topics(), *files, out, **vectors).model is None
    assert "the model is not used: the vectors of both sides are given" in caplog.text


def test_k_beyond_the_sentences_takes_all_of_them_and_the_report_says_how_many(files, out):
    report = mine_files(Topics(), *files, out, k=10**9)
    assert (report.k, report.k_used) == (10**9, (120, 90))
    assert json.loads((out.parent / "pairs.tsv.json").read_text())["k_used"] == [120, 90]
    assert_same(rows_of(out), expected_rows(files, k=10**9))
    assert mine_files(Topics(), *files, out, k=3).k_used == (3, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": "ration"}, "unknown margin 'ration'; did you mean 'ratio'"),
        ({"strategy": "forward"}, "unknown strategy 'forward'; did you mean 'fwd'"),
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"k": 2.0}, "k must be a whole number, not 2.0"),
        ({"threshold": float("nan")}, "threshold must be a number"),
        ({"threshold": float("inf")}, "threshold must be a number, or -inf for no limit, not inf"),
        ({"threshold": "high"}, "threshold must be a number, not 'high'"),
        ({"memory": 50_000}, r"memory 50K is too little: 210 sentences need [0-9.]+K"),
        ({"device": "gpu"}, "device 'gpu' is not known"),
    ],
)
def test_unusable_options_are_refused(files, out, options, message):
    with pytest.raises(InputError, match=message):
        mine_files(Topics(), *files, out, **options)
    assert not out.exists()


def test_unusable_places_are_refused(files, out, tmp_path):
    source, target = files
    (tmp_path / "folder").mkdir()
    for arguments, message in [
        ((tmp_path / "none", target, out), "no such file"),
        ((source, tmp_path / "folder", out), "not a file"),
        ((source, target, tmp_path / "no" / "out.tsv"), "does not exist"),
        ((source, target, tmp_path / "folder"), "is not a file"),
        ((source, target, target), "would be overwritten"),
    ]:
        with pytest.raises(InputError, match=message):
            mine_files(Topics(), *arguments)
    (tmp_path / "x.tsv.json").write_bytes(source.read_bytes())
    with pytest.raises(InputError, match="would be overwritten"):
        mine_files(Topics(), tmp_path / "x.tsv.json", target, tmp_path / "x.tsv")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "output '' is not a file; name a .tsv file"),
        (".", "output '.' is not a file"),
        ("..", "output '..' is not a file"),
        ("/", "output '/' is not a file"),
        ("a\0b", "is not a file"),
        ("x" * 300 + ".tsv", "cannot be used .File name too long"),
        ("x" * 250, "cannot be used .File name too long"),  # the folder for unfinished work has a longer one
    ],
)
def test_outputs_that_cannot_be_a_file_are_refused_before_any_work(files, tmp_path, monkeypatch, output, message):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    encoder = Topics()
    with pytest.raises(InputError, match=message) as caught:
        mine_files(encoder, *files, output)
    assert "\n" not in str(caught.value)
    assert (encoder.sizes, list((tmp_path / "here").iterdir())) == ([], [])


def test_a_folder_that_is_not_writable_is_refused_before_any_work(files, out, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: not (place == out.parent and mode & os.W_OK))
    encoder = Topics()
    with pytest.raises(InputError, match=r"pairs.tsv: folder .*out is not writable"):
        mine_files(encoder, *files, out)
    assert encoder.sizes == []


def test_a_work_folder_that_is_a_link_is_refused(files, out, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (out.parent / ".pairs.tsv.work").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"pairs.tsv.work is in the way"):
        mine_files(Topics(), *files, out)


def test_a_line_that_is_not_utf8_is_named_and_the_mended_file_is_mined(files, out):
    good = files[0].read_bytes()
    files[0].write_bytes(good + b"\n\xff\n")
    with pytest.raises(InputError, match=r"in.de, line 94: not UTF-8"):
        mine_files(Topics(), *files, out)
    assert list(out.parent.iterdir()) == []
    files[0].write_bytes(good)
    assert mine_files(Topics(), *files, out).pairs > 0


def test_too_little_memory_is_said_before_the_embedding_and_costs_no_work(files, out):
    encoder = Topics()
    with pytest.raises(InputError, match="is too little"):
        mine_files(encoder, *files, out, memory=80_000)
    assert encoder.sizes == []
    mine_files(encoder, *files, out, memory=10_000_000)
    assert_same(rows_of(out), expected_rows(files))


@pytest.mark.data
def test_shuffled_translations_of_real_text_are_found_exactly_and_approximately(data_folder, tmp_path, out):
    texts = {
        code: (data_folder / "eval" / "flores" / "devtest" / f"{code}.devtest").read_text(encoding="utf-8").splitlines()
        for code in ("deu_Latn", "eng_Latn")
    }
    generator = np.random.default_rng(0)
    numbers = {line.strip(): number for lines in texts.values() for number, line in enumerate(lines)}

    class Translator(Topics):
        def _vector(self, sentence):
            return super()._vector(f"{sentence[:5].replace(' ', '_')} {numbers[sentence]}")

    for code, lines in texts.items():
        shuffled = [lines[i] for i in generator.permutation(len(lines))]
        (tmp_path / code).write_text("\n".join([*shuffled, *shuffled[:50]]), encoding="utf-8")
    files = tmp_path / "deu_Latn", tmp_path / "eng_Latn"
    written = {}
    for approximate in (False, True):
        report = mine_files(Translator(dimension=64), *files, out, approximate=approximate)
        assert (report.source.lines.duplicates, report.source.lines.sentences) == (50, len(texts["deu_Latn"]))
        written[approximate] = {row[1:] for row in rows_of(out)}
    right = {(a.strip(), b.strip()) for a, b in zip(texts["deu_Latn"], texts["eng_Latn"], strict=True)}
    assert len(written[False] & right) > 0.99 * len(right)
    assert len(written[False] & written[True]) > 0.95 * len(right)
