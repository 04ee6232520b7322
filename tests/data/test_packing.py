"""Sentences end to end: nothing lost, order restored, padding only inside buckets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.data import packing
from ems.data.packing import PackedSentences, pack, ragged_positions

lists_of_ids = st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=12), min_size=1, max_size=12)
worths = st.sampled_from([0, 1, 5, 50, 10**6])


def pack_lists(sentences: list[list[int]], worth: int = packing.PADDING_WORTH_A_CALL) -> PackedSentences:
    tokens = np.array([token for sentence in sentences for token in sentence], dtype=np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "PADDING_WORTH_A_CALL", worth)
        return pack(tokens, np.array([len(sentence) for sentence in sentences]))


def test_three_sentences_worked_out_by_hand() -> None:
    packed = pack_lists([[11, 12, 13], [21], [31, 32]])
    assert packed.input_ids.tolist() == [21, 31, 32, 11, 12, 13]
    assert packed.position_ids.tolist() == [1, 1, 2, 1, 2, 3]
    assert packed.lengths.tolist() == [1, 2, 3]
    assert packed.offsets.tolist() == [0, 1, 3, 6]
    assert packed.restore.tolist() == [2, 0, 1]
    assert (packed.max_length, packed.num_sentences, packed.num_tokens) == (3, 3, 6)
    (bucket,) = packed.buckets
    assert (bucket.rows, bucket.width, bucket.num_tokens) == (3, 3, 6)
    assert bucket.gather is not None
    assert bucket.scatter is not None
    assert bucket.real is not None
    assert bucket.real[:, 0, 0].tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert bucket.scatter.tolist() == [0, 3, 4, 6, 7, 8]
    assert bucket.gather[bucket.scatter].tolist() == [0, 1, 2, 3, 4, 5]


def test_dtypes_are_what_the_kernels_take() -> None:
    packed = pack_lists([[1, 2], [3]])
    assert packed.offsets.dtype == torch.int32
    for tensor in (packed.input_ids, packed.position_ids, packed.lengths, packed.restore):
        assert tensor.dtype == torch.int64


@settings(max_examples=150, deadline=None)
@given(sentences=lists_of_ids, worth=worths)
def test_restore_leads_back_to_every_sentence(sentences: list[list[int]], worth: int) -> None:
    packed = pack_lists(sentences, worth)
    ids, offsets = packed.input_ids.tolist(), packed.offsets.tolist()
    for place, sentence in zip(packed.restore.tolist(), sentences, strict=True):
        assert ids[offsets[place] : offsets[place + 1]] == sentence
        assert packed.position_ids[offsets[place] : offsets[place + 1]].tolist() == list(range(1, len(sentence) + 1))
    assert packed.lengths.tolist() == sorted(len(sentence) for sentence in sentences)


@settings(max_examples=150, deadline=None)
@given(sentences=lists_of_ids, worth=worths)
def test_buckets_cover_all_tokens_in_order_and_pad_the_rest(sentences: list[list[int]], worth: int) -> None:
    packed = pack_lists(sentences, worth)
    ids, lengths, row, start = packed.input_ids, packed.lengths.tolist(), 0, 0
    for bucket in packed.buckets:
        mine = ids[start : start + bucket.num_tokens]
        widths = lengths[row : row + bucket.rows]
        assert bucket.width == max(widths)
        assert bucket.num_tokens == sum(widths)
        if bucket.gather is None or bucket.scatter is None or bucket.real is None:
            assert (bucket.gather, bucket.scatter, bucket.real) == (None, None, None)
            assert set(widths) == {bucket.width}
        else:
            assert min(widths) < bucket.width
            cells = mine[bucket.gather].view(bucket.rows, bucket.width)
            assert bucket.real.shape == (bucket.rows, 1, 1, bucket.width)
            for i, width in enumerate(widths):
                assert bucket.real[i, 0, 0].tolist() == [True] * width + [False] * (bucket.width - width)
                at = start + sum(widths[:i])
                assert torch.equal(cells[i, :width], ids[at : at + width])
            assert torch.equal(cells.flatten()[bucket.scatter], mine)
        row, start = row + bucket.rows, start + bucket.num_tokens
    assert (row, start) == (len(sentences), len(ids))


@settings(max_examples=100, deadline=None)
@given(sentences=lists_of_ids, worth=worths)
def test_no_bucket_pads_more_than_a_call_is_worth(sentences: list[list[int]], worth: int) -> None:
    buckets = pack_lists(sentences, worth).buckets
    assert all(bucket.rows * bucket.width - bucket.num_tokens <= worth for bucket in buckets)
    if worth == 0:
        assert len(buckets) == len({len(sentence) for sentence in sentences})
    if worth == 10**6:
        assert len(buckets) == 1


def test_equal_lengths_need_no_padding_and_keep_their_order() -> None:
    packed = pack_lists([[1, 2], [3, 4], [5, 6]])
    assert packed.input_ids.tolist() == [1, 2, 3, 4, 5, 6]
    (bucket,) = packed.buckets
    assert bucket.gather is None


def test_tokens_in_16_bits_are_read_as_they_are() -> None:
    packed = pack(np.array([65535, 40000], dtype=np.uint16), np.array([1, 1], dtype=np.int32))
    assert packed.input_ids.tolist() == [65535, 40000]


def test_moving_keeps_everything() -> None:
    packed = pack_lists([[1, 2, 3], [4], [5, 5]])
    moved = packed.to("cpu")
    assert torch.equal(moved.input_ids, packed.input_ids)
    assert torch.equal(moved.restore, packed.restore)
    assert moved.max_length == packed.max_length
    assert moved.buckets[0].real is not None
    assert packed.to("meta").buckets[0].real is not None
    assert packed.to("meta").input_ids.device.type == "meta"
    assert all(t.device.type == "meta" for t in (packed.to("meta").offsets, packed.to("meta").lengths))


@pytest.mark.parametrize("lengths", [[], [2, 0], [0]])
def test_no_sentence_or_an_empty_one_is_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one sentence, and at least one token"):
        pack(np.arange(sum(lengths)), np.array(lengths, dtype=np.int64))


def test_lengths_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths add up to 3 tokens, but 4 were given"):
        pack(np.arange(4), np.array([1, 2]))


@given(st.lists(st.integers(0, 5), max_size=8))
def test_ragged_positions_count_within_each_run(lengths: list[int]) -> None:
    wanted = [position for length in lengths for position in range(length)]
    assert ragged_positions(np.array(lengths, dtype=np.int64)).tolist() == wanted


def test_buckets_are_copied_when_attention_asks_and_only_once():
    packed = pack(np.arange(6), np.array([1, 2, 3])).to("meta")
    assert packed.input_ids.device.type == "meta"
    assert packed.buckets[0].gather.device.type == "cpu"
    assert packed.buckets_here[0].gather.device.type == "meta"
    assert packed.buckets_here is packed.buckets_here
