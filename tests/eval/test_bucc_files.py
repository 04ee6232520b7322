"""BUCC's files: sentences and gold pairs are read by id, and a malformed line is named."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.errors import InputError
from ems.eval.bucc_files import read_gold, read_sentences
from tests.eval.bucc_corpora import name


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_cut_at_the_first_tab_and_keep_the_rest(tmp_path, end):
    lines = ["de-000000007\teins\tzwei\t", "", "de-000000003\t", "de-000000009\t drei\u2028vier "]
    path = tmp_path / "de-en.sample.de"
    path.write_bytes(end.join(lines).encode())  # no end of the last line
    assert read_sentences(path, "de") == (
        ["de-000000007", "de-000000003", "de-000000009"],
        ["eins\tzwei\t", "", " drei\u2028vier "],
    )


sentences = st.text(st.characters(blacklist_characters="\n", blacklist_categories=["Cs"]), max_size=20).filter(
    lambda sentence: not sentence.endswith("\r")
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**9 - 1), sentences), min_size=1, max_size=8, unique_by=lambda row: row[0]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(0, 3),
)
def test_what_was_written_is_read(rows, end, last_end, blank_lines):
    text = "".join(f"{name('ru', number)}\t{sentence}{end}{end * blank_lines}" for number, sentence in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ru-en.test.ru"
        path.write_bytes((text if last_end else text.removesuffix(end)).encode())
        assert read_sentences(path, "ru") == ([name("ru", number) for number, _ in rows], [text for _, text in rows])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("de-000000001\ta\nde-000000002 b\n", r"x\.de, line 2: no tab between id and sentence: 'de-000000002 b'"),
        ("de-000000001\ta\n   \n", "line 2: no tab"),
        ("de-00000001\ta\n", "line 1: 'de-00000001' is not an id such as de-000000001"),
        ("en-000000001\ta\n", "line 1: 'en-000000001' is not an id such as de-000000001"),
        ("de-000000001 \ta\n", "line 1: 'de-000000001 ' is not an id"),
        ("de-00000000١\ta\n", "line 1: .* is not an id"),
        ("\n\nde-000000001\ta\nde-000000001\tb\n", "line 4: id de-000000001 was given in line 3 already"),
        ("\n\n", r"x\.de: no sentences in it"),
    ],
)
def test_a_malformed_sentence_is_named_by_line(tmp_path, text, message):
    (tmp_path / "x.de").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_sentences(tmp_path / "x.de", "de")


def gold_of(tmp_path, text):
    path = tmp_path / "de-en.sample.gold"
    path.write_bytes(text.encode())
    ids = [name("de", 1), name("de", 20)], [name("en", 1), name("en", 2)]
    return read_gold(path, tmp_path / "de-en.sample.de", ids[0], tmp_path / "de-en.sample.en", ids[1])


def test_gold_pairs_are_read_in_order_and_a_repeated_one_counts_once(tmp_path, caplog):
    text = "de-000000020\ten-000000001\r\n\r\nde-000000001\ten-000000002\r\nde-000000020\ten-000000001"
    assert gold_of(tmp_path, text) == [("de-000000020", "en-000000001"), ("de-000000001", "en-000000002")]
    assert "1 of 3 lines repeat a pair and count once" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("de-000000001\ten-000000001\nen-000000002\tde-000000020\n", "line 2: columns are swapped; expected the de id"),
        ("de-000000017\ten-000000001\n", r"line 1: id de-000000017 does not occur in .*sample\.de; nearest: de-0+20$"),
        ("de-000000001\ten-000000009\n", r"line 1: id en-000000009 does not occur in .*sample\.en; nearest: en-0+2$"),
        ("de-000000001 en-000000001\n", "line 1: expected de-000000001, a tab and en-000000001, found 'de-0+1 en-0+1'"),
        ("de-000000001\ten-000000001\t\n", "line 1: expected"),
        ("de-000000001\tde-000000020\n", "line 1: expected"),
        ("\n", r"sample\.gold: no pairs in it"),
    ],
)
def test_a_malformed_gold_pair_is_named_by_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        gold_of(tmp_path, text)
