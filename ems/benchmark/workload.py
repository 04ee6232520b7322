"""What the speed benchmarks run on: pairs of a text file, or random ids with the lengths of real text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ems.benchmark.lengths import PAIR_LENGTHS
from ems.config import Config
from ems.data.corpus import Pair, Rules, read_pairs
from ems.data.keyed import token_digests
from ems.data.reports import FileReport
from ems.data.shards import TokenPairs
from ems.data.sources import find_files
from ems.errors import InputError
from ems.languages import LANGUAGES
from ems.tokenizer import Tokenizer

_FIRST_ID = 3  # 0, 1 and 2 are padding, unknown and mask


@dataclass(frozen=True)
class Workload:
    """The same work for every implementation.

    Attributes:
        steps: pairs of each step, not truncated.
        texts: source and target sentences of each step; None where ids are random.
        tokenizer: made the ids of the texts; None where ids are random.
        vocab_size: ids are below it.
        num_languages: languages are below it.
        described: what a reader of the figures should know of the text.
    """

    steps: list[TokenPairs]
    texts: list[tuple[list[str], list[str]]] | None
    tokenizer: Tokenizer | None
    vocab_size: int
    num_languages: int
    described: str


def _flat_pairs(source: Sequence[np.ndarray], target: Sequence[np.ndarray], languages: np.ndarray) -> TokenPairs:
    """Lay out n pairs, given the ids of each sentence and int64 (n, 2) languages."""
    sides = []
    for sentences in (source, target):
        offsets = np.cumsum([0, *map(len, sentences)], dtype=np.int64)
        sides.append((np.concatenate(sentences).astype(np.int32), offsets))
    digests = [token_digests(tokens, np.diff(offsets)) for tokens, offsets in sides]
    return TokenPairs(*sides[0], *sides[1], languages[:, 0], languages[:, 1], *digests)


def random_workload(
    config: Config, steps: int, *, length: int | None = None, num_languages: int = 2, seed: int = 0
) -> Workload:
    """Draw token ids by Zipf's law and lengths from real text.

    Args:
        config: gives pairs in a step, vocabulary and longest sentence.
        steps: how many.
        length: tokens of every sentence; None draws lengths of pairs of real text (`ems.benchmark.lengths`).
        num_languages: drawn evenly, a pair has two.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    pairs, vocab_size = config.batching.pairs, config.tokenizer.vocab_size
    shares = 1 / np.arange(1, vocab_size - _FIRST_ID + 1)
    upper = np.cumsum(shares / shares.sum())
    drawn = []
    for _ in range(steps):
        lengths = np.array(PAIR_LENGTHS)[random.integers(len(PAIR_LENGTHS), size=pairs)]
        if length is not None:
            lengths[:] = length
        sides = [
            [_FIRST_ID + np.searchsorted(upper[:-1], random.random(n), side="right") for n in lengths[:, side]]
            for side in (0, 1)
        ]
        first = random.integers(num_languages, size=pairs)
        second = (first + random.integers(1, max(2, num_languages), size=pairs)) % num_languages
        drawn.append(_flat_pairs(sides[0], sides[1], np.stack([first, second], axis=1)))
    law = "lengths of real text" if length is None else f"{length} tokens a sentence"
    return Workload(drawn, None, None, vocab_size, num_languages, f"random ids, {law}")


def _tokenizer_for(config: Config, sentences: list[str]) -> Tokenizer:
    """Open the config's tokenizer, or train one on the text."""
    model = config.tokenizer.model
    if model is None:
        settings = config.tokenizer
        return Tokenizer.train(
            sentences, vocab_size=settings.vocab_size, type=settings.type, byte_fallback=settings.byte_fallback
        )
    return Tokenizer.load(model) if Path(model).is_dir() else Tokenizer.from_sentencepiece(model)


def read_text(paths: Sequence[Path]) -> list[Pair]:
    """Read all usable pairs of some corpus files.

    Raises:
        InputError: a file cannot be read, or holds no pair.
    """
    for path in paths:
        if not path.is_file():
            raise InputError(f"--text {path}: {'a folder; name the files in it' if path.is_dir() else 'no such file'}")
    files = [find_files([path.name], path.parent, registry=LANGUAGES)[0] for path in paths]
    read = (read_pairs(file, rules=Rules(), registry=LANGUAGES, report=FileReport(file.name)) for file in files)
    return [pair for pairs in read for pair in pairs]


def text_workload(config: Config, paths: Sequence[Path], steps: int) -> Workload:
    """Draw pairs from files of parallel text.

    Args:
        config: gives pairs in a step and the tokenizer: that of tokenizer.model, else one trained on all of the text.
        paths: corpus files as for training, languages in their names.
        steps: how many.

    Raises:
        InputError: a file cannot be read, they hold too few pairs, or the tokenizer cannot be had.
    """
    pairs, size = read_text(paths), config.batching.pairs
    if len(pairs) < steps * size:
        raise InputError(f"--text: {len(pairs)} usable pairs; {steps} steps of batching.pairs need {steps * size}")
    tokenizer = _tokenizer_for(config, [side for pair in pairs for side in (pair.src, pair.tgt)])
    languages = sorted({code for pair in pairs for code in (pair.src_lang, pair.tgt_lang)})
    order = np.random.default_rng(0).permutation(len(pairs))[: steps * size]  # files are sorted by subject or length
    drawn, texts = [], []
    for start in range(0, len(order), size):
        chosen = [pairs[i] for i in order[start : start + size]]
        sides = ([pair.src for pair in chosen], [pair.tgt for pair in chosen])
        source, target = ([np.array(ids) for ids in tokenizer.encode_batch(side)] for side in sides)
        indices = np.array([[languages.index(pair.src_lang), languages.index(pair.tgt_lang)] for pair in chosen])
        drawn.append(_flat_pairs(source, target, indices))
        texts.append(sides)
    names = ", ".join(path.name for path in paths)
    return Workload(drawn, texts, tokenizer, tokenizer.vocab_size, len(languages), names)


def describe(workload: Workload, longest: int) -> str:
    """Say what the sentences are and how long: mean tokens of both sides, the shortest and longest tenth, padding."""
    sides = [
        [np.minimum(np.diff(offsets), longest) for offsets in side]
        for side in (
            [pairs.src_offsets for pairs in workload.steps],
            [pairs.tgt_offsets for pairs in workload.steps],
        )
    ]
    source, target = (np.concatenate(side) for side in sides)
    low, high = np.quantile(np.concatenate([source, target]), [0.1, 0.9])
    padded = sum(len(lengths) * int(lengths.max()) for side in sides for lengths in side)
    padding = 1 - int(source.sum() + target.sum()) / padded
    means = f"mean {source.mean():.1f} and {target.mean():.1f} tokens, 80 % have {low:.0f} to {high:.0f}"
    return f"{workload.described}; {means}; padded steps would be {100 * padding:.0f} % padding"
