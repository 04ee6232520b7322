"""Measure encoding, strings to vectors: ours, the plain way, and sentence-transformers, in turn on the same text."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ems.benchmark.case import Case
from ems.benchmark.flops import encoder_flops
from ems.benchmark.measure import in_own_process, matmul_rate, peak_bytes, print_case, seconds
from ems.benchmark.plain import plain_encode
from ems.benchmark.training import MATRIX
from ems.benchmark.workload import Workload, describe
from ems.config import Config, load_config
from ems.errors import InputError
from ems.inference import SentenceEncoder, choose_device
from ems.model.dual_encoder import DualEncoder
from ems.training.trainer import build_model


def _sentences(workload: Workload) -> list[str]:
    if workload.texts is None:
        raise InputError("benchmark encode reads text; give --text FILE")
    return list(itertools.chain.from_iterable(side for sides in workload.texts for side in sides))


def _encode_with(name: str, model: DualEncoder, workload: Workload, sentences: list[str]) -> Callable[[], object]:
    """Return what embeds all sentences with one implementation."""
    assert workload.tokenizer is not None
    if name == "ems":
        return partial(SentenceEncoder(model.encoder, workload.tokenizer).encode, sentences)
    if name == "plain":
        return partial(plain_encode, model.encoder, workload.tokenizer, sentences)
    from ems.benchmark.sentence_transformers_baseline import open_with_sentence_transformers

    return partial(open_with_sentence_transformers(model, workload.tokenizer).encode, sentences)


def _open(case: Case, count: int) -> tuple[Config, Workload, list[str], DualEncoder]:
    """Load what is needed for so many sentences; weights are those before training."""
    pairs_in_step = load_config(case.config, case.overrides).batching.pairs
    config, workload = case.open(-(-count // (2 * pairs_in_step)))
    model = build_model(config, workload.vocab_size, workload.num_languages).eval()
    model.to(choose_device(None if config.run.device == "auto" else config.run.device))
    return config, workload, _sentences(workload)[:count], model


def measure_memory(case: Case, count: int, name: str) -> int:
    """Embed the sentences with one implementation and return the peak memory of this process in bytes."""
    _, workload, sentences, model = _open(case, count)
    _encode_with(name, model, workload, sentences)()
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else peak_bytes()


def measure_encoding(case: Case, count: int, baselines: Sequence[str]) -> list[dict[str, Any]]:
    """Measure ours and the baselines named, in turn.

    Args:
        case: text, config and rounds.
        count: sentences, of both sides of the text.
        baselines: out of "plain" and "sentence-transformers".

    Returns:
        One record for each, ours first: "sentences_per_second", "tokens_per_second", "matmul_fraction", "peak_bytes",
        ours with "ratio_to_...".
    """
    config, workload, sentences, model = _open(case, count)
    assert workload.tokenizer is not None
    longest = config.model.max_tokens
    lengths = np.minimum(workload.tokenizer.encode_flat(sentences)[1], longest).astype(np.int64)
    flops = encoder_flops(lengths, config.model)
    names = ["ems", *baselines]
    encode_of = {name: _encode_with(name, model, workload, sentences) for name in names}
    weight = next(model.parameters())
    taken: dict[str, list[float]] = {name: [] for name in names}
    rates = []
    for _ in range(case.rounds):
        for name in names:
            rates.append(matmul_rate(MATRIX, repeats=3, device=weight.device, dtype=weight.dtype))
            taken[name].append(seconds(encode_of[name]))
    rate = statistics.median(rates)
    records = []
    for name in names:
        middle = statistics.median(taken[name])
        arguments = (case.to_json(), count, name)
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
                "peak_bytes": in_own_process("ems.benchmark.encoding", *arguments)["peak_bytes"],
                **ratios,
                "text": describe(workload, longest),
            }
        )
        print_case(records[-1])
    return records


if __name__ == "__main__":
    case = Case.from_json(sys.argv[1])
    print(json.dumps({"peak_bytes": measure_memory(case, int(sys.argv[2]), sys.argv[3])}))
