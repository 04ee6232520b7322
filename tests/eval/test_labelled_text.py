"""Labelled texts: how tables of them are read, which rows are refused, and how splits are drawn."""

from __future__ import annotations

import csv
import gzip
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.errors import InputError
from ems.eval.benchmarks.labelled_text import Examples, keyed_fraction, read_polarities, read_table
from tests.eval.labelled_files import write


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


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20), st.text(max_size=4))
def test_a_fraction_does_not_depend_on_case_or_white_space_but_on_the_key(text, key):
    fraction = keyed_fraction(text, key)
    assert 0 <= fraction < 1
    assert keyed_fraction(f"  {text}\n", key) == fraction
    assert keyed_fraction(text.replace(" ", "\t "), key) == fraction
    assert keyed_fraction(text, key + "x") != fraction


def test_a_digest_covers_classes_by_number_or_name_and_ids_where_there_are_any():
    # Frozen: other lines would give the same data another digest.
    assert Examples(["a", "b"], [1, 0]).lines() == ["1\ta", "0\tb"]
    assert Examples(["a", "b"], [1, 0]).lines(("C", "E")) == ["E\ta", "C\tb"]
    assert Examples(["a", "b"], [1, 0], ["7", "3"]).lines(("C", "E")) == ["7\tE\ta", "3\tC\tb"]
