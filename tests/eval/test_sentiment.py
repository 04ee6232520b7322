"""AfriSenti, NusaX and XED: what of their files is missing, refused or counted, and what is trained on what."""

from __future__ import annotations

import pytest

from ems.errors import InputError
from ems.eval.benchmarks import afrisenti, nusax, xed
from ems.eval.benchmarks.afrisenti import evaluate_afrisenti
from ems.eval.benchmarks.labelled_text import read_polarities
from ems.eval.benchmarks.nusax import evaluate_nusax
from ems.eval.benchmarks.xed import evaluate_xed, read_language
from ems.eval.record import outcome_arrays
from tests.eval.labelled_files import SentimentEncoder, tweets, write, write_afrisenti, write_nusax, write_xed

# AfriSenti.


def test_afrisenti_trains_each_language_on_its_own_split(tmp_path):
    write_afrisenti(tmp_path / "afrisenti", sw=3)
    encoder = SentimentEncoder()
    (record,) = evaluate_afrisenti(encoder, tmp_path)
    assert {language: row["accuracy"] for language, row in record["scores"].items()} == {"pt": 1, "sw": 0.75, "yo": 1}
    assert record["outcomes"]["sw"]["accuracy"] == {"score": "000111111111", "of": 1}
    assert record["means"] == {
        "afrisenti3": {
            "languages": 3,
            "of": 3,
            "macro_f1": pytest.approx((2 + record["scores"]["sw"]["macro_f1"]) / 3),
            "accuracy": pytest.approx(2.75 / 3),
        }
    }
    assert (record["task"], record["direction"], record["n"]) == ("afrisenti", "own language", 36)
    assert set(record["selected"]) == {"pt", "sw", "yo"}
    assert len(encoder.sentences) == 3 * 36


def test_afrisenti_counts_contradictions_and_test_rows_that_were_trained_on(tmp_path):
    write_afrisenti(tmp_path, languages=["sw"])
    rows = [*tweets("sw", "train"), ("so good", "positive"), ("so good", "neutral"), ("sw test 4 dull", "negative")]
    write(tmp_path / "sw.train.tsv", "tweet\tlabel\n" + "".join(f"{a}\t{b}\n" for a, b in rows), packed=True)
    (record,) = evaluate_afrisenti(SentimentEncoder(), tmp_path)
    assert record["repeats"] == {"sw": {"contradictory": 1, "test_in_train": 0}}
    rows.append(("sw test 4 bad", "negative"))
    write(tmp_path / "sw.train.tsv", "tweet\tlabel\n" + "".join(f"{a}\t{b}\n" for a, b in rows), packed=True)
    (record,) = evaluate_afrisenti(SentimentEncoder(), tmp_path)
    assert record["repeats"] == {"sw": {"contradictory": 1, "test_in_train": 1}}


def test_a_missing_split_skips_its_language_or_is_refused_if_strict(tmp_path):
    write_afrisenti(tmp_path)
    (tmp_path / "yo.dev.tsv.gz").unlink()
    (record,) = evaluate_afrisenti(SentimentEncoder(), tmp_path)
    assert record["skipped"] == [{"language": "yo", "reason": "yo.dev.tsv is missing"}]
    assert (record["means"]["afrisenti3"]["languages"], record["means"]["afrisenti3"]["of"]) == (2, 3)
    with pytest.raises(InputError, match=r"yo\.dev\.tsv: no such file"):
        evaluate_afrisenti(SentimentEncoder(), tmp_path, strict=True)


def test_languages_that_a_set_does_not_have_are_skipped_even_if_strict(tmp_path):
    write_afrisenti(tmp_path, languages=["sw", "twi"])
    (record,) = evaluate_afrisenti(SentimentEncoder(), tmp_path, languages=["swh", "de", "twi"], strict=True)
    assert list(record["scores"]) == ["sw", "twi"]
    assert record["language_set"] == "chosen"
    assert record["skipped"] == [{"language": "de", "reason": "not in AfriSenti"}]
    with pytest.raises(InputError, match="unknown language 'xx'"):
        evaluate_afrisenti(SentimentEncoder(), tmp_path, languages=["xx"])


def test_bad_files_are_found_before_anything_is_encoded(tmp_path):
    write_afrisenti(tmp_path)
    write(tmp_path / "yo.test.tsv", "tweet\tlabel\nx\tpos\n", packed=True)
    encoder = SentimentEncoder()
    with pytest.raises(InputError, match=r"yo\.test\.tsv\.gz, line 2: unknown label 'pos'"):
        evaluate_afrisenti(encoder, tmp_path)
    assert encoder.sentences == []


def test_a_training_split_of_one_class_is_refused_by_name(tmp_path):
    write_afrisenti(tmp_path)
    write(tmp_path / "sw.train.tsv", "tweet\tlabel\nx\tpositive\n", packed=True)
    with pytest.raises(InputError, match=r"sw\.train\.tsv\.gz: less than two classes to train on, in 1 rows"):
        evaluate_afrisenti(SentimentEncoder(), tmp_path)


# NusaX.


