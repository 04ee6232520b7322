"""XED: which lines are kept, dropped or refused, how they are split, and what is trained on what."""

from __future__ import annotations

import pytest

from ems.errors import InputError
from ems.eval.benchmarks import xed
from ems.eval.benchmarks.labelled_text import keyed_fraction
from ems.eval.benchmarks.xed import evaluate_xed, read_language, split_examples
from tests.eval.labelled_files import SentimentEncoder, write, write_xed


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
