"""Statistics of a prepared corpus, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from ems.data import statistics
from ems.data.reports import FileReport
from ems.data.shards import open_shards
from ems.data.statistics import corpus_statistics, folder_table, statistics_table
from tests.data.small_corpus import WordTokenizer, prepare_all, write_tsv

# Ratios of lengths: 1, 1, 1, 1, 4, and the second pair comes twice.
PAIRS = [("a b", "c d"), ("e", "f"), ("e", "f"), ("e", "g"), ("h", "i j k l")]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    write_tsv(tmp_path / "corpus", {"a.en-de.tsv": PAIRS, "b.en-fr.tsv": [("x", "y z")] * 7})
    prepare_all(tmp_path / "corpus", tmp_path / "prepared", WordTokenizer())
    return tmp_path / "prepared"


def test_lengths_ratios_and_repetitions_of_each_language_pair(prepared: Path) -> None:
    french, german = corpus_statistics(open_shards(prepared, "words"))
    assert (french.languages, french.pairs, french.ratio) == (("en", "fr"), 7, (2.0, 2.0, 2.0))
    assert french.repeated == pytest.approx(6 / 7)
    assert (german.languages, german.pairs, german.sampled) == (("en", "de"), 5, 5)
    assert german.tokens == pytest.approx((6 / 5, 9 / 5))
    assert german.ratio[1] == 1.0
    assert german.far == pytest.approx(1 / 5)
    assert german.repeated == pytest.approx(1 / 5)
    assert german.distinct == pytest.approx((3 / 5, 4 / 5))


def test_of_a_large_language_pair_rows_spread_over_it_are_looked_at(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "SAMPLE", 3)
    _, german = corpus_statistics(open_shards(prepared, "words"))
    assert (german.pairs, german.sampled) == (5, 3)
    assert german.tokens == pytest.approx((4 / 3, 7 / 3))  # rows 0, 2 and 4


def test_repetitions_are_found_in_a_sample_of_a_large_language_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that come twice, far apart; one side of them three times as often."""
    rows = [(f"a{i} b", f"c{i // 3} d") for i in range(6000)]
    write_tsv(tmp_path / "corpus", {"a.en-de.tsv": rows, "b.en-de.tsv": rows})
    prepare_all(tmp_path / "corpus", tmp_path / "prepared", WordTokenizer(vocab_size=60_000))
    monkeypatch.setattr(statistics, "SAMPLE", 2000)
    (german,) = corpus_statistics(open_shards(tmp_path / "prepared", "words"))
    assert (german.pairs, german.sampled) == (12_000, 2000)
    # Words share ids now and then: 6,000 of them fall on 60,000.
    assert german.repeated == pytest.approx(1 / 2, abs=0.06)
    assert german.distinct == pytest.approx((1 / 2, 1 / 6), abs=0.06)


def test_one_sentence_over_and_over_counts_as_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tsv(tmp_path / "corpus", {"a.en-de.tsv": [("a b", "c d")] * 500})
    prepare_all(tmp_path / "corpus", tmp_path / "prepared", WordTokenizer())
    monkeypatch.setattr(statistics, "SAMPLE", 5)
    (german,) = corpus_statistics(open_shards(tmp_path / "prepared", "words"))
    assert german.repeated > 0.99
    assert max(german.distinct) < 0.01


def test_the_table_has_a_line_for_each_language_pair(prepared: Path) -> None:
    head, french, german = statistics_table(corpus_statistics(open_shards(prepared, "words"))).splitlines()
    assert head.split("  ")[0] == "languages"
    assert french.split() == [
        "en-fr",
        "7",
        "1.0",
        "2.0",
        "2.00",
        "(2.00-2.00)",
        "0.0",
        "%",
        "85.7",
        "%",
        "14",
        "%",
        "14",
        "%",
    ]
    assert german.startswith("en-de")


def test_folders_are_counted_where_there_are_several() -> None:
    reports = [FileReport("news/a.tsv", 5, 4), FileReport("talks/b.tsv", 10, 10), FileReport("news/c.tsv", 6, 6)]
    table = folder_table(reports)
    assert table is not None
    assert [line.split() for line in table.splitlines()] == [
        ["folder", "files", "pairs", "share"],
        ["news", "2", "10", "50.0", "%"],
        ["talks", "1", "10", "50.0", "%"],
    ]
    assert folder_table(reports[:1]) is None
