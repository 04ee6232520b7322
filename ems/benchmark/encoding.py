"""Measure encoding, strings to vectors: ours, the plain way, and sentence-transformers, in turn on the same text."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ems.benchmark.case import Case
from ems.benchmark.flops import encoder_flops
from ems.benchmark.measure import matmul_rate, print_case, seconds
from ems.benchmark.plain import plain_encode
from ems.benchmark.training import MATRIX
from ems.benchmark.worker import workers
from ems.benchmark.workload import Workload, describe
from ems.config import Config, load_config
from ems.errors import InputError
from ems.inference import SentenceEncoder
from ems.model.dual_encoder import DualEncoder
from ems.model.int8 import round_to_int8


def _sentences(workload: Workload) -> list[str]:
    if workload.texts is None:
        raise InputError("benchmark encode reads text; give --text FILE")
    return list(itertools.chain.from_iterable(side for sides in workload.texts for side in sides))


def _encode_with(name: str, model: DualEncoder, workload: Workload, sentences: list[str]) -> Callable[[], object]:
    """Return what embeds all sentences with one implementation."""
    assert workload.tokenizer is not None
    if name in ("ems", "int8", "bf16"):
        encoder = round_to_int8(model.encoder) if name == "int8" else model.encoder
        encoder = encoder.to(torch.bfloat16) if name == "bf16" else encoder
        return partial(SentenceEncoder(encoder, workload.tokenizer).encode, sentences)
    if name == "plain":
        return partial(plain_encode, model.encoder, workload.tokenizer, sentences)
    from ems.benchmark.sentence_transformers_baseline import open_with_sentence_transformers

    return partial(open_with_sentence_transformers(model, workload.tokenizer).encode, sentences)


def _open(case: Case, count: int) -> tuple[Config, Workload, list[str]]:
    """Load what is needed for so many sentences."""
    pairs_in_step = load_config(case.config, case.overrides).batching.pairs
    config, workload = case.open(-(-count // (2 * pairs_in_step)))
    return config, workload, _sentences(workload)[:count]


def _prepare(name: str, case: Case, count: int) -> Callable[[bool], float]:
    """Return what embeds all sentences and says how long that took; weights are those before training."""
    config, workload, sentences = _open(case, count)
    encode = _encode_with(name, case.model(config, workload).eval(), workload, sentences)
    return lambda _: seconds(encode)


def measure_encoding(case: Case, count: int, baselines: Sequence[str]) -> list[dict[str, Any]]:
    """Measure ours and the baselines named, in turn.

    Args:
        case: text, config and rounds.
        count: sentences, of both sides of the text.
        baselines: out of "plain", "sentence-transformers", and ours in fewer bits: "int8", "bf16".

    Returns:
        One record for each, ours first: "sentences_per_second", "tokens_per_second", "matmul_fraction", "peak_bytes",
        ours with "ratio_to_...".
    """
    names = ["ems", *baselines]
    taken: dict[str, list[float]] = {name: [] for name in names}
    rates = []
    with case.with_tokenizer() as case:
        config, workload, sentences = _open(case, count)
        device = case.device(config)
        with workers(names, _prepare, case, count) as running:
            for _ in range(case.rounds):
                for name in names:
                    rates.append(matmul_rate(MATRIX, repeats=3, device=device))
                    taken[name].append(running[name].do(True))
            peaks = {name: worker.peak() for name, worker in running.items()}
    assert workload.tokenizer is not None
    longest = config.model.max_tokens
    lengths = np.minimum(workload.tokenizer.encode_flat(sentences)[1], longest).astype(np.int64)
    flops = encoder_flops(lengths, config.model)
    rate = statistics.median(rates)
    records = []
    for name in names:
        middle = statistics.median(taken[name])
        ratios = {
            f"ratio_to_{other.replace('-', '_')}": statistics.median(
                b / a for a, b in zip(taken["ems"], taken[other], strict=True)
            )
            for other in (baselines if name == "ems" else ())
        }
        records.append(
            {
                "case": f"encode {name}",
                "sentences": len(sentences),
                "sentences_per_second": len(sentences) / middle,
                "tokens_per_second": int(lengths.sum()) / middle,
                "seconds": middle,
                "matmul_fraction": flops / rate / middle,
                "peak_bytes": peaks[name],
                **ratios,
                "text": describe(workload, longest),
            }
        )
        print_case(records[-1])
    return records
