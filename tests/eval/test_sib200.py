"""SIB-200: both layouts, rows aligned by index_id, what makes a file unusable, and the two classifiers' records."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from ems.errors import InputError
from ems.eval.benchmarks.sib200 import CATEGORIES, evaluate_sib200, find_folder, read_language
from ems.eval.encoders import embed
from ems.eval.record import outcome_arrays
from ems.eval.transfer import Labelled, accuracy_and_macro_f1, train_logistic_regression
from ems.languages import LANGUAGES

CODES = {"en": "eng_Latn", "de": "deu_Latn", "ku": "kmr_Latn"}
SIZES = {"train": 28, "dev": 14, "test": 21}


def topic_of(index):
    return CATEGORIES[index % len(CATEGORIES)]


def sentences(code, sizes=SIZES):
    """(split, index_id, category, text) of every row; the ids go on from split to split."""
    rows, index = [], 0
    for split, count in sizes.items():
        for _ in range(count):
            rows.append((split, str(index), topic_of(index), f'{code} says "{index}"'))
            index += 1
    return rows


def quoted(cell):
    return '"' + cell.replace('"', '""') + '"' if '"' in cell else cell


def table(header, rows):
    return "".join("\t".join(map(quoted, row)) + "\n" for row in [header, *rows])


def write_flat(folder, codes=CODES, *, rows_of=sentences, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for code in codes.values():
        text = table(("split", "index_id", "category", "text"), rows_of(code)).encode()
        if packed:
            (folder / f"{code}.tsv.gz").write_bytes(gzip.compress(text))
        else:
            (folder / f"{code}.tsv").write_bytes(text)


def write_released(folder, codes=CODES):
    for code in codes.values():
        (folder / code).mkdir(parents=True)
        for split in SIZES:
            rows = [row[1:] for row in sentences(code) if row[0] == split]
            (folder / code / f"{split}.tsv").write_text(table(("index_id", "category", "text"), rows), encoding="utf-8")


class TopicEncoder:
    """The topic of a sentence as a direction, plus noise that depends on the sentence. Keeps what it was asked."""

    def __init__(self, noise=0.3):
        self.noise, self.asked = noise, []

    def encode(self, texts):
        self.asked.append(list(texts))
        rows = []
        for text in texts:
            number = int(text.split('"')[1])
            noise = np.random.default_rng([number, *text.encode()]).standard_normal(9)
            rows.append(3 * np.eye(7, 9)[number % 7] + self.noise * noise)
        return np.array(rows)


def evaluate(folder, encoder=None, **options):
    options = {"seeds": (1, 2), "epochs": 2} | options
    return evaluate_sib200(encoder or TopicEncoder(), folder, **options)


def test_logistic_regression_is_trained_on_english_and_tested_on_every_language(tmp_path):
    write_flat(tmp_path / "sib200")
    encoder = TopicEncoder(noise=1.5)
    regression, _ = evaluate(tmp_path, encoder)

    def labelled(language, split):
        rows = [row for row in sentences(CODES[language]) if row[0] == split]
        labels = np.array([CATEGORIES.index(category) for _, _, category, _ in rows])
        return Labelled(embed(encoder, [text for *_, text in rows]), labels)

    tests = {language: labelled(language, "test") for language in CODES}
    expected = train_logistic_regression(
        labelled("en", "train"),
        labelled("en", "dev"),
        {language: test.vectors for language, test in tests.items()},
        num_classes=7,
    )
    assert regression["task"] == "sib200-logreg"
    assert list(regression["scores"]) == ["en", "de", "ku"]
    for language, test in tests.items():
        accuracy, macro_f1 = accuracy_and_macro_f1(test.labels, expected.predicted[language][0], 7)
        assert regression["scores"][language] == {"n": 21, "macro_f1": macro_f1, "accuracy": accuracy}
    assert 0.3 < regression["scores"]["de"]["accuracy"] < 1
    assert regression["columns"] == ["macro_f1", "accuracy"]
    assert regression["selected"] == expected.selected
    assert (regression["direction"], regression["split"], regression["n"]) == ("en", "test", 21)
    assert regression["training"] == {"train": 28, "dev": 14}


def test_means_are_over_all_languages_and_over_those_not_trained_on(tmp_path):
    write_flat(tmp_path)
    for record in evaluate(tmp_path, TopicEncoder(noise=1.5)):
        accuracies = {language: row["accuracy"] for language, row in record["scores"].items()}
        everything, others = record["means"]["ems62"], record["means"]["ems62 without en"]
        assert everything["accuracy"] == pytest.approx(np.mean([*accuracies.values()]))
        assert others["accuracy"] == pytest.approx(np.mean([accuracies["de"], accuracies["ku"]]))
        assert (everything["languages"], everything["of"]) == (3, 62)
        assert (others["languages"], others["of"]) == (2, 61)


def test_the_perceptron_is_a_record_of_its_own_with_the_deviation_over_seeds(tmp_path):
    write_flat(tmp_path)
    _, perceptron = evaluate(tmp_path, seeds=(1, 2, 3), epochs=4)
    assert perceptron["task"] == "sib200-mlp"
    assert perceptron["columns"] == ["macro_f1", "accuracy_sd", "accuracy"]
    assert perceptron["seeds"] == [1, 2, 3]
    assert len(perceptron["selected"]) == len(perceptron["dev_accuracy"]) == 3
    assert "accuracy_sd" in perceptron["means"]["ems62"]
    assert "4 epochs, mean of 3 seeds" in perceptron["protocol"]
    for language, row in perceptron["scores"].items():
        score, of = outcome_arrays(perceptron["outcomes"][language]["accuracy"])
        assert set(of) == {3}
        assert score.sum() / of.sum() == pytest.approx(row["accuracy"])


def test_every_row_is_aligned_by_its_index_id_whatever_the_order_of_the_file(tmp_path):
    write_flat(tmp_path / "a")
    write_flat(tmp_path / "b")
    write_flat(tmp_path / "b", {"de": "deu_Latn"}, rows_of=lambda code: sentences(code)[::-1])
    straight, turned = (evaluate(tmp_path / name, TopicEncoder(noise=1.5))[0] for name in "ab")
    assert 0 < straight["scores"]["de"]["accuracy"] < 1
    assert straight["outcomes"] == turned["outcomes"]
    assert straight["data_digest"] == turned["data_digest"]


@pytest.mark.parametrize("layout", ["", "sib200", "sib-200", "SIB-200", "sib-200/data/annotated", "data/annotated"])
def test_released_layouts_give_the_same_as_one_file_a_language(tmp_path, layout):
    write_released(tmp_path / "released" / layout)
    write_flat(tmp_path / "flat", packed=False)
    released, flat = (evaluate(tmp_path / name)[0] for name in ("released", "flat"))
    assert released["data_digest"] == flat["data_digest"]
    assert released["scores"] == flat["scores"]


def test_quotation_marks_are_those_of_the_table_not_of_the_text(tmp_path):
    write_flat(tmp_path)
    splits = read_language(tmp_path, "deu_Latn")
    assert splits["train"].texts[0] == 'deu_Latn says "0"'
    assert {split: len(part.texts) for split, part in splits.items()} == SIZES


def test_only_the_test_split_of_other_languages_is_needed_or_encoded(tmp_path):
    write_flat(tmp_path)
    write_flat(tmp_path, {"de": "deu_Latn"}, rows_of=lambda code: [r for r in sentences(code) if r[0] == "test"])
    encoder = TopicEncoder()
    evaluate(tmp_path, encoder)
    assert [len(texts) for texts in encoder.asked] == [28, 14, 21, 21, 21]


def test_a_language_without_a_file_is_skipped_unless_strict(tmp_path):
    write_flat(tmp_path)
    record = evaluate(tmp_path, languages=["deu", "fr"])[0]
    assert list(record["scores"]) == ["en", "de"]
    assert record["skipped"] == [{"language": "fr", "reason": "fra_Latn.tsv, or a folder of that name, is missing"}]
    assert record["means"]["chosen without en"]["of"] == 2
    with pytest.raises(InputError, match="fra_Latn"):
        evaluate(tmp_path, languages=["de", "fr"], strict=True)


def test_file_codes_that_the_registry_does_not_know_are_taken(tmp_path):
    write_flat(tmp_path, {"en": "eng_Latn", "x": "ayr_Latn"})
    assert list(evaluate(tmp_path, languages=["ayr_Latn"])[0]["scores"]) == ["en", "ayr_Latn"]


def test_english_is_needed(tmp_path):
    write_flat(tmp_path, {"de": "deu_Latn"})
    with pytest.raises(InputError, match=r"eng_Latn\.tsv.* is missing; English is needed"):
        evaluate(tmp_path)


def test_no_files_at_all_says_what_was_looked_for(tmp_path):
    assert find_folder(tmp_path) is None
    with pytest.raises(InputError, match=r"no SIB-200 files.*sib200/.*deu_Latn"):
        evaluate(tmp_path)


def changed(line, column, value):
    def rows_of(code):
        rows = [list(row) for row in sentences(code)]
        if code == "deu_Latn":
            rows[line - 2][column] = value
        return rows

    return rows_of


@pytest.mark.parametrize(
    ("line", "column", "value", "message"),
    [
        (50, 2, "sport", r"deu_Latn\.tsv, line 50: unknown category 'sport'; nearest: 'sports'"),
        (50, 0, "tests", r"deu_Latn\.tsv, line 50: unknown split 'tests'; nearest: 'test'"),
        (50, 1, "3", r"deu_Latn\.tsv, line 50: index_id '3' occurs twice"),
        (50, 1, " ", r"deu_Latn\.tsv, line 50: index_id ' ' is blank"),
        (50, 3, "  ", r"deu_Latn\.tsv, line 50: the text is blank"),
        (50, 3, "a\tb", r"deu_Latn\.tsv, line 50: 5 columns instead of 4"),
        (50, 1, "777", "index_id 48 is only in this test set or only in the English one|index_id 777"),
        (50, 2, topic_of(1), "index_id 48 is of category 'geography', but 'travel' in English"),
    ],
)
def test_a_bad_row_is_named(tmp_path, line, column, value, message):
    write_flat(tmp_path, rows_of=changed(line, column, value), packed=False)
    encoder = TopicEncoder()
    with pytest.raises(InputError, match=message):
        evaluate(tmp_path, encoder)
    assert not encoder.asked


def test_a_quotation_mark_that_is_not_closed_does_not_swallow_rows(tmp_path):
    write_flat(tmp_path, packed=False)
    path = tmp_path / "deu_Latn.tsv"
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[45] = lines[45].rstrip('"')
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match=r"deu_Latn\.tsv, line 46"):
        evaluate(tmp_path)


def test_other_columns_are_refused(tmp_path):
    write_flat(tmp_path)
    (tmp_path / "deu_Latn.tsv.gz").unlink()
    (tmp_path / "deu_Latn.tsv").write_text("index_id\ttext\n1\ta\n")
    with pytest.raises(InputError, match=r"line 1: the columns must be split, index_id, category, text, not index_id"):
        evaluate(tmp_path)


def test_a_missing_split_is_named(tmp_path):
    write_flat(tmp_path / "flat", rows_of=lambda code: [row for row in sentences(code) if row[0] != "dev"])
    with pytest.raises(InputError, match=r"eng_Latn\.tsv\.gz: no row of split 'dev'"):
        evaluate(tmp_path / "flat")
    write_released(tmp_path / "released")
    (tmp_path / "released" / "deu_Latn" / "test.tsv").unlink()
    with pytest.raises(InputError, match=r"deu_Latn: test\.tsv is missing"):
        evaluate(tmp_path / "released")


def test_the_digest_depends_on_labels(tmp_path):
    def other_labels(code):
        return [(a, b, topic_of(int(b) + 1), text) for a, b, _, text in sentences(code)]

    write_flat(tmp_path / "a")
    write_flat(tmp_path / "b", rows_of=other_labels)
    first, second = (evaluate(tmp_path / name)[0]["data_digest"] for name in "ab")
    assert first != second


@pytest.mark.data
def test_real_files_are_complete_and_aligned(data_folder):
    folder = find_folder(data_folder / "eval")
    assert folder is not None
    english = read_language(folder, "eng_Latn")
    assert {split: len(part.ids) for split, part in english.items()} == {"train": 701, "dev": 99, "test": 204}
    for language in ("de", "zh", "yo"):
        splits = read_language(folder, LANGUAGES[language].flores)
        assert {split: part.ids for split, part in splits.items()} == {s: part.ids for s, part in english.items()}
        assert splits["test"].labels == english["test"].labels
