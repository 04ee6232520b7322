"""Which pairs make a step: shares, passes without repeats, ranks, resuming."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.data.stream import PairStream, deal_by_length, split_ranks


def draw(stream: PairStream, steps: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = [stream.next() for _ in range(steps)]
    return np.concatenate([pair_index for pair_index, _ in drawn]), np.concatenate([rows for _, rows in drawn])


def make(counts: list[int], *, pairs: int = 16, temperature: float = 2.0, seed: int = 1) -> PairStream:
    return PairStream(np.array(counts), pairs=pairs, sampling_temperature=temperature, seed=seed)


def test_shares_are_worked_out_by_hand() -> None:
    assert np.allclose(make([900, 100], temperature=1).shares, [0.9, 0.1])
    assert np.allclose(make([900, 100], temperature=2).shares, [0.75, 0.25])  # 30 : 10
    assert np.allclose(make([900, 100, 0], temperature=float("inf")).shares, [0.5, 0.5, 0])


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0, float("inf")])
def test_drawn_shares_follow_the_sampling_temperature(temperature: float) -> None:
    stream = make([100_000, 10_000, 0, 1000, 10], pairs=500, temperature=temperature)
    pair_index, _ = draw(stream, 100)
    observed = np.bincount(pair_index, minlength=5)
    expected = stream.shares * 50_000
    drawable = expected > 0
    statistic = ((observed - expected)[drawable] ** 2 / expected[drawable]).sum()
    assert statistic < 3 + 4 * np.sqrt(2 * 3)  # chi-square of 3 degrees of freedom
    assert observed[2] == 0


def test_no_row_repeats_within_a_pass_and_every_pass_has_all_rows() -> None:
    counts = [1, 2, 7, 40]
    pair_index, rows = draw(make(counts, pairs=13, temperature=3), 60)
    for pair, n in enumerate(counts):
        mine = rows[pair_index == pair]
        assert len(mine) > 2 * n
        for start in range(0, len(mine) - n + 1, n):
            assert np.array_equal(np.sort(mine[start : start + n]), np.arange(n))


def test_passes_come_in_different_orders_and_seeds_and_language_pairs_too() -> None:
    pair_index, rows = draw(make([50, 50], pairs=10, temperature=1), 60)
    first, second = rows[pair_index == 0][:50], rows[pair_index == 0][50:100]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, rows[pair_index == 1][:50])
    other_pairs, other_rows = draw(make([50, 50], pairs=10, temperature=1, seed=2), 60)
    assert not np.array_equal(pair_index, other_pairs)
    assert not np.array_equal(first, other_rows[other_pairs == 0][:50])


def test_rows_of_the_first_steps_are_uniform_over_the_language_pair() -> None:
    rows = np.concatenate([draw(make([1000], pairs=50, seed=seed), 4)[1] for seed in range(100)])
    observed = np.bincount(rows // 20, minlength=50)  # 20,000 draws, 400 a cell
    assert ((observed - 400) ** 2 / 400).sum() < 49 + 4 * np.sqrt(2 * 49)


def test_the_stream_does_not_depend_on_how_it_is_cut_into_steps() -> None:
    whole = draw(make([30, 500, 7], pairs=60), 4)
    cut = draw(make([30, 500, 7], pairs=10), 24)
    assert np.array_equal(whole[0], cut[0])
    assert np.array_equal(whole[1], cut[1])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_resuming_from_json_replays_and_skips_nothing(steps: int, seed: int) -> None:
    stream = make([11, 300, 2], pairs=9, seed=seed)
    for _ in range(steps):
        stream.next()
    saved = json.loads(json.dumps(stream.state()))
    resumed = make([11, 300, 2], pairs=9, seed=seed)
    resumed.restore(saved)
    assert resumed.step == steps
    for expected, found in zip(draw(stream, 8), draw(resumed, 8), strict=True):
        assert np.array_equal(expected, found)
    assert saved != stream.state() == resumed.state()


def test_restore_refuses_a_foreign_state_and_changes_nothing() -> None:
    stream = make([5, 5], pairs=4)
    stream.next()
    before = stream.state()
    for state in ({"step": 1, "drawn": [4]}, {"step": 2, "drawn": [4, 0]}, {"step": 1, "drawn": [5, -1]}):
        with pytest.raises(ValueError, match="state"):
            stream.restore(state)
        assert stream.state() == before


@pytest.mark.parametrize(
    ("counts", "pairs", "temperature", "message"),
    [
        ([], 4, 2, "counts"),
        ([0, 0], 4, 2, "counts"),
        ([3, -1], 4, 2, "counts"),
        ([3], 0, 2, "pairs"),
        ([3], 4, 0.5, "0.5"),
    ],
)
def test_unusable_arguments_are_refused(counts: list[int], pairs: int, temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(counts, pairs=pairs, temperature=temperature)


@settings(deadline=None)
@given(st.lists(st.integers(2, 240), min_size=1, max_size=100), st.integers(1, 9))
def test_ranks_cover_a_step_once_in_even_parts(token_counts: list[int], world_size: int) -> None:
    counts = np.array(token_counts)
    if world_size > len(counts):
        with pytest.raises(ValueError, match="ranks"):
            split_ranks(counts, world_size)
        return
    parts = split_ranks(counts, world_size)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(counts)))
    assert {len(part) for part in parts} <= {len(counts) // world_size, len(counts) // world_size + 1}
    sums = [int(counts[part].sum()) for part in parts]
    assert max(sums) - min(sums) <= counts.max()


def test_the_same_step_for_one_two_and_three_ranks_with_even_tokens() -> None:
    rng = np.random.default_rng(0)
    token_counts = rng.integers(4, 200, 128)
    for world_size in (1, 2, 3):
        streams = [make([1000, 50], pairs=128) for _ in range(world_size)]
        steps = [stream.next() for stream in streams]
        parts = split_ranks(token_counts, world_size)
        union = np.zeros((2, 128), dtype=np.int64)
        for (pair_index, rows), part in zip(steps, parts, strict=True):
            union[:, part] = pair_index[part], rows[part]
        assert np.array_equal(union, np.stack(make([1000, 50], pairs=128).next()))
        sums = np.array([token_counts[part].sum() for part in parts])
        assert sums.max() / sums.mean() < 1.02


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_a_stream_that_goes_back_is_where_it_was(steps: int, more: int, seed: int) -> None:
    stream = make([11, 300, 0, 2], pairs=9, seed=seed)
    for _ in range(steps):
        stream.next()
    before = stream.state()
    for _ in range(more):
        stream.next()
    stream.rewind(steps)
    assert stream.state() == before
    for step in (-1, steps + 1):
        with pytest.raises(ValueError, match="not among"):
            stream.rewind(step)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_dealt_by_length_each_pair_comes_once_and_steps_do_not_overlap(steps: int, pairs: int, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(2, 60, steps * pairs)
    dealt = deal_by_length(counts, steps, seed=seed, window=3)
    assert dealt.shape == (steps, pairs)
    assert np.array_equal(np.sort(dealt.ravel()), np.arange(steps * pairs))
    spans = sorted((counts[step].min(), counts[step].max()) for step in dealt)
    assert all(longest <= shortest for (_, longest), (shortest, _) in itertools.pairwise(spans))


def test_long_and_short_steps_come_in_another_order_each_window() -> None:
    counts = np.arange(40)
    orders = {tuple(deal_by_length(counts, 4, seed=0, window=window)[:, 0]) for window in range(30)}
    assert len(orders) > 10
    assert {order[0] for order in orders} == {0, 10, 20, 30}
