"""Retrieval on line-aligned files: what is read, what counts as a key, what is right, and what is refused."""

from __future__ import annotations

import gzip
import json
import lzma

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.errors import InputError
from ems.eval.benchmarks.line_retrieval import distinct_keys, evaluate_line_retrieval, retrieve
from ems.eval.intervals import intervals
from ems.eval.line_files import find_folder, find_sets, looks_swapped
from ems.eval.parallel_text import read_lines
from ems.mining import unit_rows
from tests.eval.noisy_encoder import NoisyEncoder

PACKERS = {"": lambda data: data, ".gz": gzip.compress, ".xz": lzma.compress}


def write_set(folder, name="news.de-en", n=30, distractors=20, packing=""):
    folder.mkdir(parents=True, exist_ok=True)
    for code in name.rpartition(".")[2].split("-"):
        for kind, numbers in (("", range(n)), (".distractors", range(n, n + distractors))):
            text = "".join(f"{code} {number}\n" for number in numbers)
            if text:
                (folder / f"{name}{kind}.{code}{packing}").write_bytes(PACKERS[packing](text.encode()))


def write_lines(folder, **lines):
    """Files of the set a.de-en by ending: de=[...], en=[...], more_de=[...], more_en=[...]."""
    folder.mkdir(parents=True, exist_ok=True)
    for ending, texts in lines.items():
        kind = ".distractors" if ending.startswith("more_") else ""
        path = folder / f"a.de-en{kind}.{ending.removeprefix('more_')}"
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


# Reading


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_sets_are_found_plain_or_packed(tmp_path, packing):
    write_set(tmp_path / "retrieval", packing=packing)
    write_set(tmp_path / "retrieval", "my.own-text.zho_Hans-eng", distractors=0)
    (tmp_path / "retrieval" / "README.md").write_text("about")
    assert find_folder(tmp_path) == tmp_path / "retrieval"
    first, second = find_sets(tmp_path / "retrieval")
    assert (first.name, first.languages) == ("my.own-text.zho_Hans-eng", ("zh", "en"))
    assert read_lines(second.files[0, True]) == [f"de {number}" for number in range(30, 50)]
    assert (second.name, sorted(second.files)) == ("news.de-en", [(0, False), (0, True), (1, False), (1, True)])


def test_a_folder_without_sets_is_none(tmp_path):
    write_set(tmp_path)  # beside, not in retrieval/
    (tmp_path / "retrieval").mkdir()
    assert find_folder(tmp_path) is None
    with pytest.raises(InputError, match=r"no test sets in retrieval/ \(NAME\.de-en\.de and NAME\.de-en\.en\)"):
        evaluate_line_retrieval(NoisyEncoder(), tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b.de-xx.de", r"b\.de-xx\.de: unknown language 'xx'; nearest:"),
        ("b.de-en.fr", r"b\.de-en\.fr: it should end in \.de or \.en, not \.fr"),
        ("b.de-deu.de", "'de' and 'deu' are one language"),
        ("news.de-en.de.gz", r"news\.de-en\.de\.gz and .*news\.de-en\.de are the same part of one test set; keep one"),
    ],
)
def test_a_file_with_a_wrong_name_is_named(tmp_path, name, message):
    write_set(tmp_path / "retrieval")
    (tmp_path / "retrieval" / name).write_bytes(gzip.compress(b"a\n"))
    encoder = NoisyEncoder()
    with pytest.raises(InputError, match=message):
        evaluate_line_retrieval(encoder, tmp_path)
    assert encoder.seen == []


def test_sides_in_each_other_s_script_are_refused(tmp_path):
    russian, english = ["Привет 1", "Как дела 2"], ["Hello 1", "How are you 2"]
    assert looks_swapped(english, russian, ("ru", "en"))
    assert not looks_swapped(russian, english, ("ru", "en"))
    assert not looks_swapped(english, english, ("ru", "en"))  # one side wrong is another matter
    assert not looks_swapped(english, english, ("de", "en"))
    assert not looks_swapped(["日本語です"], ["中文"], ("zh", "ja"))  # both have Chinese characters
    folder = tmp_path / "retrieval"
    folder.mkdir()
    (folder / "a.ru-en.ru").write_text("\n".join(english))
    (folder / "a.ru-en.en").write_text("\n".join(russian))
    with pytest.raises(InputError, match=r"a\.ru-en\.ru looks like 'en' and .*a\.ru-en\.en like 'ru'"):
        evaluate_line_retrieval(NoisyEncoder(), tmp_path)


