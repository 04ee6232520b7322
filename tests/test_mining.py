"""Neighbours, margins and strategies against a slow reference in double precision."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ems.mining import (
    MARGINS,
    STRATEGIES,
    margin_score,
    mine_bitext,
    mutual_neighbours,
    score_candidates,
    unit_rows,
)

# --- a slow reference, one number at a time in double precision, written from the formulas ---


def reference_cosines(source, target):
    def unit(row):
        norm = math.sqrt(math.fsum(float(v) ** 2 for v in row))
        return [float(v) / norm if norm else 0.0 for v in row]

    sources, targets = [unit(row) for row in source], [unit(row) for row in target]
    return [[math.fsum(a * b for a, b in zip(s, t, strict=True)) for t in targets] for s in sources]


def reference_neighbours(cosines, k):
    """Lowest indices kept among equals, listed from the highest down; one neighbour: the lowest."""
    lists = []
    for row in cosines:
        kept = sorted(range(len(row)), key=lambda j: (-row[j], j))[:k]
        lists.append(kept if k == 1 else sorted(kept, key=lambda j: (-row[j], -j)))
    return lists


def reference_mining(source, target, margin, strategy, k, threshold=0.0):
    cos = reference_cosines(source, target)
    cos_back = [list(column) for column in zip(*cos, strict=True)]
    forward, backward = reference_neighbours(cos, k), reference_neighbours(cos_back, k)
    forward_mean = [sum(cos[i][j] for j in js) / len(js) for i, js in enumerate(forward)]
    backward_mean = [sum(cos[i][j] for i in rows) / len(rows) for j, rows in enumerate(backward)]

    def score(i, j):
        mean = (forward_mean[i] + backward_mean[j]) / 2
        if margin == "ratio":
            return cos[i][j] / mean
        return cos[i][j] - mean if margin == "distance" else cos[i][j]

    # max() gives the first of equals, as argmax does.
    fwd = [max(((score(i, j), i, j) for j in js), key=lambda t: t[0]) for i, js in enumerate(forward)]
    bwd = [max(((score(i, j), i, j) for i in rows), key=lambda t: t[0]) for j, rows in enumerate(backward)]
    if strategy == "fwd":
        return fwd
    if strategy == "bwd":
        return bwd
    if strategy == "intersect":
        return [(s, i, j) for s, i, j in fwd if bwd[j][1] == i]
    used_i, used_j, written = set(), set(), []
    for s, i, j in sorted(fwd + bwd, key=lambda t: -t[0]):
        if i not in used_i and j not in used_j:
            used_i.add(i)
            used_j.add(j)
            if s > threshold:
                written.append((s, i, j))
    return written


def hubs_and_duplicates(seed=0):
    """60 x 80 rows: 40 noisy pairs, two hubs near the mean of all, rows that occur two to six times on either side."""
    generator = np.random.default_rng(seed)
    source = generator.standard_normal((60, 16)).astype(np.float32)
    target = generator.standard_normal((80, 16)).astype(np.float32)
    target[:40] = source[:40] + 0.4 * target[:40]
    target[40:42] = source.mean(axis=0) + 0.02 * target[40:42]
    source[50:53] = source[4]
    target[60] = target[7]
    target[[61, 70, 71, 78, 79]] = target[9]
    return source, target


def triples(result):
    return list(zip(*(column.tolist() for column in result), strict=True))


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("k", [1, 4])
def test_mining_equals_a_double_precision_reference_with_hubs_and_duplicates(margin, strategy, k):
    source, target = hubs_and_duplicates()
    found = triples(mine_bitext(source, target, margin=margin, strategy=strategy, k=k))
    expected = reference_mining(source, target, margin, strategy, k)
    assert [pair[1:] for pair in found] == [pair[1:] for pair in expected]
    # float32 products of 16 terms, divided by means of a few tenths
    np.testing.assert_allclose([pair[0] for pair in found], [pair[0] for pair in expected], atol=1e-5)


def test_max_worked_by_hand():
    # Cosines by construction: source 0 is near targets 0 (0.8) and 1 (0.6); source 1 equals target 1.
    source = np.array([[1.0, 0.0], [0.6, 0.8]])
    target = np.array([[0.8, -0.6], [0.6, 0.8]])
    scores, sources, targets = mine_bitext(source, target, margin="absolute", k=2)
    assert (sources.tolist(), targets.tolist()) == ([1, 0], [1, 0])
    np.testing.assert_allclose(scores, [1.0, 0.8], atol=1e-6)
    # Means over both neighbours: sources 0.7 and 0.5, targets (0.8 + 0)/2 and (0.6 + 1)/2.
    scores, _, targets = mine_bitext(source, target, margin="ratio", strategy="fwd", k=2)
    assert targets.tolist() == [0, 1]
    np.testing.assert_allclose(scores, [0.8 / 0.55, 1.0 / 0.65], rtol=1e-6)


def test_k_of_one_lists_the_lowest_of_equals_and_larger_k_lists_the_kept_lowest_from_the_highest_down():
    query, other = [[1.0, 0.0]], [0.0, 1.0]
    target = unit_rows(np.array([other, [1, 0], [1, 0], other, [1, 0], [1, 0]]))
    for k, expected in [(1, [1]), (2, [2, 1]), (3, [4, 2, 1]), (4, [5, 4, 2, 1]), (5, [5, 4, 2, 1, 0])]:
        forward, _ = mutual_neighbours(unit_rows(query), target, k)
        assert forward.index[0].tolist() == expected
        assert forward.nearest().tolist() == [1]


def exact_vectors(generator, count, d=8):
    """Unit rows of four halves each: all their products are exact in float32, so equal cosines are equal bits."""
    vectors = np.zeros((count, d), dtype=np.float32)
    for row in vectors:
        row[generator.choice(d, 4, replace=False)] = generator.choice([-0.5, 0.5], 4)
    return vectors


@pytest.mark.parametrize("k", [1, 2, 4, 7, 100])
@pytest.mark.parametrize("tile", [(1, 1), (5, 3), (600, 1200)])
def test_neighbours_follow_the_order_of_ties_in_any_tile(k, tile):
    generator = np.random.default_rng(k)
    base = exact_vectors(generator, 12)
    base[0] = 0
    for _ in range(5):
        source, target = base[generator.integers(12, size=13)], base[generator.integers(12, size=29)]
        forward, backward = mutual_neighbours(unit_rows(source), unit_rows(target), k, tile=tile)
        cosines = source @ target.T
        assert forward.index.tolist() == reference_neighbours(cosines.tolist(), k)
        assert backward.index.tolist() == reference_neighbours(cosines.T.tolist(), k)
        np.testing.assert_array_equal(forward.similarity, np.take_along_axis(cosines, forward.index, axis=1))


@pytest.mark.parametrize("k", [1, 2, 4, 20])
def test_neighbours_of_exact_vectors_equal_those_of_a_flat_index(k):
    faiss = pytest.importorskip("faiss")
    generator = np.random.default_rng(k)
    base = exact_vectors(generator, 12)
    for _ in range(20):
        source, target = base[generator.integers(12, size=15)], base[generator.integers(12, size=40)]
        index = faiss.IndexFlatIP(source.shape[1])
        index.add(target)
        similarity, listed = index.search(source, k)
        forward, _ = mutual_neighbours(unit_rows(source), unit_rows(target), k)
        np.testing.assert_array_equal(forward.similarity, similarity)
        # The index drops the lowest of its worst when a better row comes late, so which of the worst are kept may
        # differ; all better ones, and their order, must not.
        clear = similarity > similarity[:, -1:] if k > 1 else np.ones_like(listed, dtype=bool)
        np.testing.assert_array_equal(forward.index[clear], listed[clear])


def test_duplicates_tie_exactly_wherever_they_stand():
    generator = np.random.default_rng(0)
    target = np.tile(generator.standard_normal((41, 320)), (3, 1))
    source = np.tile(generator.standard_normal((37, 320)), (2, 1))
    forward, backward = mutual_neighbours(unit_rows(source), unit_rows(target), 3)
    assert (forward.similarity == forward.similarity[:, :1]).all()
    np.testing.assert_array_equal(np.diff(forward.index, axis=1), -41)
    np.testing.assert_array_equal(forward.similarity[:37], forward.similarity[37:])
    np.testing.assert_array_equal(backward.similarity[:41], backward.similarity[82:])


def test_tile_size_changes_nothing_but_rounding():
    source, target = hubs_and_duplicates(seed=3)
    source, target = unit_rows(source), unit_rows(target)
    for margin in MARGINS:
        whole = score_candidates(*mutual_neighbours(source, target, 4), margin)
        for tile in ((1, 1), (7, 80), (33, 5)):
            tiled = score_candidates(*mutual_neighbours(source, target, 4, tile=tile), margin)
            for side, cut in zip(whole, tiled, strict=True):
                np.testing.assert_array_equal(cut.index, side.index)
                np.testing.assert_allclose(cut.score, side.score, atol=1e-6)


@pytest.mark.parametrize("margin", MARGINS)
def test_k_larger_than_a_side_is_clamped_to_it(margin):
    generator = np.random.default_rng(0)
    source, target = generator.standard_normal((3, 5)), generator.standard_normal((2, 5))
    many = triples(mine_bitext(source, target, margin=margin, strategy="fwd", k=50))
    expected = reference_mining(source, target, margin, "fwd", 50)
    assert [pair[1:] for pair in many] == [pair[1:] for pair in expected]
    np.testing.assert_allclose([pair[0] for pair in many], [pair[0] for pair in expected], rtol=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_negative_means_are_not_guarded(strategy):
    # Two clouds on opposite sides: every cosine and every mean is negative, so that every ratio is positive.
    generator = np.random.default_rng(1)
    source = generator.standard_normal((20, 8)) + 4
    target = generator.standard_normal((25, 8)) - 4
    found = triples(mine_bitext(source, target, margin="ratio", strategy=strategy))
    expected = reference_mining(source, target, "ratio", strategy, 4)
    assert found
    assert [pair[1:] for pair in found] == [pair[1:] for pair in expected]
    assert all(pair[0] > 0 for pair in found)
    assert all(pair[0] < 0 for pair in triples(mine_bitext(source, target, margin="absolute", strategy="fwd")))


def test_threshold_is_strict_and_a_pair_below_it_still_uses_up_both_rows():
    # Source 0 has its best target in 0 (1.0), source 1 too (0.8); source 1 must not fall back on target 1.
    source = np.array([[1.0, 0.0], [0.8, 0.6]])
    target = np.array([[1.0, 0.0], [0.6, -0.8]])
    scores, sources, targets = mine_bitext(source, target, margin="absolute", k=2)
    assert triples((sources, targets)) == [(0, 0)]
    assert mine_bitext(source, target, margin="absolute", k=2, threshold=float(scores[0]))[0].size == 0
    below = mine_bitext(source[:1], target[:1], margin="distance", threshold=-0.5)
    assert triples(below) == [(0.0, 0, 0)]
    assert mine_bitext(source[:1], target[:1], margin="distance")[0].size == 0


def test_threshold_acts_on_max_only():
    source, target = hubs_and_duplicates()
    for strategy in ("fwd", "bwd", "intersect"):
        assert len(mine_bitext(source, target, strategy=strategy, threshold=9.0)[0]) > 0
    assert len(mine_bitext(source, target, threshold=9.0)[0]) == 0


def test_zero_rows_stay_zero_and_give_finite_scores():
    source, target = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert unit_rows(source).rows.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    for margin in MARGINS:
        scores, _, targets = mine_bitext(source, target, margin=margin, strategy="fwd", k=2)
        assert np.isfinite(scores).all()
        assert targets[1] == 2


def test_rows_of_extreme_size_are_normalised():
    rows = unit_rows(np.array([[3e30, 4e30], [3e-35, 4e-35], [3.0, 4.0]], dtype=np.float32)).rows
    np.testing.assert_allclose(rows, [[0.6, 0.8]] * 3, atol=1e-5)


@pytest.mark.parametrize("size", [1e-18, 1e-42, 1e-60, 1e-310])
def test_the_direction_of_tiny_rows_is_kept_and_rows_beside_them_do_not_change_by_a_bit(size):
    generator = np.random.default_rng(0)
    ordinary = generator.standard_normal((20, 7))
    beside = np.concatenate([ordinary, [[3 * size, -4 * size, 0, 0, 0, 0, 0], [0] * 7]])
    rows = unit_rows(beside).rows
    np.testing.assert_allclose(rows[20], [0.6, -0.8, 0, 0, 0, 0, 0], atol=1e-6)
    assert not rows[21].any()
    np.testing.assert_array_equal(rows[:20].view(np.uint32), unit_rows(ordinary).rows.view(np.uint32))


@pytest.mark.parametrize(
    "convert",
    [
        lambda rows: torch.from_numpy(rows).requires_grad_(),
        lambda rows: torch.from_numpy(rows).bfloat16(),
        lambda rows: torch.from_numpy(rows).half(),
        lambda rows: torch.from_numpy(rows).double().requires_grad_(),
    ],
)
def test_tensors_are_mined_like_arrays_of_their_values(convert):
    source, target = (convert(side) for side in hubs_and_duplicates())
    values = source.detach().float().numpy(), target.detach().float().numpy()
    assert triples(mine_bitext(source, target)) == triples(mine_bitext(*values))


def test_margin_scores_take_tensors_and_refuse_masked_arrays():
    cosine, mean = np.float32([0.5, 0.75]), np.float32([0.25, 0.5])
    assert margin_score(torch.tensor(cosine, requires_grad=True), mean, "ratio").tolist() == [2.0, 1.5]
    with pytest.raises(ValueError, match="mean must not be a masked array"):
        margin_score(cosine, np.ma.masked_equal(mean, 0.5), "ratio")


def test_results_have_the_documented_types_and_arguments_stay_as_they_were():
    source, target = hubs_and_duplicates()
    copies = source.copy(), target.copy()
    scores, sources, targets = mine_bitext(source, target)
    assert (scores.dtype, sources.dtype, targets.dtype) == (np.float64, np.int64, np.int64)
    assert (scores == scores.astype(np.float32)).all()  # computed in float32
    np.testing.assert_array_equal(source, copies[0])
    np.testing.assert_array_equal(target, copies[1])


GOOD = np.eye(3)


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        (np.eye(4), {}, "source and target must have one dimension, not 4 and 3"),
        (np.ones(3), {}, r"source must have two dimensions .* not shape \(3,\)"),
        (np.empty((0, 3)), {}, "source must not be empty"),
        (np.array([[1.0, 2.0, 3.0], [1.0, np.nan, 2.0]]), {}, "source must be finite, but row 1 holds nan"),
        (np.array([[1.0, np.inf, 3.0]]), {}, "row 0 holds inf"),
        (np.array([["a", "b", "c"]]), {}, "source must be real numbers"),
        (GOOD, {"margin": "ration"}, "unknown margin 'ration'; did you mean 'ratio'"),
        (GOOD, {"strategy": "forward"}, "unknown strategy 'forward'; did you mean 'fwd'"),
        (GOOD, {"k": 0}, "k must be at least 1, not 0"),
        (GOOD, {"k": 1.0}, "k must be a whole number, not 1.0"),
        (GOOD, {"k": "4"}, "k must be a whole number, not '4'"),
        (np.ma.masked_equal(np.eye(3), 1), {}, "source must not be a masked array"),
        (torch.eye(3).to_sparse(), {}, "source must be real numbers"),
        (torch.eye(3, dtype=torch.complex64), {}, "source must be real numbers, not complex64"),
        (GOOD, {"threshold": math.nan}, "threshold must be a number"),
    ],
)
def test_unusable_arguments_are_named(source, arguments, message):
    with pytest.raises(ValueError, match=message):
        mine_bitext(source, GOOD, **arguments)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 9), st.just(3)), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
    arrays(np.float32, st.tuples(st.integers(1, 9), st.just(3)), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
    st.sampled_from(MARGINS),
    st.integers(1, 12),
)
def test_strategies_keep_their_promises(source, target, margin, k):
    fwd, bwd, both, best = (
        triples(mine_bitext(source, target, margin=margin, strategy=strategy, k=k, threshold=-np.inf))
        for strategy in ("fwd", "bwd", "intersect", "max")
    )
    assert [i for _, i, _ in fwd] == list(range(len(source)))
    assert [j for _, _, j in bwd] == list(range(len(target)))
    assert set(both) <= set(fwd)
    assert {pair[1:] for pair in both} <= {pair[1:] for pair in bwd}
    assert {pair[1:] for pair in best} <= {pair[1:] for pair in fwd + bwd}
    assert len({i for _, i, _ in best}) == len({j for _, _, j in best}) == len(best)
    assert [pair[0] for pair in best] == sorted((pair[0] for pair in best), reverse=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(MARGINS))
def test_swapping_the_sides_swaps_forward_and_backward(seed, margin):
    generator = np.random.default_rng(seed)
    source, target = generator.standard_normal((6, 5)), generator.standard_normal((9, 5))
    score, i, j = mine_bitext(source, target, margin=margin, strategy="fwd")
    swapped_score, swapped_j, swapped_i = mine_bitext(target, source, margin=margin, strategy="bwd")
    # Equal mathematics, other order of summation; a ratio over a mean near zero magnifies it.
    clear = np.abs(score) < 50
    np.testing.assert_array_equal(i, swapped_i)
    np.testing.assert_array_equal(j[clear], swapped_j[clear])
    np.testing.assert_allclose(score[clear], swapped_score[clear], rtol=1e-3, atol=1e-5)


@pytest.mark.data
def test_mining_equals_the_field_s_program(golden_folder):
    arrays_ = np.load(golden_folder / "eval" / "mining_clean.npz")
    record = json.loads((golden_folder / "eval" / "mining_clean.json").read_text("utf-8"))
    source, target = unit_rows(arrays_["src"]), unit_rows(arrays_["tgt"])
    np.testing.assert_allclose(source.rows, arrays_["src_norm"], atol=1e-6)
    forward, backward = mutual_neighbours(source, target, 4)
    np.testing.assert_array_equal(forward.index, arrays_["fwd_ind"])
    np.testing.assert_array_equal(backward.index, arrays_["bwd_ind"])
    np.testing.assert_allclose(forward.similarity, arrays_["fwd_sim"], atol=1e-6)
    for margin in MARGINS:
        for side, candidates in zip(("fwd", "bwd"), score_candidates(forward, backward, margin), strict=True):
            np.testing.assert_allclose(candidates.score, arrays_[f"{side}_score_{margin}"], atol=2e-6)
            np.testing.assert_array_equal(candidates.best()[1], arrays_[f"{side}_best_{margin}"])
    row_of = {text: row for row, text in enumerate(record["src_text"])}
    column_of = {text: column for column, text in enumerate(record["tgt_text"])}
    checked = 0
    for name, expected in record["mined"].items():
        margin, strategy, *rest = name.split("/")  # a third part says "threshold1.1"
        threshold = float(rest[0].removeprefix("threshold")) if rest else 0.0
        scores, sources, targets = mine_bitext(
            arrays_["src"], arrays_["tgt"], margin=margin, strategy=strategy, threshold=threshold
        )
        assert sources.tolist() == [row_of[source] for _, source, _ in expected]
        assert targets.tolist() == [column_of[target] for _, _, target in expected]
        np.testing.assert_allclose(scores, [score for score, _, _ in expected], atol=2e-6)
        checked += 1
    assert checked >= 12
