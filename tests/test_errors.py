"""The nearest valid word that messages name."""

from __future__ import annotations

import pytest

from ems.errors import nearest

WORDS = ("distance", "absolute", "ratio")


@pytest.mark.parametrize(("word", "near"), [("ration", "ratio"), ("distanse", "distance"), ("absolut", "absolute")])
def test_the_word_with_the_most_letters_in_common_is_named(word, near):
    assert nearest(word, WORDS) == near


@pytest.mark.parametrize("word", ["xyz", "", 7, None])
def test_some_word_is_named_for_whatever_was_given(word):
    assert nearest(word, WORDS) in WORDS


def test_no_word_is_named_where_none_is_alike_enough_or_there_is_none():
    assert nearest("xyz", WORDS, at_least=0.5) == ""
    assert nearest("ration", WORDS, at_least=0.5) == "ratio"
    assert nearest("ratio", ()) == ""