def test_unequal_lengths_are_refused(tmp_path):
    write_lines(tmp_path / "retrieval", de=["a 1", "b 2"], en=["a 1"])
    with pytest.raises(InputError, match=r"a\.de-en\.de has 2 lines, but .*a\.de-en\.en has 1"):
        evaluate_line_retrieval(NoisyEncoder(), tmp_path)


# Keys


def test_keys_are_distinct_after_stripping_by_hand():
    side = distinct_keys(["a", "b ", "a ", "", "b"], [" b", "c", "d", "c ", " ", "d"])
    assert side.texts == ["a", "b ", "a", "", "b ", "c", "d"]
    assert (side.keys, side.repeated_lines, side.equal_to_line, side.repeated_distractors) == (5, 2, 2, 2)


short = st.text("ab ", max_size=3)


@settings(deadline=None)
@given(st.lists(short, min_size=1, max_size=8), st.lists(short, max_size=8))
def test_keys_are_the_distinct_stripped_lines_and_all_are_accounted_for(lines, distractors):
    side = distinct_keys(lines, distractors)
    assert len(set(side.texts)) == side.keys == len({text.strip() for text in lines + distractors})
    assert [text.strip() for text in side.texts[: len(lines)]] == [line.strip() for line in lines]
    assert set(side.texts) <= set(lines + distractors)
    left_out = side.repeated_lines + side.equal_to_line + side.repeated_distractors
    assert side.keys + left_out == len(lines) + len(distractors)


def test_retrieve_takes_the_first_of_equal_keys():
    keys = np.eye(3)[[2, 0, 0, 1]]
    assert retrieve(unit_rows(np.eye(3)), unit_rows(keys)).tolist() == [1, 3, 0]


# Scores


def slow_accuracy(queries, keys, n):
    """Which of the first n rows have their own row as the nearest, in float64."""
    queries, keys = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, keys))
    return (queries[:n] @ keys.T).argmax(axis=1) == np.arange(n)


def test_accuracy_is_that_of_the_nearest_among_lines_and_distractors(tmp_path):
    write_set(tmp_path / "retrieval", n=30, distractors=200)
    (record,) = evaluate_line_retrieval(NoisyEncoder(), tmp_path)
    german, english = (NoisyEncoder().encode([f"{code} {i}" for i in range(230)]) for code in ("de", "en"))
    there, back = slow_accuracy(german, english, 30), slow_accuracy(english, german, 30)
    row = record["scores"]["news.de-en"]
    assert row == {"n": 30, "src->tgt": there.mean(), "tgt->src": back.mean(), "mean": (there.mean() + back.mean()) / 2}
    assert 0.1 < row["mean"] < 0.9
    outcomes = record["outcomes"]["news.de-en"]
    assert outcomes["src->tgt"] == {"score": "".join(str(int(right)) for right in there), "of": 1}
    assert outcomes["mean"]["score"] == "".join(str(int(a) + int(b)) for a, b in zip(there, back, strict=True))
    low, high = intervals(record).scores["news.de-en"]["mean"]
    assert low < row["mean"] < high
    assert record["keys"]["news.de-en"]["tgt"]["keys"] == 230
    assert json.loads(json.dumps(record)) == record
    assert (record["n"], record["k"], record["columns"]) == (30, 1, ["src->tgt", "tgt->src", "mean"])
    assert record["means"]["all"]["mean"] == row["mean"]


def test_distractors_make_it_harder_and_are_used_on_their_own_side(tmp_path):
    write_set(tmp_path / "retrieval", n=30, distractors=300)
    with_all = evaluate_line_retrieval(NoisyEncoder(), tmp_path)[0]
    (tmp_path / "retrieval" / "news.de-en.distractors.de").unlink()
    english_only = evaluate_line_retrieval(NoisyEncoder(), tmp_path)[0]
    (tmp_path / "retrieval" / "news.de-en.distractors.en").unlink()
    without = evaluate_line_retrieval(NoisyEncoder(), tmp_path)[0]
    all_row, row, easy_row = (record["scores"]["news.de-en"] for record in (with_all, english_only, without))
    assert row["src->tgt"] == all_row["src->tgt"] < easy_row["src->tgt"]
    assert row["tgt->src"] == easy_row["tgt->src"] > all_row["tgt->src"]
    assert len({record["data_digest"] for record in (with_all, english_only, without)}) == 3