@pytest.mark.parametrize("layout", ["nusax", ""])
def test_nusax_trains_on_english_only_and_leaves_english_out_of_the_mean(tmp_path, layout):
    write_nusax(tmp_path / layout, en=6, id=3)
    encoder = SentimentEncoder()
    (record,) = evaluate_nusax(encoder, tmp_path)
    accuracies = {language: row["accuracy"] for language, row in record["scores"].items()}
    assert accuracies == {"en": 0.5, "id": 0.75, "jv": 1}
    assert record["means"]["nusax2"]["accuracy"] == pytest.approx(0.875)
    assert record["members"] == {"nusax2": ["id", "jv"]}
    assert record["direction"] == "en->x"
    assert record["parallel_rows"] is False  # the labels of English and Indonesian differ
    assert not any(text.startswith(("id train", "jv train", "id valid")) for text in encoder.sentences)
    for language, row in record["scores"].items():
        score, of = outcome_arrays(record["outcomes"][language]["accuracy"])
        assert row["accuracy"] == score.sum() / of.sum()


def test_nusax_as_its_authors_released_it_is_found_by_english_names(tmp_path):
    folder = tmp_path / "nusax" / "datasets" / "sentiment"
    write_nusax(tmp_path / "flat", packed=False)
    for language, name in (("en", "english"), ("id", "indonesian"), ("jv", "javanese")):
        for split in ("train", "valid", "test"):
            write(folder / name / f"{split}.csv", (tmp_path / "flat" / f"{language}.{split}.csv").read_text())
    (record,) = evaluate_nusax(SentimentEncoder(), tmp_path)
    assert record["means"]["nusax2"]["accuracy"] == 1
    assert record["parallel_rows"] is True


def test_nusax_needs_its_english_training_files(tmp_path):
    write_nusax(tmp_path)
    (tmp_path / "en.train.csv.gz").unlink()
    with pytest.raises(InputError, match=r"en\.train\.csv: no such file"):
        evaluate_nusax(SentimentEncoder(), tmp_path)


def test_nusax_without_an_english_test_file_still_scores_the_others(tmp_path):
    write_nusax(tmp_path)
    (tmp_path / "en.test.csv.gz").unlink()
    (record,) = evaluate_nusax(SentimentEncoder(), tmp_path)
    assert list(record["scores"]) == ["id", "jv"]
    assert record["skipped"] == [{"language": "en", "reason": "en.test.csv is missing"}]
    with pytest.raises(InputError, match=r"en\.test\.csv: no such file"):
        evaluate_nusax(SentimentEncoder(), tmp_path, strict=True)


@pytest.mark.parametrize(
    ("write_set", "evaluate", "name"), [(write_nusax, evaluate_nusax, "NusaX"), (write_xed, evaluate_xed, "XED")]
)
def test_languages_of_which_none_can_be_scored_are_refused(tmp_path, write_set, evaluate, name):
    write_set(tmp_path)
    encoder = SentimentEncoder()
    with pytest.raises(InputError, match=rf"no language to score: ja \(not in {name}\)"):
        evaluate(encoder, tmp_path, languages=["ja"])
    with pytest.raises(InputError, match="no language to score: English is the other side"):
        evaluate(encoder, tmp_path, languages=["en"])
    assert encoder.sentences == []


# All of them.


@pytest.mark.parametrize(
    ("evaluate", "find", "name"),
    [
        (evaluate_afrisenti, afrisenti.find_folder, "AfriSenti"),
        (evaluate_nusax, nusax.find_folder, "NusaX"),
        (evaluate_xed, xed.find_folder, "XED"),
    ],
)
def test_an_empty_folder_is_refused_with_what_was_looked_for(tmp_path, evaluate, find, name):
    assert find(tmp_path) is None
    with pytest.raises(InputError, match=f"no {name} files here or in {name.lower()}/"):
        evaluate(SentimentEncoder(), tmp_path)


def test_the_digest_covers_labels(tmp_path):
    write_afrisenti(tmp_path / "a")
    write_afrisenti(tmp_path / "b", sw=1)
    first, second, again = (
        evaluate_afrisenti(SentimentEncoder(), tmp_path / name)[0]["data_digest"] for name in ("a", "b", "a")
    )
    assert first == again != second


@pytest.mark.data
@pytest.mark.slow
def test_the_released_open_sets_are_read_whole(data_folder):
    for language, sizes in {"pt": (3063, 767, 3662), "sw": (1810, 453, 748), "yo": (8522, 2090, 4515)}.items():
        paths = [
            data_folder / "eval" / "afrisenti" / f"{language}.{split}.tsv.gz" for split in ("train", "dev", "test")
        ]
        assert tuple(len(read_polarities(path, "\t", "tweet").texts) for path in paths) == sizes
    (record,) = evaluate_nusax(SentimentEncoder(), data_folder / "eval", strict=True)
    assert {language: row["n"] for language, row in record["scores"].items()} == {"en": 400, "id": 400, "jv": 400}
    assert record["parallel_rows"] is True
    folder = data_folder / "eval" / "xed"
    expected = {
        "annotated.en": (13518, {"both": 445, "neither": 3563, "repeated": 2}),
        "projected.zh": (1052, {"both": 56, "neither": 287}),
        "projected.bg": (5328, {"both": 300, "neither": 1343, "damaged": 4}),
    }
    for name, (kept, dropped) in expected.items():
        examples, counts = read_language(folder / f"{name}.tsv.gz")
        assert (len(examples.texts), counts) == (kept, dropped)
    assert all(xed.find_file(folder, [f"projected.{language}.tsv"]) for language in xed.PROJECTED)
