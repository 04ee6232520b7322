"""AfriSenti, NusaX and XED: what of their files is read, refused or counted, and what is trained on what."""

from __future__ import annotations

import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.errors import InputError
from ems.eval.benchmarks import afrisenti, nusax, xed
from ems.eval.benchmarks.afrisenti import evaluate_afrisenti
from ems.eval.benchmarks.labelled_text import keyed_fraction, read_polarities, read_table
from ems.eval.benchmarks.nusax import evaluate_nusax
from ems.eval.benchmarks.xed import evaluate_xed, read_language, split_examples
from ems.eval.record import outcome_arrays
from tests.eval.labelled_files import SentimentEncoder, write

WORD_OF = {"positive": ("good", "fine"), "negative": ("bad", "dull"), "neutral": ("so-so", "so-so")}


def tweets(language, split, n=12, wrong=0):
    """Return (text, label) rows, of which the first `wrong` are labelled against their words."""
    rows = []
    for row in range(n):
        label = ("positive", "negative", "neutral")[row % 3]
        said = "neutral" if row < wrong and label != "neutral" else "positive" if row < wrong else label
        rows.append((f"{language} {split} {row} {WORD_OF[label][row % 2]}", said))
    return rows


def write_afrisenti(folder, languages=("sw", "yo", "pt"), packed=True, **wrong):
    for language in languages:
        for split in ("train", "dev", "test"):
            rows = tweets(language, split, wrong=wrong.get(language, 0) if split == "test" else 0)
            text = "tweet\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)
            write(folder / f"{language}.{split}.tsv", text, packed)


def write_nusax(folder, languages=("en", "id", "jv"), packed=True, **wrong):
    for language in languages:
        for split in ("train", "valid", "test"):
            file = io.StringIO()
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("id", "text", "label"))
            rows = tweets(language, split, wrong=wrong.get(language, 0) if split == "test" else 0)
            writer.writerows((row, text, label) for row, (text, label) in enumerate(rows))
            write(folder / f"{language}.{split}.csv", file.getvalue(), packed)


def write_xed(folder, projected=("de", "zh"), n=150, packed=True):
    for language in ("en", "fi", *projected):
        kind = "annotated" if language in ("en", "fi") else "projected"
        lines = []
        for row in range(n):
            positive = row % 2
            word = WORD_OF["positive" if positive else "negative"][row % 4 // 2]
            lines.append(f"{language} {row} {word}\t{('5, 7' if positive else '1, 2, 6')}\n")
        write(folder / f"{kind}.{language}.tsv", "".join(lines), packed)


# Tables.


def test_a_table_gives_the_line_each_row_begins_on(tmp_path):
    write(tmp_path / "t.csv", 'id,text\r\n1,"two\r\nlines, and ""quotes"""\r\n2,one\r\n')
    rows = read_table(tmp_path / "t.csv", ",")
    assert [row.line for row in rows] == [1, 2, 4]
    assert rows[1].cells == ["1", 'two\nlines, and "quotes"']


cells = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.sampled_from([",", "\t"]), st.booleans())
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows, delimiter, packed):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    path = tmp_path_factory.mktemp("table") / "t.csv"
    write(path, "\ufeff" + file.getvalue(), packed)
    found = read_table(path.with_name("t.csv.gz") if packed else path, delimiter)
    assert [tuple(row.cells) for row in found] == rows
    starts = 1 + np.cumsum([0, *(1 + sum(cell.count("\n") for cell in row) for row in rows[:-1])])
    assert [row.line for row in found] == starts.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"tweet\tlabel\nab\xff\tpositive\n", "line 2: not UTF-8"),
        (b"tweet\tlabel\nx\tpositive\tmore\n", "line 2: 3 columns instead of 2"),
        (b"tweet\tlabel\nx\tpositive\n\ny\tpositive\n", "line 3: 0 columns instead of 2"),
        (b"tweet\tlabel\nx\tPostive\n", "line 2: unknown label 'Postive'; did you mean 'positive'"),
        (b"tweet\tlabel\n \tpositive\n", "line 2: the text is blank"),
        (b'tweet\tlabel\n"x\tpositive\ny"\tneutral\n', "line 2: the quotation mark .* is not closed on its line"),
        (b'tweet\tlabel\na\tneutral\n"x\tpositive\n', "line 3: not a row of a table"),
        (b"text\tlabel\nx\tpositive\n", "line 1: no column 'tweet' in the header 'text label'"),
        (b"tweet\tlabel\n", "no rows below the header"),
        (b"", "no rows in it"),
    ],
)
def test_a_bad_row_is_refused_by_file_and_line(tmp_path, content, message):
    write(tmp_path / "sw.train.tsv", content)
    with pytest.raises(InputError, match=rf"sw\.train\.tsv(, |: ){message}"):
        read_polarities(tmp_path / "sw.train.tsv", "\t", "tweet")


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: b"not gzip", lambda packed: packed[:30]])
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path, damage):
    (tmp_path / "t.tsv.gz").write_bytes(damage(gzip.compress(b"tweet\tlabel\n" * 50)))
    with pytest.raises(InputError, match=r"t\.tsv\.gz: damaged gzip file"):
        read_table(tmp_path / "t.tsv.gz", "\t")


def test_columns_are_found_by_name_and_windows_line_ends_are_none_of_the_label(tmp_path):
    write(tmp_path / "t.tsv", '\ufeffID\ttweet\tlabel\r\n7\t"He said ""good"""\tpositive\r\n8\tnot "so" good\tneutral')
    examples = read_polarities(tmp_path / "t.tsv", "\t", "tweet")
    assert examples.texts == ['He said "good"', 'not "so" good']
    assert examples.labels == [2, 1]


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


