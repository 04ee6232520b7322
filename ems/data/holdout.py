"""Hold validation pairs out of training, so that none of their sentences is ever trained on.

Which pairs are held out follows from the sentences and a seed: not from the order of the corpus, nor from which file a
pair stands in. Then every pair of any language pair that shares a sentence with a held-out one, on either side, is
kept from training. Sentences are compared by the digests of their token ids, so texts that the tokenizer cannot tell
apart count as the same.

Much text pairs the same English sentences with many languages. Were pairs chosen by chance, each language pair would
hold out other English sentences, and together they would cost most of such text. So the choice is made by the sentence
in the language that occurs in more pairs: what is held out in one language pair is held out in all. (1.8 million
pairs, 257 language pairs, 200 held out of each: 6 in 100 pairs are not trained on instead of 17, of those with English
3 instead of 19.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ems.data.keyed import keyed_hash
from ems.data.shard_manifest import digest_of, exclusive, read_checked, write_checked
from ems.data.shards import ShardFolder
from ems.errors import InputError
from ems.files import atomic_folder

logger = logging.getLogger(__name__)

TRAINED_FOR_EACH_HELD_OUT = 9  # at least: no more than a tenth of a language pair is held out
FOLDER = "held_out"
_VERSION = 2
_CHOICE_STREAM = 0x68656C64  # keeps this choice apart from every other use of the run's seed
_INDEX, _VALIDATION, _EXCLUDED = "index.json", "validation.npy", "excluded.bin"
_PLACE = np.dtype("<i8")


@dataclass(frozen=True)
class HoldOut:
    """What is validated on and what is trained on.

    Attributes:
        validation: for each language pair, its held-out rows, int64, increasing. No two of them share a sentence.
        counts: int64 (P,), rows of each language pair that are left for training.
        excluded_starts: int64 (P + 1,), where the excluded rows of each language pair begin.
        places: int64 (E,), for each row that is not trained on, in order, the number of training rows before it,
            counted over all language pairs. May lie in a file mapped into memory.
    """

    validation: list[np.ndarray]
    counts: np.ndarray
    excluded_starts: np.ndarray
    places: np.ndarray

    def training_rows(self, pair_index: np.ndarray, r: np.ndarray) -> np.ndarray:
        """Find the r-th training row of each language pair.

        Args:
            pair_index: integer (n,), index of a language pair.
            r: integer (n,), in [0, counts[pair_index]).

        Returns:
            int64 (n,), rows of the language pair; increasing in r.

        Raises:
            ValueError: r out of range.
        """
        pair_index, r = np.asarray(pair_index, dtype=np.int64), np.asarray(r, dtype=np.int64)
        if np.any(r < 0) or np.any(r >= self.counts[pair_index]):
            raise ValueError("a language pair has no such training row")
        first = np.cumsum(self.counts) - self.counts
        # All excluded rows of earlier language pairs are counted too: they have no more training rows before them.
        excluded_before = np.searchsorted(self.places, first[pair_index] + r, side="right")
        return np.asarray(r + excluded_before - self.excluded_starts[pair_index])


def _hub_sides(shards: ShardFolder) -> np.ndarray:
    """Choose for each language pair the side whose language occurs in more pairs; at a tie the first by code."""
    pairs_of_language: dict[str, int] = {}
    for languages, count in zip(shards.language_pairs, shards.counts.tolist(), strict=True):
        for code in languages:
            pairs_of_language[code] = pairs_of_language.get(code, 0) + count
    return np.array(
        [int((-pairs_of_language[tgt], tgt) < (-pairs_of_language[src], src)) for src, tgt in shards.language_pairs]
    )


def _numbered_blocks(shards: ShardFolder, pair_index: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks of digests, uint64 (b, 2), with the number of their first row."""
    first = 0
    for sides in shards.digests(pair_index):
        yield first, np.stack(sides, axis=1)
        first += len(sides[0])


