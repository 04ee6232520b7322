"""Exact search where tiles and groups end: equal to a plain reading of all cosines, ties in their order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ems.search.exact import COLUMN_GROUP, ROW_GROUP, mutual_neighbours
from ems.search.unit_rows import unit_rows


def tied_rows(generator, count):
    """Rows of four halves among sixteen places, some of them twice: cosines are exact and mostly tied."""
    places = np.array(list(itertools.combinations(range(16), 4)))
    rows = np.zeros((count, 16), dtype=np.float32)
    np.put_along_axis(rows, places[generator.integers(len(places), size=count)], 0.5, axis=1)
    return rows


def plain_neighbours(cosines, k):
    """Of equal cosines the lowest indices are kept; several are listed from the highest index down."""
    listed = []
    for row in cosines.tolist():
        kept = sorted(range(len(row)), key=lambda j: (-row[j], j))[:k]
        listed.append(sorted(kept, key=lambda j: (-row[j], -j)))
    return listed


EDGES = (1, COLUMN_GROUP - 1, COLUMN_GROUP, COLUMN_GROUP + 1, ROW_GROUP - 1, ROW_GROUP, ROW_GROUP + 1, 130)


@pytest.mark.parametrize("k", [1, 2, 4, 40])
@pytest.mark.parametrize(("rows", "columns"), list(itertools.product(EDGES, EDGES)))
def test_ties_keep_their_order_at_the_edges_of_groups(rows, columns, k):
    generator = np.random.default_rng([rows, columns, k])
    source, target = tied_rows(generator, rows), tied_rows(generator, columns)
    cosines = source.astype(np.float64) @ target.T.astype(np.float64)
    forward, backward = mutual_neighbours(unit_rows(source), unit_rows(target), k)
    assert forward.index.tolist() == plain_neighbours(cosines, k)
    assert backward.index.tolist() == plain_neighbours(cosines.T, k)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("size", [1023, 1024, 1025, 2049])
def test_no_neighbour_is_lost_at_the_edges_of_tiles(size, k):
    generator = np.random.default_rng(size)
    source, target = generator.standard_normal((size, 8)), generator.standard_normal((1500, 8))
    forward, backward = mutual_neighbours(unit_rows(source), unit_rows(target), k)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (source, target)]
    cosines = unit[0] @ unit[1].T
    # float32 products of 8 terms against double precision
    np.testing.assert_allclose(forward.similarity, -np.sort(-cosines, axis=1)[:, :k], atol=1e-6)
    np.testing.assert_allclose(backward.similarity, -np.sort(-cosines.T, axis=1)[:, :k], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(cosines, forward.index, 1), forward.similarity, atol=1e-6)
