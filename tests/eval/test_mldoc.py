"""MLDoc: its file format in all spellings, documents whole or in pieces, and the matrix of training languages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.errors import InputError
from ems.eval.benchmarks.documents import clean_text, embed_documents, read_documents, split_document
from ems.eval.benchmarks.mldoc import FILE_NAMES, evaluate_mldoc, find_folder
from ems.eval.encoders import embed
from ems.eval.intervals import intervals
from ems.eval.parallel_text import NoLanguageLeft
from ems.eval.record import outcome_arrays
from ems.eval.transfer import Labelled, accuracy_and_macro_f1, train_logistic_regression, train_mlp

SHORT = ("C", "E", "G", "M")
SIZES = {"train.1000": 24, "dev": 12, "test": 20}
OPTIONS = {"seeds": (1, 2), "epochs": 2}


def texts_of(language, part, count):
    return [f"{FILE_NAMES[language]} {part} {row}" for row in range(count)]


def write_corpus(folder, languages=tuple(FILE_NAMES), *, sizes=SIZES, long_labels=False):
    folder.mkdir(parents=True, exist_ok=True)
    for language in languages:
        for part, count in sizes.items():
            rows = [
                f"{SHORT[row % 4]}{'CAT' if long_labels else ''}\t{text}"
                for row, text in enumerate(texts_of(language, part, count))
            ]
            (folder / f"{FILE_NAMES[language]}.{part}").write_text("\n".join(rows) + "\n", encoding="utf-8")


class TopicEncoder:
    """The topic of a document, its last word modulo 4, as a direction, plus noise that depends on the document."""

    def __init__(self, noise=1.5):
        self.noise, self.asked = noise, []

    def encode(self, texts):
        self.asked += texts
        rows = []
        for text in texts:
            noise = np.random.default_rng([*text.encode()]).standard_normal(6)
            rows.append(3 * np.eye(4, 6)[int(text.split()[-1]) % 4] + self.noise * noise)
        return np.array(rows)


def labelled(language, part):
    texts = texts_of(language, part, SIZES[part])
    return Labelled(embed(TopicEncoder(), texts), np.arange(len(texts)) % 4)


def one_file(tmp_path, content):
    path = tmp_path / "german.test"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_cell_of_the_matrix_is_trained_on_one_language_and_tested_on_another(tmp_path):
    languages = ("en", "de", "ja")
    write_corpus(tmp_path, languages)
    regression, perceptron = evaluate_mldoc(TopicEncoder(), tmp_path, **OPTIONS)
    tests = {language: labelled(language, "test") for language in languages}
    vectors = {language: test.vectors for language, test in tests.items()}
    assert list(regression["matrix"]) == list(languages)
    for language in languages:
        sets = labelled(language, "train.1000"), labelled(language, "dev")
        of_regression = train_logistic_regression(*sets, vectors, num_classes=4)
        of_perceptron = train_mlp(*sets, vectors, num_classes=4, **OPTIONS)
        for test, gold in tests.items():
            accuracy, _ = accuracy_and_macro_f1(gold.labels, of_regression.predicted[test][0], 4)
            assert regression["matrix"][language][test] == accuracy
            by_seed = (of_perceptron.predicted[test] == gold.labels).mean(axis=1)
            assert perceptron["matrix"][language][test] == pytest.approx(by_seed.mean())
            assert perceptron["matrix_sd"][language][test] == pytest.approx(by_seed.std(ddof=1))
        assert regression["selected"][language] == of_regression.selected
        assert perceptron["dev_accuracy"][language] == pytest.approx(of_perceptron.dev_accuracy)
    for record in (regression, perceptron):  # else rows and columns could be exchanged
        assert any(record["matrix"][a][b] != record["matrix"][b][a] for a in languages for b in languages)


def test_the_headline_is_trained_on_english_and_tested_on_the_other_languages(tmp_path):
    write_corpus(tmp_path)
    for record in evaluate_mldoc(TopicEncoder(), tmp_path, **OPTIONS):
        assert record["direction"] == "en"
        assert {language: row["accuracy"] for language, row in record["scores"].items()} == record["matrix"]["en"]
        accuracies = record["matrix"]["en"]
        others = [accuracies[language] for language in FILE_NAMES if language != "en"]
        assert list(record["means"]) == ["mldoc7", "mldoc8"]
        assert record["means"]["mldoc7"]["accuracy"] == pytest.approx(np.mean(others))
        assert record["means"]["mldoc8"]["accuracy"] == pytest.approx(np.mean([*accuracies.values()]))
        assert (record["means"]["mldoc7"]["languages"], record["means"]["mldoc7"]["of"]) == (7, 7)
        assert record["columns"][-1] == "accuracy"
        assert record["n"] == 8 * 20
        assert record["sizes"]["ru"] == SIZES
        score, of = outcome_arrays(record["outcomes"]["de"]["accuracy"])
        assert score.sum() / of.sum() == pytest.approx(accuracies["de"])
        low, high = intervals(record).means["mldoc7"]["accuracy"]
        assert low < record["means"]["mldoc7"]["accuracy"] < high


def test_only_languages_that_are_not_in_mldoc_are_no_result(tmp_path):
    write_corpus(tmp_path, ("en", "de"))
    encoder = TopicEncoder()
    with pytest.raises(NoLanguageLeft, match=r"no language to score: sw \(not in MLDoc\)"):
        evaluate_mldoc(encoder, tmp_path, languages=["sw"], **OPTIONS)
    assert encoder.asked == []


@pytest.mark.parametrize("layout", ["", "mldoc", "MLDoc"])
def test_layouts_and_both_spellings_of_labels_give_the_same(tmp_path, layout):
    write_corpus(tmp_path / "short" / layout, ("en", "de"))
    write_corpus(tmp_path / "long", ("en", "de"), long_labels=True)
    short, long = (evaluate_mldoc(TopicEncoder(), tmp_path / name, **OPTIONS)[0] for name in ("short", "long"))
    assert short["scores"] == long["scores"]
    assert short["data_digest"] == long["data_digest"]


def test_labels_are_numbered_in_the_published_order(tmp_path):
    documents = read_documents(one_file(tmp_path, "MCAT\ta\nGCAT\tb\nECAT\tc\nCCAT\td\n"))
    assert documents.labels == [3, 2, 1, 0]
    assert documents.texts == ["a", "b", "c", "d"]


@pytest.mark.parametrize("text", ["Zürich 東京", "it's", 'a "b" it\'s', "tab\tand\\n backslash", "b'x'", ""])
def test_bytes_literals_are_decoded(tmp_path, text):
    literal = str(text.encode())
    assert literal.startswith("b")
    assert read_documents(one_file(tmp_path, f"C\t{literal}\nE\t{literal}\n")).texts == [text, text]


@settings(deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_text_survives_as_a_bytes_literal(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("mldoc") / "english.dev"
    path.write_text("".join(f"GCAT\t{text.encode()}\n" for text in texts), encoding="utf-8")
    assert read_documents(path).texts == [clean_text(text) for text in texts]


def test_text_that_is_no_bytes_literal_is_left_alone(tmp_path):
    texts = ["a b'c'", "b side", "\\xc3\\xbc", " indented"]
    assert read_documents(one_file(tmp_path, "".join(f"C\t{text}\n" for text in texts))).texts == texts


def test_a_further_tab_belongs_to_the_text_and_windows_line_ends_do_not(tmp_path):
    assert read_documents(one_file(tmp_path, "C\ta\tb\r\nE\tc")).texts == ["a\tb", "c"]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Ford Motor Co . said", "Ford Motor Co. said"),
        ("Apple Inc . said", "Apple Inc. said"),
        ("Apple Inc .", "Apple Inc ."),
        ("end. (c) Reuters Limited 1996.", "end. "),
        ("end. (C) Reuters Limited 1997. more", "end.  more"),
        ("(c) Reuters Limited 2001.", "(c) Reuters Limited 2001."),
    ],
)
def test_text_is_cleaned_as_lasers_program_does(tmp_path, raw, clean):
    assert read_documents(one_file(tmp_path, f"C\t{raw}\n")).texts == [clean]
    assert read_documents(one_file(tmp_path, f"C\t{raw.encode()}\n")).texts == [clean]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("C\ta\nE b\n", r"german\.test, line 2: no tab between label and text: 'E b'"),
        ("C\ta\nECAD\tb\n", r"german\.test, line 2: unknown label 'ECAD'; nearest: 'ECAT'"),
        ("C\tb'\\xc3'\n", r"german\.test, line 1: the text is not a bytes literal of UTF-8"),
        ("C\tb'a' + b'c'\n", r"german\.test, line 1: the text is not a bytes literal"),
        ("C\tb'a'\nE\tb'c\n", r"german\.test, line 2: the text is no bytes literal as in line 1: b'c"),
        ("C\ta\nE\tb'c'\n", r"german\.test, line 2: the text is a bytes literal, that of line 1 is not"),
        (b"C\ta\nE\t\xff\n", r"german\.test, line 2: not UTF-8"),
        ("", r"german\.test: no sentences in it"),
    ],
)
def test_a_bad_row_is_named_before_anything_is_encoded(tmp_path, content, message):
    write_corpus(tmp_path, ("en", "de"))
    one_file(tmp_path, content)
    encoder = TopicEncoder()
    with pytest.raises(InputError, match=message):
        evaluate_mldoc(encoder, tmp_path, **OPTIONS)
    assert not encoder.asked


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a b . c d . e", ["a b .", "c d .", "e"]),
        ("a . b .", ["a .", "b ."]),
        ("a. b. c", ["a. b. c"]),
        (". . a", [".", ".", "a"]),
        ("  a \t b ", ["a b"]),
        ("", [""]),
    ],
)
def test_documents_are_cut_after_full_stops_that_stand_alone(text, pieces):
    assert split_document(text) == pieces


@settings(deadline=None)
@given(st.text(alphabet="ab. \t"))
def test_cutting_loses_no_word(text):
    assert " ".join(split_document(text)).split() == text.split()


def test_a_document_in_pieces_is_the_mean_of_their_embeddings():
    documents = ["a 1 . b 2 . c 3", "d 4", "e 6 . d 4"]
    encoder = TopicEncoder()

    def of(piece):
        return TopicEncoder().encode([piece + " 0" if piece.endswith(".") else piece])[0]

    encoder.encode = lambda pieces: np.array([of(piece) for piece in pieces])
    found = embed_documents(encoder, documents, "sentences")
    expected = [
        np.mean([of("a 1 ."), of("b 2 ."), of("c 3")], axis=0),
        of("d 4"),
        np.mean([of("e 6 ."), of("d 4")], axis=0),
    ]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-6)
    assert found.dtype == np.float32


def test_the_record_says_how_documents_were_treated(tmp_path):
    write_corpus(tmp_path, ("en", "de"))
    whole = evaluate_mldoc(TopicEncoder(), tmp_path, **OPTIONS)[0]
    pieces = evaluate_mldoc(TopicEncoder(), tmp_path, document="sentences", **OPTIONS)[0]
    assert (whole["document"], pieces["document"]) == ("truncate", "sentences")
    assert "embedded whole" in whole["protocol"]
    assert "cut after every free-standing full stop" in pieces["protocol"]
    assert whole["scores"] == pieces["scores"]  # no full stops in these
    with pytest.raises(InputError, match="unknown treatment of documents 'sentence'; did you mean 'sentences'"):
        evaluate_mldoc(TopicEncoder(), tmp_path, document="sentence")


def test_empty_documents_are_kept_and_counted(tmp_path):
    write_corpus(tmp_path, ("en", "de"))
    rows = (tmp_path / "german.test").read_text().split("\n")
    rows[3] = "M\t(c) Reuters Limited 1996."
    (tmp_path / "german.test").write_text("\n".join(rows))

    class Encoder(TopicEncoder):
        def encode(self, texts):
            return super().encode([text or "0" for text in texts])

    record = evaluate_mldoc(Encoder(), tmp_path, **OPTIONS)[0]
    assert record["empty_documents"] == {"de": 1}
    assert record["scores"]["de"]["n"] == 20


def test_training_files_of_another_size_can_be_chosen(tmp_path):
    write_corpus(tmp_path, ("en", "de"))
    write_corpus(tmp_path, ("en",), sizes={"train.2000": 40})
    write_corpus(tmp_path, ("de",), sizes={"train.2000": 28})
    record = evaluate_mldoc(TopicEncoder(), tmp_path, train_size=2000, **OPTIONS)[1]
    assert record["sizes"]["de"] == {"train.2000": 28, "dev": 12, "test": 20}
    assert "train.2000" in record["protocol"]
    with pytest.raises(InputError, match=r"no train\.500; there are 1000, 2000, 5000, 10000"):
        evaluate_mldoc(TopicEncoder(), tmp_path, train_size=500)


def test_missing_files_are_skipped_with_a_reason_unless_strict(tmp_path):
    write_corpus(tmp_path, ("en", "de", "fr"))
    (tmp_path / "german.test").unlink()
    (tmp_path / "french.dev").unlink()
    record = evaluate_mldoc(TopicEncoder(), tmp_path, languages=["deu", "fr", "ko"], **OPTIONS)[0]
    assert record["skipped"] == [
        {"language": "ko", "reason": "not in MLDoc"},
        {"language": "de", "reason": "german.test missing"},
        {"language": "fr", "reason": "french.dev missing; tested, but not trained on"},
    ]
    assert {language: list(row) for language, row in record["matrix"].items()} == {"en": ["en", "fr"]}
    mean = record["means"]["chosen without en"]
    assert (mean["languages"], mean["of"]) == (1, 2)
    with pytest.raises(InputError, match=r"german\.test missing"):
        evaluate_mldoc(TopicEncoder(), tmp_path, languages=["de"], strict=True)


def test_english_is_needed_and_nothing_found_says_what_was_looked_for(tmp_path):
    assert find_folder(tmp_path) is None
    with pytest.raises(InputError, match=r"no MLDoc files here, in mldoc/ or in MLDoc/ \(english\.train\.1000"):
        evaluate_mldoc(TopicEncoder(), tmp_path)
    write_corpus(tmp_path, ("de",))
    with pytest.raises(InputError, match=r"english\.train\.1000 and english\.dev and english\.test missing; English"):
        evaluate_mldoc(TopicEncoder(), tmp_path)


def test_one_label_only_cannot_be_trained_on(tmp_path):
    write_corpus(tmp_path, ("en", "de"))
    (tmp_path / "german.train.1000").write_text("C\ta 1\nC\tb 2\n")
    with pytest.raises(InputError, match=r"german\.train\.1000: fewer than two labels"):
        evaluate_mldoc(TopicEncoder(), tmp_path)