def _smallest(candidates: np.ndarray, limit: int) -> np.ndarray:
    """Keep one candidate a hub sentence, and of those the `limit` with the smallest keys, in order of their keys."""
    candidates = candidates[np.lexsort((candidates["row"], candidates["tie"], candidates["key"]))]
    return candidates[np.flatnonzero(np.diff(candidates["key"], prepend=~candidates["key"][:1]))][:limit]


def _choose(shards: ShardFolder, pair_index: int, hub: int, limit: int, seed: int) -> np.ndarray:
    """Choose rows of a language pair: those whose hub sentences have the smallest keys, no sentence twice.

    Returns:
        Structured array with fields row, hub and other (digests of the two sides), at most `limit` long.
    """
    fields = [("key", np.uint64), ("tie", np.uint64), ("row", np.int64), ("hub", np.uint64), ("other", np.uint64)]
    chosen = np.empty(0, dtype=fields)
    for first, digests in _numbered_blocks(shards, pair_index):
        # One to one: equal keys, equal hub sentences.
        key = keyed_hash(seed, _CHOICE_STREAM, digests[:, hub])
        # A full set only takes what is below its largest key, or a better translation of what it has.
        new = np.flatnonzero(key <= chosen["key"][-1]) if len(chosen) == limit else np.arange(len(key))
        block = np.empty(len(new), dtype=fields)
        block["key"], block["row"] = key[new], first + new
        block["hub"], block["other"] = digests[new, hub], digests[new, 1 - hub]
        block["tie"] = keyed_hash(seed, _CHOICE_STREAM, block["hub"], block["other"])
        chosen = _smallest(np.concatenate([chosen, block]), limit)
    distinct = np.unique(chosen["other"], return_index=True)[1]
    chosen = chosen[np.sort(distinct)]
    return chosen[~np.isin(chosen["other"], chosen["hub"])]


class _DigestSet:
    """A set of digests that answers fast for the many that are not in it."""

    def __init__(self, digests: np.ndarray) -> None:
        self._sorted = np.unique(digests)
        self._low_bits = np.zeros(1 << 20, dtype=bool)
        self._low_bits[self._bits(digests)] = True

    @staticmethod
    def _bits(digests: np.ndarray) -> np.ndarray:
        return (digests & np.uint64((1 << 20) - 1)).astype(np.int64)

    def holds(self, digests: np.ndarray) -> np.ndarray:
        """Return bool (b,)."""
        held = self._low_bits[self._bits(digests)]
        maybe = np.flatnonzero(held)
        place = np.searchsorted(self._sorted, digests[maybe])
        held[maybe] = self._sorted[np.minimum(place, len(self._sorted) - 1)] == digests[maybe]
        return np.asarray(held)


def _excluded_rows(shards: ShardFolder, pair_index: int, sentences: _DigestSet) -> Iterator[np.ndarray]:
    """Find the rows with a side among `sentences`: blocks of int64, increasing."""
    for first, digests in _numbered_blocks(shards, pair_index):
        yield first + np.flatnonzero(sentences.holds(digests[:, 0]) | sentences.holds(digests[:, 1]))


_NOTHING = [("row", np.int64), ("hub", np.uint64), ("other", np.uint64)]


def _compute(shards: ShardFolder, pairs_per_language_pair: int, seed: int, folder: Path) -> None:
    """Choose, and write what was chosen; the rows that are not trained on go to disk block by block."""
    hubs = _hub_sides(shards)
    limits = np.minimum(pairs_per_language_pair, shards.counts // (1 + TRAINED_FOR_EACH_HELD_OUT)).tolist()
    chosen = [
        _choose(shards, pair, int(hubs[pair]), limit, seed) if limit else np.empty(0, _NOTHING)
        for pair, limit in enumerate(limits)
    ]
    sentences = _DigestSet(np.concatenate([rows[side] for rows in chosen for side in ("hub", "other")]))
    starts = np.zeros(len(chosen) + 1, dtype=np.int64)
    first_rows = np.cumsum(shards.counts) - shards.counts
    with open(folder / _EXCLUDED, "wb") as file:
        for pair in range(len(chosen)):
            starts[pair + 1] = starts[pair]
            for excluded in _excluded_rows(shards, pair, sentences):
                number = starts[pair + 1] + np.arange(len(excluded))
                file.write((first_rows[pair] + excluded - number).astype(_PLACE).tobytes())
                starts[pair + 1] += len(excluded)
    np.save(folder / _VALIDATION, np.concatenate([np.sort(rows["row"]) for rows in chosen]))
    index = {
        "validation": list(map(len, chosen)),
        "counts": (shards.counts - np.diff(starts)).tolist(),
        "excluded_starts": starts.tolist(),
        "digests": {name: digest_of(folder / name) for name in (_VALIDATION, _EXCLUDED)},
    }
    write_checked(folder / _INDEX, index)


def _map_places(path: Path) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, _PLACE)  # an empty file cannot be mapped
    return np.asarray(np.memmap(path, _PLACE, mode="r"))


