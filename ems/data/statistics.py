"""What a prepared corpus is like, for a person who has to judge it: lengths, repeated sentences, and folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from ems.data.reports import FileReport
from ems.data.shards import ShardFolder

SAMPLE = 100_000  # rows looked at of a language pair, spread evenly over it
FAR = 2.5  # a pair whose ratio of lengths is so many times that of its language pair is suspicious
_ROWS_AT_ONCE = 10_000
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class PairStatistics:
    """What the pairs of one language pair are like; all but `pairs` from some `SAMPLE` of them.

    Lengths are those of rows spread evenly; repetitions are counted among all rows of sentences chosen by their digest,
    as a sample of rows would hide most of them.

    Attributes:
        languages: source and target.
        pairs: how many there are.
        sampled: of how many the lengths were looked at.
        tokens: mean tokens of a source and of a target sentence.
        ratio: tokens of the target over those of the source: 5 %, 50 % and 95 % of the pairs have less.
        far: share of pairs whose ratio is more than `FAR` times the median, or less than the median divided by it.
        repeated: share of pairs that occurred before, with both sides.
        distinct: different sentences as a share of all, on the source and on the target side.
    """

    languages: tuple[str, str]
    pairs: int
    sampled: int
    tokens: tuple[float, float]
    ratio: tuple[float, float, float]
    far: float
    repeated: float
    distinct: tuple[float, float]


def _distinct(shards: ShardFolder, pair_index: int) -> tuple[float, float, float]:
    """Return distinct pairs, sources and targets as shares of all: of a thousand rows of one sentence, 0.001."""
    pairs = int(shards.counts[pair_index])
    limit = np.uint64((2**64 - 1) * min(SAMPLE, pairs) // pairs)
    kept: tuple[list[np.ndarray], ...] = ([], [], [])
    for source, target in shards.digests(pair_index):
        both = source * _ODD + target  # modulo 2^64: as evenly spread as the digests of the targets
        for values, chosen in zip((both, source, target), kept, strict=True):
            chosen.append(values[values <= limit])
    pair, source, target = (np.concatenate(chosen) for chosen in kept)

    def share(values: np.ndarray) -> float:
        return len(np.unique(values)) / max(1, len(values))  # none at all: few sentences, over and over

    return share(pair), share(source), share(target)


def _statistics(shards: ShardFolder, pair_index: int) -> PairStatistics:
    pairs = int(shards.counts[pair_index])
    rows = np.unique(np.linspace(0, pairs - 1, min(pairs, SAMPLE)).astype(np.int64))
    lengths = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        chosen = rows[start : start + _ROWS_AT_ONCE]
        found = shards.fetch(np.full(len(chosen), pair_index), chosen)
        lengths.append(np.stack([np.diff(found.src_offsets), np.diff(found.tgt_offsets)], axis=1))
    length = np.concatenate(lengths)
    distinct_pairs, *distinct = _distinct(shards, pair_index)
    ratio = length[:, 1] / length[:, 0]
    low, median, high = np.quantile(ratio, [0.05, 0.5, 0.95])
    return PairStatistics(
        languages=shards.language_pairs[pair_index],
        pairs=pairs,
        sampled=len(rows),
        tokens=(float(length[:, 0].mean()), float(length[:, 1].mean())),
        ratio=(float(low), float(median), float(high)),
        far=float(((ratio > FAR * median) | (ratio < median / FAR)).mean()),
        repeated=1 - distinct_pairs,
        distinct=(distinct[0], distinct[1]),
    )


def corpus_statistics(shards: ShardFolder) -> list[PairStatistics]:
    """Look at every language pair that has pairs, the largest first.

    Raises:
        InputError: the files are damaged.
    """
    order = np.argsort(-shards.counts, kind="stable")
    return [_statistics(shards, int(pair_index)) for pair_index in order if shards.counts[pair_index]]


def _lay_out(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def statistics_table(statistics: Iterable[PairStatistics]) -> str:
    """Return a table for a person, a line for each language pair."""
    rows = [["languages", "pairs", "tokens a sentence", "length ratio (5-95 %)", "far off", "repeated", "distinct"]]
    for one in statistics:
        low, median, high = one.ratio
        rows.append(
            [
                "-".join(one.languages),
                f"{one.pairs:,}",
                f"{one.tokens[0]:.1f} {one.tokens[1]:.1f}",
                f"{median:.2f} ({low:.2f}-{high:.2f})",
                f"{100 * one.far:.1f} %",
                f"{100 * one.repeated:.1f} %",
                f"{100 * one.distinct[0]:.0f} % {100 * one.distinct[1]:.0f} %",
            ]
        )
    return _lay_out(rows)


def folder_table(reports: Iterable[FileReport]) -> str | None:
    """Return a table of the pairs of each folder of the corpus, which often is its domain; None where there is one."""
    pairs: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for report in reports:
        folder = str(PurePosixPath(report.name).parent)
        pairs[folder] += report.kept
        files[folder] += 1
    if len(pairs) < 2:
        return None
    total = sum(pairs.values())
    rows = [["folder", "files", "pairs", "share"]]
    rows += [[name, f"{files[name]:,}", f"{n:,}", f"{100 * n / total:.1f} %"] for name, n in pairs.most_common()]
    return _lay_out(rows)
