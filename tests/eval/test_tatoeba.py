"""Tatoeba: file names, language sets, directions, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from ems.errors import InputError
from ems.eval.benchmarks.tatoeba import (
    EMS58,
    FILE_CODES,
    LANGUAGE_SETS,
    XTREME36,
    evaluate_tatoeba,
    read_language,
)
from ems.eval.parallel_text import digest_lines
from ems.languages import LANGUAGES


class MeaningEncoder:
    """The number in a sentence is its meaning; "?" in it makes it mean the next one. Counts what it encodes."""

    def __init__(self, dimension=8):
        self.dimension = dimension
        self.calls = []

    def encode(self, sentences):
        self.calls.append(list(sentences))
        vectors = np.zeros((len(sentences), self.dimension))
        for row, sentence in enumerate(sentences):
            digits = "".join(c for c in sentence if c.isdigit())
            if digits:
                vectors[row, (int(digits) + ("?" in sentence)) % self.dimension] = 2.0
        return vectors


def write_language(folder, code, foreign, english, end="\n"):
    folder.mkdir(parents=True, exist_ok=True)
    for side, lines in ((code, foreign), ("eng", english)):
        text = "".join(line + end for line in lines)
        (folder / f"tatoeba.{code}-eng.{side}").write_bytes(text.encode())


def write_good(folder, *codes, n=4):
    for code in codes:
        write_language(folder, code, [f"{code} {i}" for i in range(n)], [f"eng {i}" for i in range(n)])


def test_both_directions_are_scored_and_averaged(tmp_path):
    # "deu 0" means 1, so queries 0 and 1 both find English 1; asked from English, 0 finds nothing near (every cosine
    # is 0, the lowest row wins: right by the rule of ties) and 1 finds the lowest of two equals, row 0.
    write_language(tmp_path, "deu", ["deu 0?", "deu 1", "deu 2", "deu 3"], [f"eng {i}" for i in range(4)])
    write_good(tmp_path, "fra")
    record = evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de", "fr"])
    german = record["scores"]["de"]
    assert (german["n"], german["x->en"], german["en->x"], german["mean"]) == (4, 0.75, 0.75, 0.75)
    assert german["mteb_f1"] == pytest.approx((2 / 3 + 1 + 1) / 4)
    assert record["scores"]["fr"] == {"n": 4, "x->en": 1, "en->x": 1, "mean": 1, "mteb_f1": 1}
    assert record["means"]["chosen"]["mean"] == 0.875
    assert record["means"]["chosen"] == record["means"]["chosen"] | {"languages": 2, "of": 2, "x->en": 0.875}


def test_directions_are_not_confused(tmp_path):
    # Row 0 finds English 1, and row 1 nothing, so row 0; English 0 finds nothing, so row 0, and English 1 finds row 0.
    write_language(tmp_path, "deu", ["deu 1", "deu 5"], ["eng 0", "eng 1"])
    scores = evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de"])["scores"]["de"]
    assert (scores["x->en"], scores["en->x"], scores["mean"]) == (0.0, 0.5, 0.25)


def test_the_record_names_its_protocol(tmp_path):
    write_good(tmp_path, "deu")
    record = evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de"])
    assert (record["task"], record["split"], record["direction"], record["averaging"]) == (
        "tatoeba",
        "test",
        "both",
        "macro",
    )
    assert (record["margin"], record["k"], record["n"], record["language_set"]) == (None, 1, 4, "chosen")
    assert "nearest neighbour by cosine" in record["protocol"]
    assert len(record["data_digest"]) == 16


def test_margin_is_an_option_and_has_no_mteb_f1(tmp_path):
    write_good(tmp_path, "deu")
    record = evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de"], margin="ratio")
    assert (record["margin"], record["k"], record["columns"]) == ("ratio", 4, ["x->en", "en->x", "mean"])
    assert record["scores"]["de"]["mean"] == 1
    assert "ratio margin among k = 4" in record["protocol"]


@pytest.mark.parametrize("layout", ["", "tatoeba", "tatoeba/v1"])
def test_released_layouts_are_found(tmp_path, layout):
    write_good(tmp_path / layout, "deu")
    assert evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de"])["scores"]["de"]["mean"] == 1


def test_line_ends_and_a_missing_last_newline_make_no_difference(tmp_path):
    lines = ["deu 0", "", "deu 2", "   ", "deu\u20284"]
    english = [f"eng {i}" for i in range(5)]
    write_language(tmp_path / "unix", "deu", lines, english)
    write_language(tmp_path / "windows", "deu", lines, english, end="\r\n")
    write_language(tmp_path / "cut", "deu", lines, english)
    for file in (tmp_path / "cut").iterdir():
        file.write_bytes(file.read_bytes().removesuffix(b"\n"))
    records = [
        evaluate_tatoeba(MeaningEncoder(), tmp_path / name, languages=["de"]) for name in ("unix", "windows", "cut")
    ]
    assert records[0] == records[1] == records[2]
    assert read_language(tmp_path / "windows", "deu").foreign == lines  # blank lines, and other separators, stay


def test_blank_lines_are_rows_and_get_zero_vectors(tmp_path):
    write_language(tmp_path, "deu", ["", "deu 1", "deu 2"], ["eng 0", "eng 1", "eng 2"])
    scores = evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de"])["scores"]["de"]
    assert (scores["n"], scores["x->en"]) == (3, 1.0)  # a zero query is equally near to all, and row 0 comes first


def test_unequal_files_are_refused_by_name_and_count(tmp_path):
    write_language(tmp_path, "deu", ["a", "b", "c"], ["a", "b"])
    with pytest.raises(InputError, match=r"tatoeba\.deu-eng\.deu has 3 lines, but .*tatoeba\.deu-eng\.eng has 2"):
        evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de"])


def test_a_missing_language_is_skipped_and_listed_or_refused_if_strict(tmp_path):
    write_good(tmp_path, "deu")
    record = evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de", "fr", "gu", "en"])
    assert list(record["scores"]) == ["de"]
    assert record["means"]["chosen"]["languages"] == 1
    assert record["means"]["chosen"]["of"] == 2
    assert record["skipped"] == [
        {"language": "gu", "reason": "not in Tatoeba"},
        {"language": "fr", "reason": "tatoeba.fra-eng.fra or its .eng is missing"},
    ]
    with pytest.raises(InputError, match=r"tatoeba\.fra-eng\.fra or its \.eng is missing"):
        evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de", "fr"], strict=True)
    assert evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["de", "gu"], strict=True)["scores"]


def test_files_swapped_between_languages_are_refused_before_anything_is_encoded(tmp_path):
    russian = ["Сколько времени?", "Доброе утро!", "Я не знаю."]
    english = ["What time is it?", "Good morning!", "I do not know."]
    write_good(tmp_path, "deu")
    write_language(tmp_path, "rus", english, russian)
    encoder = MeaningEncoder()
    with pytest.raises(InputError, match=r"tatoeba\.rus-eng\.rus looks like English and the \.eng beside it like 'ru'"):
        evaluate_tatoeba(encoder, tmp_path, languages=["de", "ru"])
    assert encoder.calls == []
    write_language(tmp_path, "rus", russian, english)
    assert evaluate_tatoeba(encoder, tmp_path, languages=["de", "ru"])["n"] == 7


def test_nothing_to_score_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(InputError, match="no Tatoeba files here"):
        evaluate_tatoeba(MeaningEncoder(), tmp_path)
    write_good(tmp_path, "deu")
    with pytest.raises(InputError, match="did you mean 'laser112'"):
        evaluate_tatoeba(MeaningEncoder(), tmp_path, languages="laser")
    with pytest.raises(InputError, match="unknown language 'xx'"):
        evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["xx"])


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (["gu", "yo"], r"no language to score: gu \(not in Tatoeba\); yo \(not in Tatoeba\)"),
        (["fr"], r"no language to score: fr \(tatoeba\.fra-eng\.fra or its \.eng is missing\)"),
        (["en"], "no language to score: English is the other side"),
        ([], "no language to score"),
    ],
)
def test_a_record_without_any_score_is_refused(tmp_path, languages, message):
    write_good(tmp_path, "deu")
    with pytest.raises(InputError, match=message):
        evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=languages)


@pytest.mark.parametrize("options", [{"margin": "ration"}, {"margin": "ratio", "k": 0}])
def test_an_unknown_margin_or_k_is_refused_before_anything_is_encoded(tmp_path, options):
    write_good(tmp_path, "deu")
    encoder = MeaningEncoder()
    with pytest.raises(ValueError, match=r"did you mean 'ratio'|k must be at least 1"):
        evaluate_tatoeba(encoder, tmp_path, **options)
    assert encoder.calls == []


def test_an_encoder_that_fails_is_named_with_language_side_and_row(tmp_path):
    class NotFinite(MeaningEncoder):
        def encode(self, sentences):
            return np.array([[np.nan if sentence == self.bad else 1.0] for sentence in sentences])

    class Changing(MeaningEncoder):
        def encode(self, sentences):
            self.dimension += 1
            return super().encode(sentences)

    write_good(tmp_path, "deu")
    for bad, place in (("deu 2", "row 2 of deu"), ("eng 3", "row 3 of the English side of deu")):
        encoder = NotFinite()
        encoder.bad = bad
        with pytest.raises(ValueError, match=rf"encoder NotFinite returned nan for {place} \('{bad}'\)"):
            evaluate_tatoeba(encoder, tmp_path, languages=["de"])
    with pytest.raises(
        ValueError, match=r"encoder Changing returned dimension 10 .* of the English side of deu, but 9"
    ):
        evaluate_tatoeba(Changing(), tmp_path, languages=["de"])


def test_languages_are_named_by_their_code_or_by_file_code(tmp_path):
    write_good(tmp_path, "cmn", "nob", "arz", "ara", "yue")
    record = evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=["zh", "no", "arz", "ara", "yue", "zho_Hans"])
    assert list(record["scores"]) == ["zh", "nb", "arz", "ar", "yue"]


def test_a_bad_file_is_found_before_anything_is_encoded(tmp_path):
    write_good(tmp_path, "deu")
    write_language(tmp_path, "fra", ["a"], ["a", "b"])
    encoder = MeaningEncoder()
    with pytest.raises(InputError):
        evaluate_tatoeba(encoder, tmp_path, languages=["de", "fr"])
    assert encoder.calls == []


def test_every_file_is_encoded_once_and_every_sentence_in_it_once(tmp_path):
    write_language(tmp_path, "deu", ["deu 0", "deu 1", "deu 0"], ["eng 0", "eng 1", "eng 2"])
    encoder = MeaningEncoder()
    scores = evaluate_tatoeba(encoder, tmp_path, languages=["de"])["scores"]["de"]
    assert encoder.calls == [["deu 0", "deu 1"], ["eng 0", "eng 1", "eng 2"]]
    assert scores["x->en"] == 2 / 3


def test_complete_sets_are_averaged_beside_the_set_asked_for(tmp_path):
    write_good(tmp_path, *EMS58, n=2)
    record = evaluate_tatoeba(MeaningEncoder(), tmp_path)
    assert record["language_set"] == "ems58"
    assert record["means"]["ems58"]["languages"] == 58
    assert record["means"]["xtreme36"] == {"languages": 36, "of": 36, "en->x": 1.0}  # English asks, as published
    assert "laser112" not in record["means"]
    assert evaluate_tatoeba(MeaningEncoder(), tmp_path, languages=list(XTREME36))["language_set"] == "xtreme36"


def test_language_sets_are_those_of_the_field():
    assert {name: len(members) for name, members in LANGUAGE_SETS.items()} == {
        "ems58": 58,
        "xtreme36": 36,
        "laser112": 112,
    }
    assert set(XTREME36) <= set(EMS58) <= set(FILE_CODES)
    assert len(set(FILE_CODES)) == 112


def test_digest_depends_on_names_and_lines_and_where_they_end():
    same = digest_lines([("a", ["x", "y"])])
    assert same == digest_lines([("a", ["x", "y"])])
    others = [
        [("b", ["x", "y"])],
        [("a", ["xy"])],
        [("a", ["y", "x"])],
        [("a", ["x"]), ("y", [])],
        [("a", ["x", "y", ""])],
    ]
    assert len({same, *(digest_lines(other) for other in others)}) == 6


@pytest.mark.data
def test_the_released_files_are_read_whole(data_folder):
    sets = {code: read_language(data_folder / "eval" / "tatoeba", code) for code in FILE_CODES}
    assert all(aligned is not None for aligned in sets.values())
    assert sum(len(aligned.foreign) < 1000 for aligned in sets.values()) == 40
    assert min(len(aligned.foreign) for aligned in sets.values()) == len(sets["tzl"].foreign) == 104
    published = {"jav": 205, "tel": 234, "tam": 307, "swh": 390, "kur": 410, "mon": 440, "tha": 548, "kaz": 575}
    published |= {"mal": 687, "hye": 742, "kat": 746, "slv": 823}
    assert {code: len(sets[code].foreign) for code in EMS58 if len(sets[code].foreign) < 1000} == published
    assert all(len(set(sets[code].english)) == len(sets[code].english) for code in EMS58)


class LetterPairs:
    """Counts of hashed pairs of neighbouring letters: cheap, and some way above chance for related languages."""

    def encode(self, sentences):
        vectors = np.zeros((len(sentences), 128), dtype=np.float32)
        for row, sentence in enumerate(sentences):
            letters = np.frombuffer(sentence.lower().encode("utf-32-le"), dtype=np.uint32)
            vectors[row] = np.bincount((letters[:-1] * 31 + letters[1:]) % 128, minlength=128)
        return vectors


@pytest.mark.data
def test_an_encoder_that_only_sees_letters_scores_above_chance_on_related_languages(data_folder):
    record = evaluate_tatoeba(LetterPairs(), data_folder / "eval", languages=["nl", "de"])
    assert 0.02 < record["scores"]["nl"]["mean"] < 0.6
    assert record["n"] == 2000


@pytest.mark.slow
@pytest.mark.data
def test_published_sets_are_averaged_over_all_their_languages_in_their_direction(data_folder):
    record = evaluate_tatoeba(LetterPairs(), data_folder / "eval", languages="laser112", strict=True)
    scores = record["scores"]
    assert len(scores) == 112
    assert record["skipped"] == []
    sizes = {"jv": 205, "te": 234, "ta": 307, "sw": 390, "ku": 410, "mn": 440, "th": 548, "kk": 575, "ml": 687}
    sizes |= {"hy": 742, "ka": 746, "sl": 823, "de": 1000, "tzl": 104}
    assert {language: scores[language]["n"] for language in sizes} == sizes
    assert sum(row["n"] for row in scores.values()) == record["n"]
    assert sum(row["n"] < 1000 for row in scores.values()) == 40
    assert {name: mean["languages"] for name, mean in record["means"].items()} == {
        "laser112": 112,
        "ems58": 58,
        "xtreme36": 36,
    }
    # Accuracy of LASER's table: both directions and their mean. XTREME's asks in English only.
    for column in ("x->en", "en->x", "mean", "mteb_f1"):
        expected = np.mean([row[column] for row in scores.values()])
        assert record["means"]["laser112"][column] == pytest.approx(expected, abs=1e-12)
    names = {LANGUAGES[language].tatoeba: language for language in LANGUAGES}
    expected = np.mean([scores[names[code]]["en->x"] for code in XTREME36])
    assert record["means"]["xtreme36"] == {"languages": 36, "of": 36, "en->x": pytest.approx(expected, abs=1e-12)}
    assert record["means"]["xtreme36"]["en->x"] != pytest.approx(
        np.mean([scores[names[code]]["x->en"] for code in XTREME36])
    )
