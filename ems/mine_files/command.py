"""Mine two text files of any size for translations in bounded memory, going on where a killed run stopped.

Three stages: read both files and keep their distinct sentences, embed them, search neighbours on both sides. The last
two resume where they were; reading, when it was not finished, begins again. Then pairs are scored and chosen as
`ems.mining.mine_bitext` does it. What is unfinished lies in the folder `.OUTPUT.work` beside the output and takes 4
bytes a value of every vector; it is removed at the end.

Example:
    >>> from ems.mine_files import mine_files
    >>> report = mine_files("runs/quickstart/model", "news.de", "news.en.gz", "pairs.tsv")  # doctest: +SKIP
    >>> report.pairs  # doctest: +SKIP
    1204
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence, Sized
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ems.errors import InputError, nearest
from ems.eval.encoders import OpenedEncoder, SupportsEncode, open_encoder
from ems.files import atomic_write, sync_folder, write_json
from ems.inference import choose_device
from ems.mine_files.folder import check_places, locked, places_of, remove
from ems.mine_files.memory import rows_at_a_time
from ems.mine_files.unique_sentences import LineCounts, UniqueSentences
from ems.mine_files.vector_file import VectorFile
from ems.mine_files.work import both_vectors, discard_if_nothing_is_embedded, identity_of, look_up, read_or_resume
from ems.mining import MARGINS, STRATEGIES, choose_pairs, score_candidates
from ems.search.approximate import search_approximate
from ems.search.blocks import SearchState, neighbours_on, neighbours_on_cpu, search_blocks
from ems.search.exact import Neighbours, checked_k

logger = logging.getLogger(__name__)

MEMORY = 2_000_000_000  # bytes


@dataclass(frozen=True)
class Side:
    """Say what became of one input.

    Attributes:
        file: its name.
        lines: what became of its lines.
        equal_vectors: sentences left out because the model cannot tell them from an earlier one (they differ in white
            space, say, or behind the cut at its most tokens).
    """

    file: str
    lines: LineCounts
    equal_vectors: int


@dataclass(frozen=True)
class MiningReport:
    """Say how pairs were mined and how many; also written as JSON beside the pairs.

    Attributes:
        source: the source file.
        target: the target file.
        model: name and fingerprint of the encoder; None where all vectors were given.
        dimension: values of a vector; 0 where a side has no sentence.
        margin: as given.
        strategy: as given.
        k: as given.
        k_used: neighbours of a source and of a target: k, or as many as there are on the other side.
        threshold: that pairs had to exceed; None for no limit.
        approximate: whether the search was.
        recall: of an approximate search, forward and backward (`ems.search.approximate`); None after an exact one.
        below_threshold: pairs chosen but not written.
        pairs: pairs written.
    """

    source: Side
    target: Side
    model: dict[str, str | None] | None
    dimension: int
    margin: str
    strategy: str
    k: int
    k_used: tuple[int, int]
    threshold: float | None
    approximate: bool
    recall: tuple[float, float] | None
    below_threshold: int
    pairs: int


def _check_choice(value: str, what: str, choices: Sequence[str]) -> None:
    if value not in choices:
        near = nearest(value, choices)
        raise InputError(f"unknown {what} {value!r}; did you mean {near!r}? There are {', '.join(choices)}")


def _checked_k(k: int) -> int:
    try:
        return checked_k(k)
    except ValueError as error:
        raise InputError(str(error)) from None


def _checked_threshold(threshold: float | None, strategy: str) -> float | None:
    """Return the score to exceed, None for no limit."""
    if threshold is None:
        return 0.0 if strategy == "max" else None
    try:
        number = float(threshold)
    except (TypeError, ValueError):
        raise InputError(f"threshold must be a number, not {threshold!r}") from None
    if math.isnan(number) or number == math.inf:
        raise InputError(f"threshold must be a number, or -inf for no limit, not {number}")
    return None if number == -math.inf else number


def _opened(
    encoder: str | Path | SupportsEncode | None,
    given: tuple[Path | None, Path | None],
    batch_size: int | None,
    device: str | None,
) -> OpenedEncoder | None:
    """Open the encoder if some sentences have no vectors yet."""
    if None not in given:
        if encoder is not None:
            logger.warning("the model is not used: the vectors of both sides are given")
        return None
    if encoder is None:
        raise InputError("sentences need a model, or vectors for the source and the target")
    return open_encoder(encoder, batch_size=batch_size, device=device)


def _rows_and_k(source: Sized, target: Sized, k: int) -> tuple[int, int]:
    """Return the rows of both sides together, and the most neighbours that a row can have."""
    return len(source) + len(target), min(k, max(len(source), len(target)))


def _search(
    work: Path, source: VectorFile, target: VectorFile, k: int, memory: int, approximate: bool, device: str | None
) -> tuple[Neighbours, Neighbours, tuple[float, float] | None]:
    """Find the neighbours of both sides, and the recall where it is not known to be 1."""
    rows = rows_at_a_time(memory, *_rows_and_k(source, target, k), source.shape[1], approximate)
    settings = {"approximate": approximate, "rows": rows}
    state = SearchState(len(source), len(target), k, work / "search.npz", settings)
    if state.restarted:
        logger.info("the search starts anew: it was begun with another k, memory or kind of search, or is damaged")
    if approximate:
        found = search_approximate(source, target, k, shard_rows=rows, state=state)
        return found.forward, found.backward, found.recall
    chosen = choose_device(device)
    engine = neighbours_on_cpu if chosen.type == "cpu" else neighbours_on(chosen)
    return *search_blocks(source, target, k, block_rows=rows, block_neighbours=engine, state=state), None


@dataclass(frozen=True)
class _Pairs:
    """Pairs of sentences by their numbers, best first."""

    scores: NDArray[np.float64]
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]

    def above(self, threshold: float | None) -> _Pairs:
        count = len(self.scores) if threshold is None else int(np.count_nonzero(self.scores > threshold))
        return _Pairs(self.scores[:count], self.sources[:count], self.targets[:count])


_NO_PAIRS = _Pairs(np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


def _chosen(
    forward: Neighbours, backward: Neighbours, source: VectorFile, target: VectorFile, margin: str, strategy: str
) -> _Pairs:
    """Score the neighbours, choose pairs, and go from distinct vectors to the numbers of sentences."""
    candidates = score_candidates(forward, backward, margin)
    scores, i, j = choose_pairs(*candidates, strategy=strategy, threshold=-math.inf)
    order = np.argsort(-scores, kind="stable")
    i, j = i[order], j[order]
    return _Pairs(
        scores[order], i if source.kept is None else source.kept[i], j if target.kept is None else target.kept[j]
    )


def _write_pairs(file: Path, pairs: _Pairs, source: UniqueSentences, target: UniqueSentences) -> None:
    with atomic_write(file) as written, source.lookup() as source_text, target.lookup() as target_text:
        for score, i, j in zip(pairs.scores, pairs.sources, pairs.targets, strict=True):
            written.write(b"%.6f\t%b\t%b\n" % (score, source_text(i), target_text(j)))


def mine_files(
    encoder: str | Path | SupportsEncode | None,
    source: str | Path,
    target: str | Path,
    output: str | Path,
    *,
    margin: str = "ratio",
    strategy: str = "max",
    k: int = 4,
    threshold: float | None = None,
    memory: int = MEMORY,
    approximate: bool = False,
    source_vectors: str | Path | None = None,
    target_vectors: str | Path | None = None,
    batch_size: int | None = None,
    device: str | None = None,
) -> MiningReport:
    """Write the pairs of sentences of two files that are probably translations of each other.

    The output is TSV: score with six decimals, source sentence, target sentence; best first, of equal scores in the
    strategy's order. Beside it stands `output`.json, the report. White space around a sentence is dropped, blank lines
    are left out, every distinct sentence is used once, and controls in it (tabs, say) become spaces; all is counted.

    Run again after a kill, it goes on; the output is the same. Inputs or a model that have changed since are refused.

    Args:
        encoder: model folder, or object with `encode(list of str)` (see `ems.eval.encoders.open_encoder`); None where
            vectors are given for both sides. An object without `fingerprint` (str) starts anew after a kill.
        source: UTF-8 text, one sentence a line; plain, .gz, .xz or .zst.
        target: likewise.
        output: `.tsv` file to write.
        margin: "ratio", "distance" or "absolute"; see `ems.mining.margin_score`.
        strategy: "max", "intersect", "fwd" or "bwd"; see `ems.mining.mine_bitext`.
        k: neighbours of a sentence that are scored, and over which its mean is taken.
        threshold: a score that pairs must exceed to be written, whatever the strategy. None: 0 for "max", no limit
            for the others, as in `mine_bitext`; -inf: no limit.
        memory: bytes, beyond the interpreter, the model and its batches, that search and choice of pairs may take.
        approximate: search by `ems.search.approximate`, for millions of sentences without a GPU.
        source_vectors: `.npy` array with one row a line of `source`, as `ems encode` writes it, used in place of the
            encoder.
        target_vectors: likewise.
        batch_size: most sentences in one forward pass.
        device: "cpu" or "cuda", for the model and the exact search; None takes a GPU where there is one.

    Returns:
        Counts, and how pairs were mined.

    Raises:
        InputError: an argument, an input or the output cannot be used, `memory` is too little, or the unfinished work
            belongs to other inputs or another model.
        OSError: the output cannot be written, for lack of space, say. The work is kept.
    """
    _check_choice(margin, "margin", MARGINS)
    _check_choice(strategy, "strategy", STRATEGIES)
    k, threshold = _checked_k(k), _checked_threshold(threshold, strategy)
    files, (output, report_file, work) = (Path(source), Path(target)), places_of(output)
    given = (Path(source_vectors) if source_vectors else None, Path(target_vectors) if target_vectors else None)
    check_places([*files, *(file for file in given if file)], [output, report_file], work)
    opened = _opened(encoder, given, batch_size, device)
    model = None if opened is None else {"name": opened.name, "fingerprint": opened.fingerprint}
    with locked(work):
        sentences = read_or_resume(
            work, files, identity_of(given, opened), resumable=opened is None or opened.fingerprint is not None
        )
        looked_up = look_up(work, files, sentences, given)
        pairs, dimension, equal_vectors, k_used, recall = _NO_PAIRS, 0, (0, 0), (0, 0), None
        if all(len(side) for side in sentences):
            # Said now rather than after the embedding, though the dimension is not known yet.
            try:
                rows_at_a_time(memory, *_rows_and_k(*sentences, k), 1, approximate)
            except InputError:
                discard_if_nothing_is_embedded(work, given)
                raise
            rows = both_vectors(work, files, sentences, given, looked_up, opened)
            opened = None  # its memory is free for the search
            forward, backward, recall = _search(work, *rows, k, memory, approximate, device)
            pairs = _chosen(forward, backward, *rows, margin, strategy)
            dimension = rows[0].shape[1]
            k_used = forward.index.shape[1], backward.index.shape[1]
            equal_vectors = len(sentences[0]) - len(rows[0]), len(sentences[1]) - len(rows[1])
        written = pairs.above(threshold)
        report = MiningReport(
            source=Side(str(source), sentences[0].counts, equal_vectors[0]),
            target=Side(str(target), sentences[1].counts, equal_vectors[1]),
            model=model,
            dimension=dimension,
            margin=margin,
            strategy=strategy,
            k=k,
            k_used=k_used,
            threshold=threshold,
            approximate=approximate,
            recall=recall,
            below_threshold=len(pairs.scores) - len(written.scores),
            pairs=len(written.scores),
        )
        _write_pairs(work / "pairs.tsv", written, *sentences)
        write_json(work / "pairs.json", asdict(report))
        os.replace(work / "pairs.json", report_file)
        os.replace(work / "pairs.tsv", output)
        sync_folder(output.parent)
        remove(work)
    return report
