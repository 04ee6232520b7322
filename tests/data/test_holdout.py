"""Held-out pairs: how many, which, and that none of their sentences is trained on."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ems.data import holdout, shards
from ems.data.holdout import HoldOut, hold_out
from ems.data.shards import ShardFolder, open_shards
from ems.errors import InputError
from tests.data.small_corpus import WordTokenizer, numbered, prepare_all, write_tsv

Files = dict[str, list[tuple[str, str]]]


def prepared(tmp_path: Path, files: Files) -> ShardFolder:
    write_tsv(tmp_path / "corpus", files)
    prepare_all(tmp_path / "corpus", tmp_path / "out", WordTokenizer())
    return open_shards(tmp_path / "out", "words")


def digests_of(folder: ShardFolder, pair_index: int) -> np.ndarray:
    """All digests of a language pair: uint64 (n, 2)."""
    return np.concatenate([np.stack(sides, axis=1) for sides in folder.digests(pair_index)])


def training_rows(held_out: HoldOut, pair_index: int) -> np.ndarray:
    count = int(held_out.counts[pair_index])
    return held_out.training_rows(np.full(count, pair_index), np.arange(count))


def check_against_plain_sets(folder: ShardFolder, held_out: HoldOut) -> None:
    """Training rows are exactly the rows that share no sentence with any validation pair."""
    validation = [digests_of(folder, pair)[rows] for pair, rows in enumerate(held_out.validation)]
    sentences = {digest for pairs in validation for digest in pairs.ravel().tolist()}
    for pair in range(len(folder.counts)):
        expected = [
            row for row, sides in enumerate(digests_of(folder, pair).tolist()) if not sentences.intersection(sides)
        ]
        assert training_rows(held_out, pair).tolist() == expected
        assert len(np.unique(validation[pair])) == 2 * len(validation[pair])


def shared_english(languages: list[str], count: int) -> Files:
    """The same English sentences in many languages, in another order for each."""
    files = {}
    for number, language in enumerate(languages):
        order = np.random.default_rng(number).permutation(count).tolist()
        files[f"en-{language}.tsv"] = [(f"english {i}", f"{language} {i}") for i in order]
    return files


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["en-de.tsv", "de-en.jsonl.tsv", "a.en-de.tsv", "en-fr.tsv", "de-fr.tsv"]),
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=80),
        min_size=1,
    ),
    st.integers(0, 30),
    st.integers(0, 2**32 - 1),
)
def test_no_sentence_of_a_validation_pair_is_trained_on(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, list[tuple[int, int]]], limit: int, seed: int
) -> None:
    # Few distinct sentences, the same ones in all languages, so that nearly everything is shared.
    files = {name.replace(".jsonl", ""): [(f"s {a}", f"s {b} t") for a, b in pairs] for name, pairs in drawn.items()}
    folder = prepared(tmp_path_factory.mktemp("hold"), files)
    held_out = hold_out(folder, pairs_per_language_pair=limit, seed=seed)
    check_against_plain_sets(folder, held_out)
    for rows, count in zip(held_out.validation, folder.counts, strict=True):
        assert len(rows) <= min(limit, count // 10)


def test_a_large_language_pair_gives_as_many_pairs_as_asked_for(tmp_path: Path) -> None:
    folder = prepared(tmp_path, {"en-de.tsv": numbered("en-de", 1000), "en-fr.tsv": numbered("en-fr", 95, first=5000)})
    held_out = hold_out(folder, pairs_per_language_pair=50, seed=1)
    assert [len(rows) for rows in held_out.validation] == [50, 9]
    assert held_out.counts.tolist() == [950, 86]
    assert all(np.all(np.diff(rows) > 0) for rows in held_out.validation)


def test_the_choice_follows_from_the_sentences_not_from_files_or_order(tmp_path: Path) -> None:
    pairs = numbered("en-de", 600)
    shuffled = [pairs[i] for i in np.random.default_rng(0).permutation(600)]
    arrangements: list[Files] = [
        {"en-de.tsv": pairs, "en-fr.tsv": numbered("en-fr", 200, first=5000)},
        {"z.en-de.tsv": shuffled[:100], "a.en-de.tsv": shuffled[100:], "en-fr.tsv": numbered("en-fr", 200, first=5000)},
        # Turned round, and beside another language pair.
        {"de-en.tsv": [(tgt, src) for src, tgt in shuffled], "en-fr.tsv": numbered("en-fr", 200, first=7000)},
    ]
    found = []
    for number, files in enumerate(arrangements):
        (tmp_path / str(number)).mkdir()
        folder = prepared(tmp_path / str(number), files)
        held_out = hold_out(folder, pairs_per_language_pair=20, seed=3)
        index = next(i for i, pair in enumerate(folder.language_pairs) if set(pair) == {"en", "de"})
        found.append({frozenset(sides) for sides in digests_of(folder, index)[held_out.validation[index]].tolist()})
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 20


def test_another_seed_holds_out_other_pairs(tmp_path: Path) -> None:
    folder = prepared(tmp_path, {"en-de.tsv": numbered("en-de", 1000)})
    chosen = [set(hold_out(folder, pairs_per_language_pair=100, seed=seed).validation[0].tolist()) for seed in (1, 2)]
    # Two independent choices of a tenth share 10 of 100 rows on average, with a standard deviation of 2.8.
    assert len(chosen[0] & chosen[1]) < 25


def test_the_choice_is_spread_evenly_over_the_rows(tmp_path: Path) -> None:
    folder = prepared(tmp_path, {"en-de.tsv": numbered("en-de", 2000)})
    rows = np.concatenate([hold_out(folder, pairs_per_language_pair=200, seed=s).validation[0] for s in range(20)])
    observed = np.bincount(rows // 100, minlength=20)  # 4000 draws, 200 a cell
    assert ((observed - 200) ** 2 / 200).sum() < 19 + 4 * np.sqrt(2 * 19)


def test_language_pairs_hold_out_the_same_english_sentences(tmp_path: Path) -> None:
    folder = prepared(tmp_path, shared_english(["de", "fr", "cs", "pl", "sw", "ta"], 400))
    held_out = hold_out(folder, pairs_per_language_pair=30, seed=0)
    assert all(len(rows) == 30 for rows in held_out.validation)
    # Chosen pair by pair it would be about 400 * (1 - 0.925 ** 6) = 149 English sentences, in every language.
    assert held_out.counts.tolist() == [370] * 6
    check_against_plain_sets(folder, held_out)


def test_one_translation_of_a_sentence_is_held_out_and_the_others_are_not_trained_on(tmp_path: Path) -> None:
    pairs = [(f"english {i}", f"deutsch {i} {variant}") for i in range(100) for variant in range(3)]
    folder = prepared(tmp_path, {"en-de.tsv": pairs, "en-fr.tsv": numbered("en-fr", 30)})
    held_out = hold_out(folder, pairs_per_language_pair=10, seed=0)
    assert len(held_out.validation[0]) == 10
    assert held_out.counts[0] == 270
    check_against_plain_sets(folder, held_out)


def test_training_rows_skip_excluded_ones_also_at_both_ends(tmp_path: Path) -> None:
    held_out = HoldOut(
        validation=[np.array([0]), np.array([], dtype=np.int64), np.array([], dtype=np.int64), np.array([4])],
        counts=np.array([3, 2, 0, 3]),  # of 6, 2, 2 and 5 rows
        excluded_starts=np.array([0, 3, 3, 5, 7]),
        places=np.array([0, 1, 3, 5, 5, 7, 8]),  # rows 0, 2, 5 of the first, 0, 1 of the third, 2, 4 of the fourth
    )
    pair_index, r = np.array([0, 0, 0, 1, 1, 3, 3, 3]), np.array([0, 1, 2, 0, 1, 0, 1, 2])
    assert held_out.training_rows(pair_index, r).tolist() == [1, 3, 4, 0, 1, 0, 1, 3]
    for pair, row in ((0, 3), (2, 0), (1, -1)):
        with pytest.raises(ValueError, match="no such training row"):
            held_out.training_rows(np.array([pair]), np.array([row]))


def test_blocks_of_any_size_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepared(tmp_path, shared_english(["de", "fr"], 300) | {"de-fr.tsv": numbered("de-fr", 100)})
    whole = holdout._made(folder, 20, 5, tmp_path / "held out" / "whole")
    monkeypatch.setattr(shards, "_ROWS_AT_ONCE", 7)
    assert same(whole, holdout._made(folder, 20, 5, tmp_path / "held out" / "cut"))


def same(a: HoldOut, b: HoldOut) -> bool:
    return (
        all(np.array_equal(x, y) for x, y in zip(a.validation, b.validation, strict=True))
        and np.array_equal(a.counts, b.counts)
        and np.array_equal(a.excluded_starts, b.excluded_starts)
        and np.array_equal(a.places, b.places)
    )


@pytest.mark.parametrize("limit", [0, 10])
def test_a_second_start_reads_what_the_first_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    folder = prepared(tmp_path, {"en-de.tsv": numbered("en-de", 300)})
    first = hold_out(folder, pairs_per_language_pair=limit, seed=0)
    assert first.counts.tolist() == [300 - limit]
    computed: list[int] = []
    compute = holdout._compute
    monkeypatch.setattr(holdout, "_compute", lambda *args: computed.append(1) or compute(*args))
    assert same(first, hold_out(open_shards(tmp_path / "out", "words"), pairs_per_language_pair=limit, seed=0))
    assert not computed
    hold_out(folder, pairs_per_language_pair=limit, seed=1)
    assert len(computed) == 1
    hold_out(folder, pairs_per_language_pair=limit + 1, seed=1)
    assert len(computed) == 2
    write_tsv(tmp_path / "corpus", {"en-fr.tsv": numbered("en-fr", 30)})
    prepare_all(tmp_path / "corpus", tmp_path / "out", WordTokenizer())
    hold_out(open_shards(tmp_path / "out", "words"), pairs_per_language_pair=limit + 1, seed=1)
    assert len(computed) == 3
    assert len(list((tmp_path / "out" / "held_out").iterdir())) == 1  # what is out of date is removed


@pytest.mark.parametrize("name", ["index.json", "validation.npy", "excluded.bin"])
@pytest.mark.parametrize("how", ["flip", "flip last digit", "cut", "remove", "empty"])
def test_a_damaged_result_is_found_and_made_again(tmp_path: Path, name: str, how: str) -> None:
    folder = prepared(tmp_path, {"en-de.tsv": numbered("en-de", 300)})
    first = hold_out(folder, pairs_per_language_pair=10, seed=0)
    first = replace(first, places=first.places.copy())  # which are mapped from a file that is cut below
    [path] = (tmp_path / "out" / "held_out").rglob(name)
    content = path.read_bytes()
    if how == "remove":
        path.unlink()
    else:
        flipped = content[:20] + bytes([content[20] ^ 1]) + content[21:]
        digit = max(content.rfind(b"%d" % i) for i in range(10))
        misread = content[:digit] + bytes([content[digit] ^ 1]) + content[digit + 1 :]
        path.write_bytes({"flip": flipped, "flip last digit": misread, "cut": content[:-9], "empty": b""}[how])
    assert same(first, hold_out(folder, pairs_per_language_pair=10, seed=0))
    assert path.read_bytes() == content


def test_a_language_pair_with_nothing_left_is_named_and_not_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"en-de.tsv": numbered("en-de", 100)}
    folder = prepared(tmp_path, files)
    held_out = hold_out(folder, pairs_per_language_pair=5, seed=0)
    shared = [numbered("en-de", 100)[row][1] for row in held_out.validation[0]]
    more = tmp_path / "more"
    more.mkdir()
    folder = prepared(more, files | {"de-fr.tsv": [(sentence, f"fr {i}") for i, sentence in enumerate(shared)]})
    with caplog.at_level(logging.WARNING):
        held_out = hold_out(folder, pairs_per_language_pair=5, seed=0)
    assert folder.language_pairs == [("de", "fr"), ("en", "de")]
    assert held_out.counts.tolist() == [0, 95]
    assert "de-fr" in caplog.text
    assert "en-de" not in caplog.text


def test_a_corpus_with_nothing_left_is_refused(tmp_path: Path) -> None:
    folder = prepared(tmp_path, {"en-de.tsv": [("the same", f"de {i}") for i in range(50)]})
    with pytest.raises(InputError, match="none is left to train on"):
        hold_out(folder, pairs_per_language_pair=5, seed=0)


def test_a_negative_number_is_refused(tmp_path: Path) -> None:
    folder = prepared(tmp_path, {"en-de.tsv": numbered("en-de", 20)})
    with pytest.raises(ValueError, match="-1"):
        hold_out(folder, pairs_per_language_pair=-1, seed=0)
