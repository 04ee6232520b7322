"""Webis-CLS-10: its nearly-XML, what is left out and counted, what is held out, and both classifiers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.errors import InputError
from ems.eval.benchmarks.cls10 import evaluate_cls10, find_folder, hold_out
from ems.eval.benchmarks.labelled_text import Examples
from ems.eval.benchmarks.reviews import read_reviews
from ems.eval.record import outcome_arrays
from tests.eval.labelled_files import SentimentEncoder, write

FOLDERS = {"en": "en", "de": "de", "fr": "fr", "ja": "jp"}


def item(rating="5.0", summary="s", text="t", extra="<title>x</title>"):
    fields = {"rating": rating, "url": "http://x", "text": text, "summary": summary}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items() if value is not None)
    return f"<item>{inner}{extra}<reviewer>me</reviewer></item>\n\n"


def review_file(tmp_path, *items):
    write(tmp_path / "test.review", "<items>\n" + "".join(items) + "</items>\n")
    return tmp_path / "test.review"


def write_corpus(folder, n=40, wrong=0, languages=FOLDERS, categories=("books", "dvd", "music")):
    """Write reviews whose words tell their rating, but for the first `wrong` of the German books test file."""
    for language, directory in languages.items():
        for category in categories:
            for split in ("train", "test"):
                items = []
                for row in range(n):
                    positive = row % 2 == 0
                    said = positive
                    if row < wrong and (language, category, split) == ("de", "books", "test"):
                        said = not positive
                    word = ("good", "fine")[row % 4 // 2] if positive else ("bad", "dull")[row % 4 // 2]
                    items.append(item("5.0" if said else "1.0", word, f"{language} {category} {split} {row}"))
                path = folder / directory / category / f"{split}.review"
                write(path, "<items>\n" + "".join(items) + "</items>\n")


# Reviews.


def test_a_review_is_its_headline_a_space_and_its_text(tmp_path):
    path = review_file(tmp_path, item("4.0", "Great", "I liked it."), item("2.0", " Poor ", "\nTwo\nlines. "))
    examples, skipped = read_reviews(path)
    assert examples.texts == ["Great I liked it.", "Poor Two\nlines."]
    assert examples.labels == [1, 0]
    assert skipped == {}


def test_what_cannot_be_used_is_counted_by_reason(tmp_path):
    path = review_file(
        tmp_path,
        item("5.0", "kept", "whole"),
        item("3.0"),
        item(None),
        item("five"),
        item("7.0"),
        item("nan"),
        item("1.0", None, None),
        item("1.0", " ", ""),
        item("1.0", None, "text only"),
        item("5.0", "headline only", None),
    )
    examples, skipped = read_reviews(path)
    assert examples.texts == ["kept whole", "text only", "headline only"]
    assert skipped == {"rating 3": 1, "no rating": 1, "rating not a number": 1, "rating not 1 to 5": 2, "no text": 2}


@pytest.mark.parametrize(
    "broken",
    [
        "<item><rating>1.0</rating><url>u</url><text>mauvais</title><summary>non</summary></item>",
        "<item><rating>1.0</rating><url>u</url><text>mauvais</text></title><summary>non</summary></item>",
        "<item><rating>1.0</rating><url>u</url><text>mauvais<title>film</title><summary>non</summary></item>",
        "<item><rating>1.0<text>mauvais</text><title/><summary>non<reviewer>moi</reviewer></item>",
        "<item><summary>non</summary><text><![CDATA[mauvais]]></text><rating> 1.0 </rating>",
    ],
)
def test_a_field_that_is_not_closed_ends_at_the_next_field(tmp_path, broken):
    examples, skipped = read_reviews(review_file(tmp_path, broken, "\n\n", item("5.0", "bon", "film")))
    assert examples.texts == ["non mauvais", "bon film"]
    assert examples.labels == [0, 1]
    assert skipped == {}


def test_entities_are_decoded_once_and_what_is_none_stays(tmp_path):
    text = "&lt;b&gt; &amp;quot; &eacute;&#233;&#xE9; AT&T R&D; &copy=1 &notit; 5 < 6"
    examples, _ = read_reviews(review_file(tmp_path, item("5.0", None, text)))
    assert examples.texts == ["<b> &quot; ééé AT&T R&D; &copy=1 &notit; 5 < 6"]


def test_an_item_that_the_end_of_the_file_cuts_off_is_left_out(tmp_path):
    write(tmp_path / "test.review", "\ufeff<items>\r\n" + item("5.0", "whole", "text") + item("5.0", "cut")[:60])
    examples, skipped = read_reviews(tmp_path / "test.review")
    assert examples.texts == ["whole text"]
    assert skipped == {"cut off by the end of the file": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<items>\n<item><text>\xff</text></item>", "line 2: not UTF-8"),
        (b"<items>\n</items>\n", "no <item> in it"),
        (b"the:1 good:2 #label#:positive\n", "word counts of the processed release"),
        (
            b"<item><text>x</text></item><item><rating>3</rating></item>",
            r"none of its 2 items .*no rating: 1, rating 3: 1",
        ),
    ],
)
def test_an_unusable_file_is_refused_by_name(tmp_path, content, message):
    write(tmp_path / "test.review", content)
    with pytest.raises(InputError, match=rf"test\.review(, |: ){message}"):
        read_reviews(tmp_path / "test.review")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=6))
def test_well_formed_reviews_are_read_back(tmp_path_factory, reviews):
    from xml.sax.saxutils import escape

    clean = [(rating, *("".join(part.split()) for part in parts)) for rating, *parts in reviews]
    path = review_file(tmp_path_factory.mktemp("r"), *(item(f"{r}.0", escape(s), escape(t)) for r, s, t in clean))
    expected = [(f"{s} {t}".strip(), int(r > 3)) for r, s, t in clean if r != 3 and (s or t)]
    if not expected:
        with pytest.raises(InputError, match="none of its"):
            read_reviews(path)
        return
    examples, skipped = read_reviews(path)
    assert list(zip(examples.texts, examples.labels, strict=True)) == expected
    assert sum(skipped.values()) == len(clean) - len(expected)


# The held-out part.


def test_a_fifth_is_held_out_by_text_alone():
    reviews = Examples([f"review {row}" for row in range(1000)], [row % 2 for row in range(1000)])
    train, dev = hold_out(reviews)
    assert (len(train.texts), len(dev.texts)) == (800, 200)
    assert sorted(train.texts + dev.texts) == sorted(reviews.texts)
    # In another order the same reviews are held out, with the same labels.
    back = Examples(reviews.texts[::-1], reviews.labels[::-1])
    assert set(zip(dev.texts, dev.labels, strict=True)) == set(
        zip(hold_out(back)[1].texts, hold_out(back)[1].labels, strict=True)
    )
    assert 60 < sum(dev.labels) < 140
    # Frozen: another digest or key would make results incomparable without a word.
    assert dev.texts[:4] == ["review 0", "review 3", "review 10", "review 11"]


# The whole.


def test_both_classifiers_are_trained_on_english_and_scored_on_nine_pairs(tmp_path):
    write_corpus(tmp_path / "cls-acl10-unprocessed", wrong=10)
    encoder = SentimentEncoder()
    logreg, mlp = evaluate_cls10(encoder, tmp_path, seeds=(1, 2), epochs=12)
    assert (logreg["task"], mlp["task"]) == ("cls10-logreg", "cls10-mlp")
    assert (logreg["direction"], logreg["columns"], logreg["n"]) == ("en->x", ["macro_f1", "accuracy"], 360)
    pairs = [f"{language} {category}" for language in ("de", "fr", "ja") for category in ("books", "dvd", "music")]
    assert list(logreg["scores"]) == pairs
    assert logreg["scores"]["de books"]["accuracy"] == 0.75
    assert all(logreg["scores"][name]["accuracy"] == 1 for name in pairs[1:])
    for name, count, right in (("cls10", 9, 8.75), ("de", 3, 2.75)):
        mean = logreg["means"][name]
        assert (mean["languages"], mean["of"], mean["accuracy"]) == (count, count, pytest.approx(right / count))
    assert logreg["means"]["ja"] == {"languages": 3, "of": 3, "macro_f1": 1, "accuracy": 1}
    assert logreg["members"]["de"] == pairs[:3]
    assert mlp["columns"] == ["macro_f1", "accuracy_sd", "accuracy"]
    assert mlp["outcomes"]["de books"]["accuracy"]["of"] == 2
    assert len(mlp["selected"]["dvd"]["epochs"]) == 2
    for record in (logreg, mlp):
        for name, row in record["scores"].items():
            score, of = outcome_arrays(record["outcomes"][name]["accuracy"])
            assert row["accuracy"] == pytest.approx(score.sum() / of.sum())
    # Encoded once for both classifiers, and only what is trained or tested on.
    assert len(encoder.sentences) == len(set(encoder.sentences)) == 3 * 40 + 9 * 40
    assert not any(
        f"{language} {c} train" in text for text in encoder.sentences for language in ("de", "ja") for c in "bdm"
    )


def test_the_categories_are_kept_apart(tmp_path):
    class ByCategory(SentimentEncoder):
        """Turns sentiment round for dvd, so that only a classifier of the category itself can be right."""

        def encode(self, sentences):
            sign = np.array([[-1.0 if " dvd " in text else 1.0] for text in sentences])
            return super().encode(sentences) * sign

    write_corpus(tmp_path)
    (record,) = evaluate_cls10(ByCategory(), tmp_path, classifiers=["logreg"])
    assert record["means"]["cls10"]["accuracy"] == 1


@pytest.mark.parametrize("layout", ["", "cls-acl10-unprocessed", "webis-cls-10", "webis-cls-10/cls-acl10-unprocessed"])
def test_released_layouts_are_found(tmp_path, layout):
    write_corpus(tmp_path / layout, n=10, languages={"en": "en", "ja": "jp"}, categories=["music"])
    assert find_folder(tmp_path) == tmp_path / layout


def test_the_processed_release_is_refused_with_the_reason(tmp_path):
    write(tmp_path / "cls-acl10-processed" / "en" / "books" / "train.processed", "a:1 #label#:positive\n")
    assert find_folder(tmp_path) is None
    for folder in (tmp_path, tmp_path / "cls-acl10-processed"):
        with pytest.raises(InputError, match=r"word counts without their order.*get cls-acl10-unprocessed"):
            evaluate_cls10(SentimentEncoder(), folder)
    with pytest.raises(InputError, match=r"no Webis-CLS-10 files here"):
        evaluate_cls10(SentimentEncoder(), tmp_path / "elsewhere")


def test_missing_files_and_left_out_items_are_listed_under_skipped(tmp_path):
    write_corpus(tmp_path)
    (tmp_path / "jp" / "dvd" / "test.review").unlink()
    (tmp_path / "en" / "music" / "train.review").unlink()
    path = tmp_path / "fr" / "books" / "test.review"
    path.write_text(path.read_text() + item("3.0") + item("3.0") + item(None))
    (record,) = evaluate_cls10(SentimentEncoder(), tmp_path, classifiers=["logreg"], languages=["fra", "jpn", "it"])
    assert list(record["scores"]) == ["fr books", "fr dvd", "ja books"]
    assert record["scores"]["fr books"]["n"] == 40
    assert record["skipped"] == [
        {"language": "it", "reason": "not in Webis-CLS-10"},
        {"language": "fr books", "reason": "1 items of fr/books/test.review: no rating"},
        {"language": "fr books", "reason": "2 items of fr/books/test.review: rating 3"},
        {"language": "ja dvd", "reason": "jp/dvd/test.review is missing"},
        {"language": "en music", "reason": "en/music/train.review is missing"},
    ]
    assert record["means"]["chosen"] == {"languages": 3, "of": 6, "macro_f1": 1, "accuracy": 1}
    assert (record["means"]["ja"]["languages"], record["means"]["ja"]["of"]) == (1, 3)
    with pytest.raises(InputError, match=r"jp/dvd/test\.review: no such file"):
        evaluate_cls10(SentimentEncoder(), tmp_path, strict=True)


def test_bad_files_are_found_before_anything_is_encoded(tmp_path):
    write_corpus(tmp_path)
    write(tmp_path / "jp" / "music" / "test.review", b"<items>\n<item>\xff")
    encoder = SentimentEncoder()
    with pytest.raises(InputError, match=r"jp/music/test\.review, line 2: not UTF-8"):
        evaluate_cls10(encoder, tmp_path)
    write(tmp_path / "en" / "music" / "train.review", item("5.0") * 3)
    with pytest.raises(InputError, match=r"en/music/train\.review: less than two classes"):
        evaluate_cls10(encoder, tmp_path)
    with pytest.raises(InputError, match="unknown classifier 'svm'; there are logreg and mlp"):
        evaluate_cls10(encoder, tmp_path, classifiers=["svm"])
    with pytest.raises(InputError, match="unknown language 'xx'"):
        evaluate_cls10(encoder, tmp_path, languages=["xx"])
    assert encoder.sentences == []


def test_languages_of_which_none_can_be_scored_are_refused(tmp_path):
    write_corpus(tmp_path, n=10)
    with pytest.raises(InputError, match=r"no language to score: it \(not in Webis-CLS-10\)"):
        evaluate_cls10(SentimentEncoder(), tmp_path, languages=["it", "en"])