def test_a_query_whose_translation_is_repeated_is_right_with_either(tmp_path):
    # "guten Tag" and "hallo" both mean "hello": one key, right for both. "hello" as a query finds one German line.
    write_lines(
        tmp_path / "retrieval",
        de=["hallo 1", "guten Tag 1", "nein 2"],
        en=["hello 1", "hello 1 ", "no 2"],
        more_en=[" hello 1", "no  2", "maybe 3"],
    )
    (record,) = evaluate_line_retrieval(NoisyEncoder(0.1), tmp_path)
    row = record["scores"]["a.de-en"]
    assert row["src->tgt"] == 1
    assert row["tgt->src"] == pytest.approx(2 / 3)  # both "hello" find the same German line
    assert record["keys"]["a.de-en"]["tgt"] == {
        "keys": 4,
        "repeated_lines": 1,
        "distractors_equal_to_a_line": 1,
        "repeated_distractors": 0,
    }
    assert record["keys"]["a.de-en"]["src"]["keys"] == 3


def test_each_distinct_key_is_encoded_once(tmp_path):
    write_lines(tmp_path / "retrieval", de=["a 1", "a 1", "b 2"], en=["c 1", "d 2", "e 3"], more_de=["b 2", "f 4"])
    encoder = NoisyEncoder()
    evaluate_line_retrieval(encoder, tmp_path)
    assert encoder.seen == [["a 1", "b 2", "f 4"], ["c 1", "d 2", "e 3"]]


def test_evidence_shows_what_was_found_instead(tmp_path):
    write_lines(tmp_path / "retrieval", de=["de 1", "de 2"], en=["en 1", "en 9"], more_en=["en 7", "better 2"])
    (record,) = evaluate_line_retrieval(NoisyEncoder(0.01), tmp_path)
    (confusion,) = record["confusions"]
    assert (confusion["query"], confusion["expected"], confusion["found"]) == ("de 2", "en 9", "better 2")
    assert confusion["cosine_found"] > 0.9 > confusion["cosine_expected"]
    assert sum(record["cosines"]["translations"]) == 2


# Which sets


def test_a_set_that_lacks_a_side_is_skipped_or_refused(tmp_path):
    write_set(tmp_path / "retrieval")
    write_set(tmp_path / "retrieval", "news.fr-en")
    (tmp_path / "retrieval" / "news.fr-en.fr").unlink()
    (record,) = evaluate_line_retrieval(NoisyEncoder(), tmp_path)
    assert record["skipped"] == [{"language": "news.fr-en", "reason": "news.fr-en.fr is missing"}]
    assert (record["means"]["all"]["languages"], record["means"]["all"]["of"]) == (1, 2)
    with pytest.raises(InputError, match=r"news\.fr-en\.fr is missing"):
        evaluate_line_retrieval(NoisyEncoder(), tmp_path, strict=True)
    (tmp_path / "retrieval" / "news.de-en.en").unlink()
    with pytest.raises(InputError, match=r"no language to score: news\.de-en \(news\.de-en\.en is missing\)"):
        evaluate_line_retrieval(NoisyEncoder(), tmp_path)


def test_languages_choose_sets(tmp_path):
    for name in ("news.de-en", "talks.de-fr", "talks.zh-en"):
        write_set(tmp_path / "retrieval", name)
    german = evaluate_line_retrieval(NoisyEncoder(), tmp_path, languages=["deu", "fi"])[0]
    assert (list(german["scores"]), german["language_set"]) == (["news.de-en"], "chosen")
    assert german["skipped"] == [{"language": "fi", "reason": "no test set"}]
    both = evaluate_line_retrieval(NoisyEncoder(), tmp_path, languages=["de", "fr"])[0]
    assert list(both["scores"]) == ["news.de-en", "talks.de-fr"]
    with pytest.raises(InputError, match="unknown language 'xx'"):
        evaluate_line_retrieval(NoisyEncoder(), tmp_path, languages=["xx"])
    with pytest.raises(InputError, match="fi: no test set"):
        evaluate_line_retrieval(NoisyEncoder(), tmp_path, languages=["fi"], strict=True)
