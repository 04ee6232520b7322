"""A step's pairs as a packed batch: truncation, targets, masking, micro-batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.data.collate import PackedBatch, collate, cut_micro_batches, describe_pairs, step_vocabulary
from ems.tokenizer import Tokenizer
from tests.token_pairs import token_pairs

SOURCES = [[10, 11, 12, 13], [20], [30, 31], [10, 11, 12, 13]]
TARGETS = [[15, 15], [25, 26, 27], [10, 11, 12, 13], [45]]
LANGS = [(0, 1), (0, 2), (3, 0), (0, 4)]
PAIRS = token_pairs(SOURCES, TARGETS, LANGS)


def sentences_of(batch: PackedBatch) -> list[list[int]]:
    """Read the token ids back, in row order: sources, then targets."""
    ids, offsets = batch.sentences.input_ids.tolist(), batch.sentences.offsets.tolist()
    return [ids[offsets[place] : offsets[place + 1]] for place in batch.sentences.restore.tolist()]


def targets_of(batch: PackedBatch) -> list[dict[int, float]]:
    rows: list[dict[int, float]] = [{} for _ in range(2 * batch.num_pairs)]
    entries = (batch.targets.rows.tolist(), batch.targets.tokens.tolist(), batch.targets.weights.tolist())
    for row, token, weight in zip(*entries, strict=True):
        rows[row][token] = pytest.approx(weight)
    return rows


def test_rows_are_sources_then_their_targets_in_the_order_asked_for() -> None:
    batch = collate(PAIRS, np.array([2, 0]), max_tokens=10)
    assert sentences_of(batch) == [[30, 31], [10, 11, 12, 13], [10, 11, 12, 13], [15, 15]]
    assert batch.num_pairs == 2
    assert batch.pair_rows.tolist() == [2, 0]


def test_each_row_reconstructs_the_other_side_in_its_language() -> None:
    batch = collate(PAIRS, np.array([0, 1, 2]), max_tokens=10)
    assert batch.other_langs.tolist() == [1, 2, 0, 0, 0, 3]
    assert targets_of(batch) == [
        {15: 1.0},
        {25: 1 / 3, 26: 1 / 3, 27: 1 / 3},
        {10: 0.25, 11: 0.25, 12: 0.25, 13: 0.25},
        {10: 0.25, 11: 0.25, 12: 0.25, 13: 0.25},
        {20: 1.0},
        {30: 0.5, 31: 0.5},
    ]


def test_the_kind_of_target_reaches_the_targets() -> None:
    batch = collate(PAIRS, np.array([0]), max_tokens=10, target="set")
    assert targets_of(batch)[0] == {15: 0.5}


def test_the_vocabulary_of_a_step_is_every_token_that_is_read_once_and_in_order() -> None:
    assert step_vocabulary(PAIRS, max_tokens=10).tolist() == [10, 11, 12, 13, 15, 20, 25, 26, 27, 30, 31, 45]
    assert step_vocabulary(PAIRS, max_tokens=1).tolist() == [10, 15, 20, 25, 30, 45]
    assert step_vocabulary(PAIRS, max_tokens=1, mask=True).tolist() == [Tokenizer.mask_id, 10, 15, 20, 25, 30, 45]


@pytest.mark.parametrize("mask_seed", [None, 5])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [2, 0]])
def test_with_a_vocabulary_targets_are_positions_in_it(rows: list[int], mask_seed: int | None) -> None:
    vocabulary = step_vocabulary(PAIRS, max_tokens=3, mask=mask_seed is not None)
    among_all = collate(PAIRS, np.array(rows), max_tokens=3, mask_seed=mask_seed)
    batch = collate(PAIRS, np.array(rows), max_tokens=3, mask_seed=mask_seed, vocabulary=vocabulary)
    assert among_all.vocabulary is None
    assert batch.vocabulary is not None
    assert batch.vocabulary.tolist() == vocabulary.tolist()
    assert batch.vocabulary[batch.targets.tokens].tolist() == among_all.targets.tokens.tolist()
    assert batch.targets.weights.tolist() == among_all.targets.weights.tolist()


def test_a_token_that_is_not_in_the_vocabulary_is_an_error() -> None:
    without_mask = step_vocabulary(PAIRS, max_tokens=3)
    for vocabulary in (without_mask, without_mask[:-1], without_mask[1:]):
        with pytest.raises(ValueError, match=r"token \d+ is not in the vocabulary of the step"):
            collate(PAIRS, np.arange(4), max_tokens=3, mask_seed=5, vocabulary=vocabulary)


def test_digests_tell_which_sentences_are_equal() -> None:
    batch = collate(PAIRS, np.arange(4), max_tokens=10)
    sources, targets = batch.src_digests.tolist(), batch.tgt_digests.tolist()
    assert sources[0] == sources[3] == targets[2]
    assert len({*sources, *targets}) == 6
    assert batch.src_digests.dtype == torch.int64


def test_long_sentences_are_cut_and_counted_in_the_targets_too() -> None:
    batch = collate(PAIRS, np.arange(4), max_tokens=2)
    assert sentences_of(batch)[:4] == [[10, 11], [20], [30, 31], [10, 11]]
    assert sentences_of(batch)[4:] == [[15, 15], [25, 26], [10, 11], [45]]
    assert targets_of(batch)[2] == {10: 0.5, 11: 0.5}
    assert batch.num_truncated == 4
    assert collate(PAIRS, np.arange(4), max_tokens=4).num_truncated == 0


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_choice_of_rows_gives_those_pairs(data: st.DataObject) -> None:
    sides = st.lists(st.lists(st.integers(3, 99), min_size=1, max_size=6), min_size=5, max_size=5)
    sources, targets = data.draw(sides), data.draw(sides)
    rows = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    limit = data.draw(st.integers(1, 7))
    batch = collate(token_pairs(sources, targets), np.array(rows), max_tokens=limit)
    assert sentences_of(batch) == [side[row][:limit] for side in (sources, targets) for row in rows]


def test_one_token_of_each_pair_is_masked_in_the_sentence_and_in_the_target() -> None:
    plain = sentences_of(collate(PAIRS, np.arange(4), max_tokens=10))
    batch = collate(PAIRS, np.arange(4), max_tokens=10, mask_seed=5)
    masked = sentences_of(batch)
    for pair in range(4):
        sides = [(plain[row], masked[row]) for row in (pair, pair + 4)]
        changed = [(a, b) for before, after in sides for a, b in zip(before, after, strict=True) if a != b]
        assert len(changed) == 1
        assert changed[0][1] == Tokenizer.mask_id
        for row, other in ((pair, pair + 4), (pair + 4, pair)):
            assert (Tokenizer.mask_id in masked[row]) == (Tokenizer.mask_id in targets_of(batch)[other])


def test_masking_changes_neither_digests_nor_the_pairs_themselves() -> None:
    before = PAIRS.src_tokens.copy(), PAIRS.tgt_tokens.copy()
    plain, masked = (collate(PAIRS, np.arange(4), max_tokens=10, mask_seed=seed) for seed in (None, 5))
    assert torch.equal(plain.src_digests, masked.src_digests)
    assert np.array_equal(before[0], PAIRS.src_tokens)
    assert np.array_equal(before[1], PAIRS.tgt_tokens)


def test_masking_depends_on_the_seed_and_the_position_in_the_stream_only() -> None:
    count = 40
    pairs = token_pairs([[10, 11, 12]] * count, [[20, 21]] * count)

    def masked(rows: np.ndarray, seed: int, first: int) -> list[tuple[list[int], list[int]]]:
        rows_of = sentences_of(collate(pairs, rows, max_tokens=9, mask_seed=seed, positions=rows + first))
        return list(zip(rows_of[: len(rows)], rows_of[len(rows) :], strict=True))

    whole = masked(np.arange(count), 1, 0)
    assert masked(np.arange(count)[::-1], 1, 0) == whole[::-1]
    assert masked(np.arange(10, 20), 1, 0) == whole[10:20]
    assert masked(np.arange(10), 1, 25) == whole[25:35]
    assert masked(np.arange(count), 2, 0) != whole


def test_side_and_place_of_the_mask_are_drawn_evenly() -> None:
    count = 6000
    pairs = token_pairs([[10, 11, 12]] * count, [[20, 21]] * count)
    rows = sentences_of(collate(pairs, np.arange(count), max_tokens=9, mask_seed=3))
    observed = [sum(row[i] == Tokenizer.mask_id for row in rows[:count]) for i in range(3)]
    observed += [sum(row[i] == Tokenizer.mask_id for row in rows[count:]) for i in range(2)]
    expected = [count / 6] * 3 + [count / 4] * 2
    assert sum(observed) == count
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    assert statistic < 18.5  # chi-square of 4 degrees of freedom, one in a thousand


def test_moving_keeps_everything() -> None:
    batch = collate(PAIRS, np.arange(4), max_tokens=10)
    moved = batch.to("meta")
    assert moved.num_pairs == 4
    assert moved.num_truncated == batch.num_truncated
    tensors = (moved.other_langs, moved.src_digests, moved.tgt_digests, moved.targets.weights, moved.targets.rows)
    assert all(tensor.device.type == "meta" for tensor in (*tensors, moved.sentences.input_ids))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 30), min_size=1, max_size=30), st.integers(30, 80))
def test_micro_batches_cover_the_step_in_order_and_stay_in_the_budget(counts: list[int], budget: int) -> None:
    cuts = cut_micro_batches(np.array(counts), budget)
    assert np.concatenate(cuts).tolist() == list(range(len(counts)))
    sums = [sum(counts[i] for i in cut) for cut in cuts]
    assert all(len(cut) > 0 for cut in cuts)
    assert max(sums) <= budget
    # No cut comes too early: the next pair would not have fitted.
    for used, following in zip(sums[:-1], cuts[1:], strict=True):
        assert used + counts[following[0]] > budget


def test_without_a_budget_a_step_stays_whole() -> None:
    (whole,) = cut_micro_batches(np.array([100, 200, 300]), None)
    assert whole.tolist() == [0, 1, 2]


def test_pairs_are_spelled_out_with_their_languages() -> None:
    class Spelling:
        def decode(self, ids: list[int]) -> str:
            return " ".join(map(str, ids))

    lines = describe_pairs(PAIRS, np.array([2, 1]), Spelling(), ["en", "de", "fr", "cs", "sk"])
    assert lines == ["cs: 30 31 | en: 10 11 12 13", "en: 20 | fr: 25 26 27"]
