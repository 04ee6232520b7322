"""The tokenised corpus on disk: written once, read back exactly."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.data import shard_writer, shards
from ems.data.corpus import Rules, find_files
from ems.data.shards import open_shards, prepare
from ems.languages import LANGUAGES
from tests.data.shard_rows import all_rows, arrays_of, expected_rows, rows_of, without_stamps
from tests.data.small_corpus import (
    LonelyTokenizer,
    WordTokenizer,
    numbered,
    prepare_all,
    write_jsonl,
    write_tsv,
)


def test_every_pair_comes_back_as_its_tokens(tmp_path: Path, corpus: Path) -> None:
    tokenizer = WordTokenizer()
    manifest = prepare_all(corpus, tmp_path / "out", tokenizer)
    folder = open_shards(tmp_path / "out", "words")
    assert folder.language_pairs == [("de", "fr"), ("en", "de"), ("en", "fr")]
    assert folder.languages == ["de", "en", "fr"]
    assert folder.counts.tolist() == [3, 65, 30]
    assert len(folder) == manifest.pairs == 98
    assert all_rows(folder, ("en", "fr")) == expected_rows(numbered("en-fr", 30), ("en", "fr"), tokenizer)
    assert manifest.rejected == {}


def test_both_directions_of_a_language_pair_are_one_in_the_direction_that_came_first(
    tmp_path: Path, corpus: Path
) -> None:
    tokenizer = WordTokenizer()
    manifest = prepare_all(corpus, tmp_path / "out", tokenizer)
    turned = [(en, de) for de, en in numbered("de-en", 25, first=100)]
    folder = open_shards(tmp_path / "out", "words")
    expected = expected_rows(numbered("en-de", 40) + turned, ("en", "de"), tokenizer)
    assert all_rows(folder, ("en", "de")) == expected
    total = next(total for total in manifest.language_pairs if total.languages == ("en", "de"))
    assert total.src_tokens == sum(len(row[0]) for row in expected)
    assert total.tgt_tokens == sum(len(row[1]) for row in expected)
    index = folder.language_pairs.index(("en", "de"))
    sources, targets = (np.concatenate(side) for side in zip(*folder.digests(index), strict=True))
    pairs = folder.fetch(np.full(65, index), np.arange(65))
    assert np.array_equal(sources, pairs.src_digests)
    assert np.array_equal(targets, pairs.tgt_digests)


def test_any_rows_in_any_order_with_repeats_equal_a_row_by_row_reading(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tmp_path = tmp_path_factory.mktemp("any_rows")
    files = {
        f"{name}.tsv": numbered(name.partition(".")[2], 5 + len(name)) for name in ("a.en-de", "b.de-en", "c.en-fr")
    }
    write_tsv(tmp_path / "corpus", files)
    prepare_all(tmp_path / "corpus", tmp_path / "out", WordTokenizer())
    folder = open_shards(tmp_path / "out", "words")
    reference = [all_rows(folder, pair) for pair in folder.language_pairs]

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1, exclude_max=True)), max_size=40))
    def check(draws: list[tuple[int, float]]) -> None:
        pair_index = np.array([pair for pair, _ in draws], dtype=np.int64)
        rows = np.array([int(u * folder.counts[pair]) for pair, u in draws], dtype=np.int64)
        expected = [reference[pair][row] for pair, row in zip(pair_index, rows, strict=True)]
        assert rows_of(folder, pair_index, rows) == expected
        src_lengths, tgt_lengths = folder.lengths(pair_index, rows)
        assert src_lengths.tolist() == [len(row[0]) for row in expected]
        assert tgt_lengths.tolist() == [len(row[1]) for row in expected]

    check()


def test_types_and_offsets_are_what_is_promised(tmp_path: Path, corpus: Path) -> None:
    prepare_all(corpus, tmp_path / "out", WordTokenizer())
    pairs = open_shards(tmp_path / "out", "words").fetch(np.array([1, 0]), np.array([64, 0]))
    assert pairs.src_tokens.dtype == pairs.tgt_tokens.dtype == np.int32
    assert pairs.src_offsets.dtype == pairs.src_langs.dtype == np.int64
    assert pairs.src_digests.dtype == pairs.tgt_digests.dtype == np.uint64
    assert pairs.src_offsets[0] == 0
    assert pairs.src_offsets[-1] == len(pairs.src_tokens)


@pytest.mark.parametrize(("vocab_size", "width"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
def test_ids_take_two_bytes_while_the_vocabulary_fits(tmp_path: Path, vocab_size: int, width: int) -> None:
    write_tsv(tmp_path / "corpus", {"en-de.tsv": numbered("en-de", 300)})
    tokenizer = WordTokenizer(vocab_size)
    manifest = prepare_all(tmp_path / "corpus", tmp_path / "out", tokenizer)
    assert manifest.files[0].arrays.tokens.bytes == width * manifest.files[0].tokens
    folder = open_shards(tmp_path / "out", "words")
    assert all_rows(folder, ("en", "de")) == expected_rows(numbered("en-de", 300), ("en", "de"), tokenizer)


def test_lines_of_many_languages_are_grouped_and_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_writer, "_ROWS_AT_ONCE", 64)  # so that rows of one language pair come from many blocks
    rng = np.random.default_rng(0)
    codes = ["en", "de", "fr", "cs", "pl", "sw"]
    rows = []
    for i in range(1000):
        src, tgt = rng.choice(codes, 2, replace=False).tolist()
        rows.append((src, tgt, f"{src}{i} " + "a " * (i % 9), f"{tgt}{i} " + "b " * (i % 4)))
    (tmp_path / "corpus").mkdir()
    write_jsonl(tmp_path / "corpus" / "mixed.jsonl", rows)
    tokenizer = WordTokenizer()
    prepare_all(tmp_path / "corpus", tmp_path / "out", tokenizer)
    folder = open_shards(tmp_path / "out", "words")
    assert len(folder) == 1000
    assert len(folder.language_pairs) == 15
    for src, tgt in folder.language_pairs:
        # Rows of both directions, the direction that came first in the file ahead.
        same = [(s, t) for a, b, s, t in rows if (a, b) == (src, tgt)]
        turned = [(t, s) for a, b, s, t in rows if (b, a) == (src, tgt)]
        assert all_rows(folder, (src, tgt)) == expected_rows(same + turned, (src, tgt), tokenizer)


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path: Path, corpus: Path) -> None:
    write_jsonl(corpus / "e.jsonl", [("en", "de", f"e{i}", f"d{i}") for i in range(50)] + [("de", "cs", "a", "b")])
    write_tsv(corpus, {"f.en-cs.tsv": numbered("en-cs", 20_000)})  # several blocks
    manifests = {
        workers: prepare_all(
            corpus, tmp_path / str(workers), LonelyTokenizer() if workers else WordTokenizer(), workers=workers
        )
        for workers in (0, 1, 2)
    }
    assert without_stamps(manifests[0]) == without_stamps(manifests[1]) == without_stamps(manifests[2])
    assert manifests[0].digest == manifests[1].digest
    assert arrays_of(tmp_path / "0") == arrays_of(tmp_path / "1") == arrays_of(tmp_path / "2")


def test_digests_come_in_blocks_in_the_order_of_rows(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_ROWS_AT_ONCE", 7)
    prepare_all(corpus, tmp_path / "out", WordTokenizer())
    folder = open_shards(tmp_path / "out", "words")
    for index, count in enumerate(folder.counts.tolist()):
        blocks = list(folder.digests(index))
        assert max(len(sources) for sources, _ in blocks) <= 7
        pairs = folder.fetch(np.full(count, index), np.arange(count))
        assert np.array_equal(np.concatenate([sources for sources, _ in blocks]), pairs.src_digests)
        assert np.array_equal(np.concatenate([targets for _, targets in blocks]), pairs.tgt_digests)


def test_equal_sentences_have_equal_digests_wherever_they_stand(tmp_path: Path) -> None:
    write_tsv(
        tmp_path / "corpus",
        {"a.en-de.tsv": [("same words", "eins"), ("other", "same words")], "b.fr-en.tsv": [("un", "same words")]},
    )
    prepare_all(tmp_path / "corpus", tmp_path / "out", WordTokenizer())
    pairs = open_shards(tmp_path / "out", "words").fetch(np.array([0, 0, 1]), np.array([0, 1, 0]))
    assert pairs.src_digests[0] == pairs.tgt_digests[1] == pairs.tgt_digests[2]
    assert len({*pairs.src_digests.tolist(), *pairs.tgt_digests.tolist()}) == 4


@pytest.mark.parametrize(
    ("pair_index", "rows", "message"),
    [
        ([3], [0], "language pairs"),
        ([-1], [0], "language pairs"),
        ([0], [3], "row"),
        ([0], [-1], "row"),
        ([0, 1], [0], "length"),
    ],
)
def test_rows_that_do_not_exist_are_refused(
    tmp_path: Path, corpus: Path, pair_index: list[int], rows: list[int], message: str
) -> None:
    prepare_all(corpus, tmp_path / "out", WordTokenizer())
    folder = open_shards(tmp_path / "out", "words")
    for read in (folder.fetch, folder.lengths):
        with pytest.raises(ValueError, match=message):
            read(np.array(pair_index), np.array(rows))


@pytest.mark.data
@pytest.mark.slow
def test_real_text_is_prepared_whole_and_reopens_at_once(tmp_path: Path, data_folder: Path) -> None:
    from ems.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_sentencepiece(data_folder / "tokenizer" / "62languages_bpe_60000.model")
    files = find_files(["wikipedia_app/*.tsv.gz"], data_folder / "train", registry=LANGUAGES)
    manifest = prepare(files, tokenizer, tmp_path, registry=LANGUAGES, rules=Rules(), workers=2)
    assert manifest.pairs == 33_939
    assert len(manifest.language_pairs) == 59
    started = time.monotonic()
    assert prepare(files, tokenizer, tmp_path, registry=LANGUAGES, rules=Rules()) == manifest
    folder = open_shards(tmp_path, tokenizer.fingerprint)
    assert time.monotonic() - started < 2
    pairs = folder.fetch(np.arange(59), np.zeros(59, dtype=np.int64))
    assert pairs.src_tokens.min() > 0
    assert pairs.src_tokens.max() < tokenizer.vocab_size