def _load(place: Path) -> HoldOut | None:
    """Read what `_compute` wrote; None if it is not there or not whole."""
    if not place.exists():
        return None
    try:
        index = read_checked(place / _INDEX)
        if any(digest_of(place / name) != digest for name, digest in index["digests"].items()):
            raise ValueError("an array is not what was written")
        rows = np.load(place / _VALIDATION, allow_pickle=False)
        return HoldOut(
            validation=np.split(rows, np.cumsum(index["validation"])[:-1]),
            counts=np.array(index["counts"], dtype=np.int64),
            excluded_starts=np.array(index["excluded_starts"], dtype=np.int64),
            places=_map_places(place / _EXCLUDED),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged and made again: %s", place, error)
        return None


def _made(shards: ShardFolder, pairs_per_language_pair: int, seed: int, place: Path) -> HoldOut:
    """Compute and keep a choice, in place of any other."""
    place.parent.mkdir(exist_ok=True)
    with atomic_folder(place) as aside:
        _compute(shards, pairs_per_language_pair, seed, aside)
    for entry in place.parent.iterdir():
        if entry != place:  # an older choice, or what a killed process left
            shutil.rmtree(entry, ignore_errors=True)
    holdout = _load(place)
    if holdout is None:
        raise InputError(f"{place}: was damaged as soon as it was written")
    return holdout


def hold_out(shards: ShardFolder, *, pairs_per_language_pair: int, seed: int) -> HoldOut:
    """Choose validation pairs and find all pairs that must not be trained on because of them.

    Two passes over the digests, 16 bytes a pair each, in memory that does not depend on their number. The result is
    kept in the prepared folder, and found there as long as corpus and arguments are the same.

    Args:
        shards: the prepared corpus.
        pairs_per_language_pair: most pairs that are held out of a language pair; never more than a tenth of it, and
            fewer where pairs share sentences. 0 holds out nothing.
        seed: any integer.

    Raises:
        ValueError: `pairs_per_language_pair` is negative.
        InputError: no pair would be left to train on, or the shards are damaged. A language pair with nothing left
            while others have is not trained on, and a warning names it.
    """
    if pairs_per_language_pair < 0:
        raise ValueError(f"pairs_per_language_pair must not be negative, not {pairs_per_language_pair}")
    key = json.dumps([_VERSION, shards.digest, pairs_per_language_pair, seed])
    place = shards.folder / FOLDER / hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    with exclusive(shards.folder):
        holdout = _load(place)
        if holdout is None:
            holdout = _made(shards, pairs_per_language_pair, seed, place)
    logger.info(
        "%d pairs are held out; with those that share a sentence with them, %d of %d are not trained on",
        sum(map(len, holdout.validation)),
        len(holdout.places),
        len(shards),
    )
    emptied = ["-".join(pair) for pair, left in zip(shards.language_pairs, holdout.counts, strict=True) if not left]
    if not holdout.counts.any():
        raise InputError(
            f"validation.pairs_per_language_pair {pairs_per_language_pair}: every pair of the corpus shares a sentence "
            "with a held-out one, none is left to train on; lower it or use more text"
        )
    if emptied:
        logger.warning("not trained on, as every pair shares a sentence with a held-out one: %s", ", ".join(emptied))
    return holdout
