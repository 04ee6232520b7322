"""Step batches: what the stream says, the same from any starting point."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ems.data.holdout import hold_out
from ems.data.loader import StepLoader
from ems.data.preparation import prepare_corpus
from ems.data.stream import PairStream
from tests.tiny import tiny_config, write_corpus


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loader")
    write_corpus(folder / "text")
    config = tiny_config(folder, "batching.max_tokens=200", "objective.mask_token=true")
    corpus = prepare_corpus(config)
    return config, corpus, hold_out(corpus.shards, pairs_per_language_pair=10, seed=0)


def loader(setting, state=None):
    config, corpus, holdout = setting
    stream = PairStream(holdout.counts, pairs=config.batching.pairs, sampling_temperature=1.0, seed=0)
    if state is not None:
        stream.restore(state)
    return StepLoader(corpus.shards, holdout, stream, config)


def first(loader, count):
    return list(itertools.islice(loader, count))


def same(a, b):
    return all(
        torch.equal(x.sentences.input_ids, y.sentences.input_ids) and torch.equal(x.other_langs, y.other_langs)
        for x, y in zip(a.batches, b.batches, strict=True)
    )


def test_steps_count_up_and_micro_batches_cover_the_step_within_the_token_budget(setting):
    for number, step in enumerate(first(loader(setting), 4)):
        assert step.step == number
        rows = np.concatenate([batch.pair_rows for batch in step.batches])
        assert rows.tolist() == list(range(16))
        assert len(step.batches) > 1
        assert max(batch.sentences.num_tokens for batch in step.batches) <= 200
        assert step.num_tokens == sum(batch.sentences.num_tokens for batch in step.batches)


def test_a_restored_stream_gives_the_very_next_batches(setting):
    whole = first(loader(setting), 6)
    resumed = first(loader(setting, whole[2].stream_state), 3)
    assert [step.step for step in resumed] == [3, 4, 5]
    assert all(same(a, b) for a, b in zip(whole[3:], resumed, strict=True))


@pytest.fixture(scope="module")
def windowed(setting):
    config, corpus, holdout = setting
    return (
        config.model_copy(update={"batching": config.batching.model_copy(update={"length_window": 4})}),
        corpus,
        holdout,
    )


def test_a_window_has_the_pairs_of_its_steps_each_step_those_of_about_one_length(setting, windowed):
    drawn, dealt = first(loader(setting), 8), first(loader(windowed), 8)

    def lengths(step):
        return (np.diff(step.pairs.src_offsets) + np.diff(step.pairs.tgt_offsets)).tolist()

    def digests(steps):
        return sorted(digest for step in steps for digest in step.pairs.src_digests.tolist())

    assert [step.step for step in dealt] == list(range(8))
    for start in (0, 4):
        assert digests(dealt[start : start + 4]) == digests(drawn[start : start + 4])
        spans = sorted((min(lengths(step)), max(lengths(step))) for step in dealt[start : start + 4])
        assert all(longest <= shortest for (_, longest), (shortest, _) in itertools.pairwise(spans))
    assert np.mean([np.ptp(lengths(step)) for step in dealt]) < np.mean([np.ptp(lengths(step)) for step in drawn])


@pytest.mark.parametrize("taken", [1, 3, 4, 6])
def test_a_stream_restored_within_a_window_goes_on_with_the_rest_of_it(windowed, taken):
    whole = first(loader(windowed), 9)
    resumed = first(loader(windowed, whole[taken - 1].stream_state), 9 - taken)
    assert [step.step for step in resumed] == list(range(taken, 9))
    assert all(same(a, b) for a, b in zip(whole[taken:], resumed, strict=True))


def test_one_token_of_each_pair_is_masked_when_asked_for(setting):
    for step in first(loader(setting), 3):
        masked = sum(int((batch.sentences.input_ids == 2).sum()) for batch in step.batches)
        assert masked == 16


def test_held_out_sentences_never_come(setting):
    _, corpus, holdout = setting
    held = set()
    for pair_index, rows in enumerate(holdout.validation):
        pairs = corpus.shards.fetch(np.full(len(rows), pair_index), rows)
        held |= set(pairs.src_digests.tolist()) | set(pairs.tgt_digests.tolist())
    assert 20 < len(held) <= 40
    for step in first(loader(setting), 40):
        assert not held & (set(step.pairs.src_digests.tolist()) | set(step.pairs.tgt_digests.tolist()))


def test_batches_for_a_gpu_are_pinned(setting, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    config, corpus, holdout = setting
    stream = PairStream(holdout.counts, pairs=config.batching.pairs, sampling_temperature=1.0, seed=0)
    (step,) = first(StepLoader(corpus.shards, holdout, stream, config, device="cuda"), 1)
    for batch in step.batches:
        sentences, targets = batch.sentences, batch.targets
        for tensor in (sentences.input_ids, sentences.offsets, targets.weights, batch.src_digests, batch.other_langs):
            assert any(tensor is one for one in pinned)


@pytest.mark.parametrize("kind", ["setting", "windowed"])
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_share_the_step_of_one(request, kind, size):
    config, corpus, holdout = request.getfixturevalue(kind)

    def of(rank, size):
        stream = PairStream(holdout.counts, pairs=config.batching.pairs, sampling_temperature=1.0, seed=0)
        return first(StepLoader(corpus.shards, holdout, stream, config, rank=rank, size=size), 3)

    for whole, *parts in zip(of(0, 1), *(of(rank, size) for rank in range(size)), strict=True):
        assert {part.num_tokens for part in parts} == {whole.num_tokens}
        assert {part.rank_pairs for part in parts} == {tuple(len(part.pairs.src_langs) for part in parts)}
        digests = np.concatenate([part.pairs.src_digests for part in parts])
        assert sorted(digests.tolist()) == sorted(whole.pairs.src_digests.tolist())
        # The one masked token of a pair is the same, whoever reads the pair.
        read = [token for part in parts for batch in part.batches for token in batch.sentences.input_ids.tolist()]
        alone = [token for batch in whole.batches for token in batch.sentences.input_ids.tolist()]
        assert sorted(read) == sorted(alone)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_parts_of_a_step_choose_among_the_tokens_of_the_whole_step(setting, size):
    config, corpus, holdout = setting
    config = config.model_copy(update={"objective": config.objective.model_copy(update={"vocabulary": "step"})})
    stream = PairStream(holdout.counts, pairs=config.batching.pairs, sampling_temperature=1.0, seed=0)
    (whole,) = first(loader(setting), 1)
    read = {token for batch in whole.batches for token in batch.sentences.input_ids.tolist()}
    for rank in range(size):
        stream.restore(loader(setting).stream.state())
        (step,) = first(StepLoader(corpus.shards, holdout, stream, config, rank=rank, size=size), 1)
        for batch in step.batches:
            # Of the tokens that were masked some are read nowhere else.
            assert read <= set(batch.vocabulary.tolist())
            assert len(batch.vocabulary) <= len(read) + 16