# XED.


def xed_file(tmp_path, text):
    write(tmp_path / "annotated.en.tsv", text)
    return tmp_path / "annotated.en.tsv"


def test_xed_keeps_lines_of_one_polarity_and_counts_the_others(tmp_path):
    path = xed_file(
        tmp_path,
        "joy\t5\ntrust\t2, 8\nanger\t1\nfear,disgust\t3, 4, 7\nsad\t6\n"
        "mixed\t1, 5\nsurprise\t7\nanticipation\t2, 7\n  \t5\nNo!\t1\n\uff2eo!\t8\nYes\t5\nyes \t8\n",
    )
    examples, dropped = read_language(path)
    assert examples.texts == ["joy", "trust", "anger", "fear,disgust", "sad", "Yes"]
    assert examples.labels == [1, 1, 0, 0, 0, 1]
    assert dropped == {"both": 1, "neither": 2, "blank": 1, "contradictory": 2, "repeated": 1}
    assert sum(dropped.values()) + len(examples.texts) == 13


def test_xed_drops_texts_that_swallowed_their_alignment_file(tmp_path):
    block = (
        '"Dear Mr.\nen/1990/1.xml.gz\tbg/1990/2.xml.gz\t288\t263\tslow.\tbavno.\nen/x\tbg/y\t289\t264\tNoel."""\t6\n'
    )
    examples, dropped = read_language(xed_file(tmp_path, "good\t5\n" + block + '"""bad"", they say"\t1\n'))
    assert examples.texts == ["good", '"bad", they say']
    assert dropped == {"damaged": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good\t5\nbad\t1, 9\n", "line 2: unknown emotion '9'; there are 1 to 8"),
        ("good\t\n", "line 1: unknown emotion ''; there are 1 to 8"),
        ("good\t5\nbad\n", "line 2: 1 columns instead of 2"),
        ('good\t5\n"bad\t1\nfine"\t5\n', "line 2: the quotation mark that opens the text is not closed on its line"),
    ],
)
def test_a_bad_line_of_xed_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"annotated\.en\.tsv, {message}"):
        read_language(xed_file(tmp_path, text))


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20), st.text(max_size=4))
def test_a_fraction_does_not_depend_on_case_or_white_space_but_on_the_key(text, key):
    fraction = keyed_fraction(text, key)
    assert 0 <= fraction < 1
    assert keyed_fraction(f"  {text}\n", key) == fraction
    assert keyed_fraction(text.replace(" ", "\t "), key) == fraction
    assert keyed_fraction(text, key + "x") != fraction


def test_xed_splits_stay_as_they_are_in_every_release():
    # Frozen: another digest or key would make results incomparable without a word.
    assert keyed_fraction("It's alive!", xed.SPLIT_KEY) == 0.7995869946471892
    assert keyed_fraction("IT'S  ALIVE!", xed.SPLIT_KEY) == 0.7995869946471892


def test_xed_splits_have_their_shares_and_no_text_in_common(tmp_path):
    examples, _ = read_language(
        xed_file(tmp_path, "".join(f"line {row}\t{1 + 4 * (row % 2)}\n" for row in range(5000)))
    )
    parts = split_examples(examples)
    sizes = {split: len(part.texts) for split, part in parts.items()}
    assert sum(sizes.values()) == 5000
    # Four standard deviations of a binomial: 28 * 4 and 21 * 4.
    assert abs(sizes["train"] - 4000) < 113
    assert abs(sizes["dev"] - 500) < 85
    assert abs(sizes["test"] - 500) < 85
    label_of = dict(zip(examples.texts, examples.labels, strict=True))
    for part in parts.values():
        assert part.labels == [label_of[text] for text in part.texts]


def test_xed_trains_on_english_and_tests_every_language_on_its_test_part(tmp_path):
    write_xed(tmp_path / "xed")
    encoder = SentimentEncoder()
    (record,) = evaluate_xed(encoder, tmp_path, languages=["de", "fi", "zh"])
    assert list(record["scores"]) == ["en", "de", "fi", "zh"]
    assert all(row["accuracy"] == 1 for row in record["scores"].values())
    assert record["means"]["chosen"]["languages"] == 3
    assert record["members"] == {"chosen": ["de", "fi", "zh"]}
    assert record["dropped"] == {language: {} for language in ("en", "de", "fi", "zh")}
    german = [text for text in encoder.sentences if text.startswith("de ")]
    assert len(german) == record["scores"]["de"]["n"] < 40
    assert sum(text.startswith("en ") for text in encoder.sentences) == 150
    assert "translations" in record["protocol"]


def test_xed_lists_missing_languages_or_refuses_them_if_strict(tmp_path):
    write_xed(tmp_path)
    (record,) = evaluate_xed(SentimentEncoder(), tmp_path, languages=["de", "fr", "ja"])
    assert record["skipped"] == [
        {"language": "fr", "reason": "projected.fr.tsv is missing"},
        {"language": "ja", "reason": "not in XED"},
    ]
    assert record["means"]["chosen"] == {"languages": 1, "of": 2, "macro_f1": 1, "accuracy": 1}
    with pytest.raises(InputError, match=r"projected\.fr\.tsv: no such file"):
        evaluate_xed(SentimentEncoder(), tmp_path, languages=["fr"], strict=True)


def test_xed_needs_enough_english_to_train_on(tmp_path):
    write_xed(tmp_path, n=4)
    with pytest.raises(InputError, match=r"annotated\.en\.tsv\.gz: "):
        evaluate_xed(SentimentEncoder(), tmp_path)


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
