"""Every implementation gets the same pairs, with the lengths of real text or those asked for."""

from __future__ import annotations

import numpy as np
import pytest

from ems.benchmark.lengths import PAIR_LENGTHS
from ems.benchmark.workload import describe, random_workload, text_workload
from ems.errors import InputError
from tests.tiny import tiny_config, write_corpus


@pytest.fixture
def config(tmp_path):
    return tiny_config(tmp_path, "tokenizer.vocab_size=200")


def test_random_steps_repeat_for_a_seed_and_differ_for_another(config):
    first, again = (random_workload(config, 2) for _ in range(2))
    other = random_workload(config, 2, seed=1)
    np.testing.assert_array_equal(first.steps[1].src_tokens, again.steps[1].src_tokens)
    assert not np.array_equal(first.steps[0].src_offsets, other.steps[0].src_offsets)


def test_random_ids_follow_zipf_and_stay_in_the_vocabulary(config):
    tokens = np.concatenate([pairs.src_tokens for pairs in random_workload(config, 40, length=30).steps])
    counts = np.bincount(tokens, minlength=config.tokenizer.vocab_size)
    assert counts[:3].sum() == 0
    assert len(counts) == config.tokenizer.vocab_size
    assert counts[3] / counts[4] == pytest.approx(2, rel=0.15)
    assert counts[3] / counts[12] == pytest.approx(10, rel=0.3)


def test_lengths_are_drawn_from_real_pairs(config):
    pairs = random_workload(config, 1).steps[0]
    drawn = set(zip(np.diff(pairs.src_offsets).tolist(), np.diff(pairs.tgt_offsets).tolist(), strict=True))
    assert drawn <= set(PAIR_LENGTHS)
    assert len(drawn) > 8


def test_every_sentence_can_have_one_length(config):
    pairs = random_workload(config, 1, length=25).steps[0]
    assert set(np.diff(pairs.src_offsets).tolist()) == set(np.diff(pairs.tgt_offsets).tolist()) == {25}


def test_a_pair_has_two_different_languages(config):
    pairs = random_workload(config, 3, num_languages=4).steps[2]
    assert (pairs.src_langs != pairs.tgt_langs).all()
    assert set(pairs.src_langs.tolist()) | set(pairs.tgt_langs.tolist()) == {0, 1, 2, 3}


def test_text_is_tokenised_as_it_stands(config, tmp_path):
    write_corpus(tmp_path)
    workload = text_workload(config, [tmp_path / "en-de.tsv", tmp_path / "en-es.tsv"], 2)
    pairs, (sources, targets) = workload.steps[1], workload.texts[1]
    lines = {line for name in ("de", "es") for line in (tmp_path / f"en-{name}.tsv").read_text().splitlines()}
    assert {f"{a}\t{b}" for a, b in zip(sources, targets, strict=True)} <= lines
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        ids = [
            tokens[offsets[row] : offsets[row + 1]].tolist()
            for tokens, offsets in ((pairs.src_tokens, pairs.src_offsets), (pairs.tgt_tokens, pairs.tgt_offsets))
        ]
        assert ids == workload.tokenizer.encode_batch([source, target])
    assert workload.num_languages == 3


def test_too_little_text_is_an_error(config, tmp_path):
    write_corpus(tmp_path)
    with pytest.raises(InputError, match=r"usable pairs; 1000 steps of batching.pairs need 16000"):
        text_workload(config, [tmp_path / "en-de.tsv"], 1000)


def test_lengths_are_described_as_the_encoder_reads_them(config):
    assert "mean 20.0 and 20.0 tokens, 80 % have 20 to 20" in describe(random_workload(config, 1, length=30), 20)
