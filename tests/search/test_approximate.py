"""The approximate search: its recall is what it says, its neighbours are true, and it resumes to the same answer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ems.search import approximate
from ems.search.approximate import search_approximate
from ems.search.blocks import SearchState, search_blocks
from ems.search.unit_rows import unit_rows


def two_languages(count=3000, dimension=16, seed=0):
    """Topics with sentences around them, and a noisy translation of each sentence, in another order."""
    generator = np.random.default_rng(seed)
    topics = generator.standard_normal((60, dimension))
    source = topics[generator.integers(60, size=count)] + 1.2 * generator.standard_normal((count, dimension))
    target = (source + 0.3 * generator.standard_normal((count, dimension)))[generator.permutation(count)]
    return unit_rows(source).rows, unit_rows(target[: count - 100]).rows


@pytest.fixture(scope="module")
def sides():
    return two_languages()


@pytest.fixture(scope="module")
def exact(sides):
    return search_blocks(*sides, 4)


def shares_found(found, exact):
    """Of nearest neighbours, each weighted by the square of its distance to the mean of all four; and of all four."""
    weights = [(row[0] - sum(row) / len(row)) ** 2 for row in exact.similarity.tolist()]
    right = [other[0] == row[0] for row, other in zip(exact.index, found.index, strict=True)]
    every = np.mean([np.isin(row, other).mean() for row, other in zip(exact.index, found.index, strict=True)])
    return sum(weight for weight, is_right in zip(weights, right, strict=True) if is_right) / sum(weights), every


@pytest.mark.parametrize("shard_rows", [1_000_000, 800])
@pytest.mark.parametrize("recall", [0.5, 0.95])
def test_the_recall_asked_for_is_reached_and_the_one_reported_is_true(sides, exact, shard_rows, recall):
    found = search_approximate(*sides, 4, recall=recall, shard_rows=shard_rows)
    both = zip((found.forward, found.backward), exact, found.recall, found.neighbour_recall, strict=True)
    for side, whole, reported, of_all_neighbours in both:
        assert side.index.shape == whole.index.shape
        # The sample holds 1,000 of 3,000 queries: the standard deviation of a share is below 0.01.
        assert shares_found(side, whole) == pytest.approx((reported, of_all_neighbours), abs=0.03)
        assert reported >= recall - 0.03  # of shards; all of them together differ a little
        assert reported < 1 or recall > 0.5  # lists were left out


def test_a_recall_of_one_finds_the_nearest_neighbours_of_the_sample(sides, exact, monkeypatch):
    monkeypatch.setattr(approximate, "SAMPLE", 3000)  # all of them
    found = search_approximate(*sides, 4, recall=1.0, shard_rows=1100)
    assert found.recall == pytest.approx((1.0, 1.0))
    for side, whole in zip((found.forward, found.backward), exact, strict=True):
        assert (side.index[:, 0] == whole.index[:, 0]).mean() > 0.999  # nearly equal cosines may change places
        np.testing.assert_allclose(side.similarity[:, 0], whole.similarity[:, 0], atol=1e-6)


def test_similarities_belong_to_the_rows_that_are_named(sides):
    source, target = sides
    found = search_approximate(source, target, 4, recall=0.5, shard_rows=700)
    for (queries, rows), side in (((source, target), found.forward), ((target, source), found.backward)):
        cosines = np.einsum("nd,nkd->nk", queries, rows[side.index])
        np.testing.assert_allclose(side.similarity, cosines, atol=1e-6)
        assert (np.diff(side.similarity, axis=1) <= 0).all()
        assert all(len(set(row)) == 4 for row in side.index.tolist())


def test_no_more_lists_are_looked_into_than_the_recall_needs(sides):
    source, target = sides
    sample = approximate._take(source, approximate._evenly(len(source), 1000))
    exact = approximate._exact(sample, target, 0, len(target), 4)
    for recall in (0.95, 0.98, 0.99):
        shard = approximate._Shard(target, 0, len(target), sample, 4, recall)
        assert 1 < shard.num_lists < len(shard._centroids)
        found = {lists: shard._search(sample, lists)[0].numpy() for lists in (shard.num_lists, shard.num_lists - 1)}
        at_least, below = (approximate._recall(similarity, exact.similarity) for similarity in found.values())
        assert below < recall <= at_least


def test_every_row_gets_as_many_neighbours_as_there_are(monkeypatch):
    # Lists of a few rows each, of which one is looked into: too few for k without a second search.
    monkeypatch.setattr(approximate, "_ROWS_PER_LIST", 2)
    generator = np.random.default_rng(0)
    source, target = (unit_rows(generator.standard_normal((count, 8))).rows for count in (90, 70))
    found = search_approximate(source, target, 40, recall=0.0)
    assert (found.forward.index >= 0).all()
    assert (found.backward.index >= 0).all()
    assert found.forward.index.shape == (90, 40)
    small = search_approximate(source[:3], target[:2], 4)
    assert (small.forward.index.shape, small.backward.index.shape) == ((3, 2), (2, 3))
    assert small.recall == pytest.approx((1.0, 1.0))


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 7, 20, 40])
def test_a_stopped_search_goes_on_to_the_same_neighbours(sides, tmp_path, monkeypatch, steps):
    monkeypatch.setattr(approximate, "QUERY_ROWS", 500)
    monkeypatch.setattr(SearchState, "_is_due", lambda self: True)
    source, target = sides

    def state():
        return SearchState(len(source), len(target), 4, tmp_path / "state.npz")

    whole = search_approximate(source, target, 4, shard_rows=1000)  # 3 shards x 6 queries, both ways: 36 steps
    counter = itertools.count()
    search = approximate._Shard.search

    def stopping(shard, queries):
        if next(counter) == steps:
            raise StoppedError
        return search(shard, queries)

    with monkeypatch.context() as patch:
        patch.setattr(approximate._Shard, "search", stopping)
        try:
            search_approximate(source, target, 4, shard_rows=1000, state=state())
        except StoppedError:
            assert steps < 36
    assert state().done == min(steps, 36)
    resumed = search_approximate(source, target, 4, shard_rows=1000, state=state())
    assert resumed.recall == whole.recall
    for side in ("forward", "backward"):
        np.testing.assert_array_equal(getattr(resumed, side).index, getattr(whole, side).index)
        np.testing.assert_array_equal(getattr(resumed, side).similarity, getattr(whole, side).similarity)
