"""Exact search in blocks: equal to the search in memory whatever the block, the engine and the moment of a stop."""

from __future__ import annotations

import itertools
import zipfile

import numpy as np
import pytest
import torch

from ems.mine_files.vector_file import VectorFile
from ems.search.blocks import BestNeighbours, SearchState, neighbours_on, neighbours_on_cpu, search_blocks
from ems.search.exact import mutual_neighbours
from ems.search.unit_rows import UnitRows, unit_rows


def unit(generator, count, dimension=16):
    return unit_rows(generator.standard_normal((count, dimension))).rows


def exact_unit(generator, count):
    """Distinct rows of four halves among twelve: cosines are exact and mostly tied."""
    places = np.array(list(itertools.combinations(range(12), 4)))
    rows = np.zeros((count, 12), dtype=np.float32)
    np.put_along_axis(rows, places[generator.permutation(len(places))[:count]], 0.5, axis=1)
    return rows


def in_memory(source, target, k):
    return mutual_neighbours(UnitRows(source, np.arange(len(source))), UnitRows(target, np.arange(len(target))), k)


def assert_equal(found, expected, atol=0.0):
    for side, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(side.index, other.index)
        np.testing.assert_allclose(side.similarity, other.similarity, atol=atol, rtol=0)


@pytest.mark.parametrize("block_rows", [9, 64, 1000])
@pytest.mark.parametrize("k", [1, 4])
def test_any_block_size_gives_the_neighbours_of_the_search_in_memory(block_rows, k):
    generator = np.random.default_rng(block_rows)
    source, target = unit(generator, 50), unit(generator, 83)
    # float32 products of 16 terms, summed in another order
    assert_equal(search_blocks(source, target, k, block_rows=block_rows), in_memory(source, target, k), atol=1e-6)


@pytest.mark.parametrize("block_rows", [13, 40, 1000])
def test_ties_are_kept_and_listed_as_in_memory(block_rows):
    generator = np.random.default_rng(0)
    source, target = exact_unit(generator, 45), exact_unit(generator, 90)
    for k in (1, 3, 60):
        assert_equal(search_blocks(source, target, k, block_rows=block_rows), in_memory(source, target, k))


@pytest.mark.parametrize("tile_values", [1, 100, 10_000])
@pytest.mark.parametrize("k", [1, 4, 200])
def test_the_engine_for_other_devices_finds_the_same(tile_values, k):
    generator = np.random.default_rng(k)
    source, target = unit(generator, 61), unit(generator, 90)
    engine = neighbours_on(torch.device("cpu"), tile_values)
    found = search_blocks(source, target, k, block_rows=40, block_neighbours=engine)
    assert_equal(found, in_memory(source, target, k), atol=1e-6)


def test_k_is_clamped_to_the_rows_there_are():
    generator = np.random.default_rng(0)
    forward, backward = search_blocks(unit(generator, 3), unit(generator, 5), 4, block_rows=2)
    assert forward.index.shape == (3, 4)
    assert backward.index.shape == (5, 3)
    assert sorted(backward.index[0].tolist()) == [0, 1, 2]


def test_vectors_are_read_from_a_file_and_left_out_rows_have_no_number(tmp_path):
    generator = np.random.default_rng(1)
    source, target = unit(generator, 40), unit(generator, 60)
    target.tofile(tmp_path / "target")
    kept = np.array([0, 3, 4, 20, 21, 22, 59])
    on_disk = VectorFile(tmp_path / "target", 60, 16, kept)
    assert_equal(search_blocks(source, on_disk, 3, block_rows=4), in_memory(source, target[kept], 3), atol=1e-6)


class StoppedError(Exception):
    pass


def stopping_after(blocks):
    calls = itertools.count(1)

    def engine(source, target, k):
        if next(calls) > blocks:
            raise StoppedError
        return neighbours_on_cpu(source, target, k)

    return engine


@pytest.mark.parametrize("blocks", [0, 1, 5, 17, 18])
def test_a_stopped_search_goes_on_behind_the_last_saved_block(tmp_path, monkeypatch, blocks):
    generator = np.random.default_rng(2)
    source, target = unit(generator, 33), unit(generator, 57)  # 3 x 5 blocks of 12: 15
    whole = search_blocks(source, target, 4, block_rows=12)
    monkeypatch.setattr(SearchState, "_is_due", lambda self: True)

    def state():
        return SearchState(33, 57, 4, tmp_path / "state.npz", {"rows": 12})

    try:
        search_blocks(source, target, 4, block_rows=12, block_neighbours=stopping_after(blocks), state=state())
    except StoppedError:
        assert blocks < 15
    resumed = state()
    assert resumed.done == min(blocks, 15)
    assert not resumed.restarted
    assert_equal(search_blocks(source, target, 4, block_rows=12, state=resumed), whole)


def test_a_saved_state_of_other_settings_or_a_damaged_one_is_not_used(tmp_path):
    generator = np.random.default_rng(3)
    source, target = unit(generator, 20), unit(generator, 20)
    file = tmp_path / "state.npz"
    search_blocks(source, target, 2, state=SearchState(20, 20, 2, file, {"rows": 12}))
    assert SearchState(20, 20, 2, file, {"rows": 12}).done == 1
    for other in (SearchState(20, 20, 2, file, {"rows": 13}), SearchState(20, 20, 3, file, {"rows": 12})):
        assert (other.done, other.restarted) == (0, True)
        assert (other.forward.index == -1).all()
    file.write_bytes(file.read_bytes()[:100])
    damaged = SearchState(20, 20, 2, file, {"rows": 12})
    assert (damaged.done, damaged.restarted) == (0, True)


def test_a_bit_wrong_anywhere_in_a_saved_state_changes_nothing_or_starts_it_anew(tmp_path):
    generator = np.random.default_rng(4)
    source, target = unit(generator, 5), unit(generator, 6)
    file = tmp_path / "state.npz"
    search_blocks(source, target, 2, state=SearchState(5, 6, 2, file))
    content = file.read_bytes()
    whole = SearchState(5, 6, 2, file)
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        state = SearchState(5, 6, 2, file)
        if state.restarted:
            assert (state.done, state.forward.index.max()) == (0, -1)
        else:
            np.testing.assert_array_equal(state.forward.index, whole.forward.index)
            np.testing.assert_array_equal(state.backward.similarity, whole.backward.similarity)


def test_nothing_is_kept_of_a_state_that_is_damaged_on_one_side(tmp_path):
    generator = np.random.default_rng(4)
    source, target = unit(generator, 20), unit(generator, 20)
    file = tmp_path / "state.npz"
    whole = search_blocks(source, target, 3, state=SearchState(20, 20, 3, file))
    with zipfile.ZipFile(file) as archive:
        place = archive.getinfo("backward_index.npy").header_offset + 300
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    state = SearchState(20, 20, 3, file)
    assert (state.done, state.restarted) == (0, True)
    assert (state.forward.index == -1).all()
    assert_equal(search_blocks(source, target, 3, state=state), whole)


def test_candidates_may_come_in_any_order_and_number():
    best = BestNeighbours(1, 2)
    best.merge(0, np.array([[0.1]], dtype=np.float32), np.array([[5]]))
    assert best.index.tolist() == [[5, -1]]
    best.merge(0, np.array([[0.3, 0.1, 0.3]], dtype=np.float32), np.array([[9, 1, 8]]))
    assert best.finished().index.tolist() == [[9, 8]]
    best.merge(0, np.array([[0.3]], dtype=np.float32), np.array([[2]]))
    assert best.finished().index.tolist() == [[8, 2]]
