"""Measure preparing and training as the corpus grows: text to shards, the first step, and the memory of many.

The corpus is generated: pairs of real text or of the embedded grammar, over and over, each with a number of its own, so
that no two are equal. Each case runs in processes of its own, since peak memory and start-up belong to a process.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ems.benchmark.measure import check_sizes, growth_exponent, in_own_process, peak_bytes, print_case, seconds
from ems.benchmark.workload import read_text
from ems.config import Config, load_config
from ems.data.grammar import training_pairs
from ems.data.preparation import prepare_corpus
from ems.errors import InputError
from ems.training.trainer import Trainer

_BYTES_A_PAIR = 250  # of text and shards
_STEPS = 200  # after the first one: enough to have read from everywhere in a large corpus
_TOKENIZER_SAMPLE = 20_000  # sentences that the tokenizer's own rate is measured on


def _write_corpus(path: Path, pairs: int, text: Sequence[str]) -> None:
    if text:
        sentences = [(pair.src, pair.tgt) for pair in read_text([Path(name) for name in text])]
    else:
        sentences = training_pairs(pairs_per_language=10_000)["en", "de"]
    with path.open("w", encoding="utf-8") as file:
        for number, (source, target) in enumerate(itertools.islice(itertools.cycle(sentences), pairs)):
            file.write(f"{source} {number}\t{target} {number}\n")


def _check_disk(folder: Path, pairs: int) -> None:
    needed, free = pairs * _BYTES_A_PAIR, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"--sizes: {pairs} pairs need some {needed / 1e9:.0f} GB, {folder} has {free / 1e9:.0f} GB free"
        )


def _config(config: str, overrides: Sequence[str], folder: Path) -> Config:
    places = [
        f"run.folder={folder / 'run'}",
        f"corpus.folder={folder}",
        "corpus.files=[en-de.tsv]",
        "corpus.languages=null",
        "corpus.prepared=null",
        "validation.sets=[]",
        "validation.metric=held_out",
        "validation.pairs_per_language_pair=100",
        "evaluation.sets=[]",
    ]
    return load_config(config, [*overrides, *places])


def measure_preparation(config: Config) -> dict[str, Any]:
    """Prepare once, then measure what of the time the tokenizer alone would have taken.

    The tokenizer's own rate is that of one `encode_flat` on a sample, in as many threads as it likes.
    """
    prepared: dict[str, Any] = {}

    def prepare() -> None:
        prepared["corpus"] = prepare_corpus(config)

    taken = seconds(prepare)
    peak = peak_bytes()
    corpus = prepared["corpus"]
    with (Path(config.corpus.folder) / "en-de.tsv").open(encoding="utf-8") as file:
        sample = [
            side for line in itertools.islice(file, _TOKENIZER_SAMPLE // 2) for side in line.rstrip("\n").split("\t")
        ]
    pairs = sum(total.pairs for total in corpus.shards.manifest.language_pairs)
    tokenizing = seconds(partial(corpus.tokenizer.encode_flat, sample)) / len(sample) * 2 * pairs
    return {"seconds": taken, "pairs": pairs, "tokenizer_fraction": tokenizing / taken, "peak_bytes": peak}


def measure_run(config: Config, begun: float) -> dict[str, Any]:
    """Take the first steps of a run on prepared text.

    Args:
        config: of the run.
        begun: when this process was started, in the clock of `time.time`.
    """
    trainer = Trainer(config, prepare_corpus(config), Path(config.run.folder))
    steps = iter(trainer.loader())
    trainer.take_step(next(steps))
    first = time.time() - begun
    taken = seconds(lambda: [trainer.take_step(loaded) for loaded in itertools.islice(steps, _STEPS)] and None)
    return {
        "seconds_to_first_step": first,
        "steps": _STEPS,
        "pairs_per_second_of_steps": _STEPS * config.batching.pairs / taken,
        "peak_bytes_of_run": peak_bytes(),
    }


def _tokenizer(config: str, overrides: Sequence[str], folder: Path, pairs: int, text: Sequence[str]) -> str:
    """Return the config's tokenizer, or train one and return its folder."""
    place = folder / "tokenizer"
    place.mkdir()
    wanted = _config(config, overrides, place)
    if wanted.tokenizer.model is not None:
        return str(Path(wanted.tokenizer.model).resolve())
    _write_corpus(place / "en-de.tsv", pairs, text)
    prepare_corpus(wanted)
    return str(wanted.prepared_folder / "tokenizer")


def benchmark_preparation(
    config: str, overrides: Sequence[str], sizes: Sequence[int], text: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Measure and print one case for each size, then how time and memory grow.

    Args:
        config: YAML file; without a tokenizer.model one is trained on the smallest corpus and used for all.
        overrides: as after --set.
        sizes: pairs, ascending.
        text: corpus files to take sentences from; none takes the embedded grammar.
    """
    check_sizes(sizes, "--sizes")
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        _check_disk(Path(folder), max(sizes))
        overrides = [*overrides, f"tokenizer.model={_tokenizer(config, overrides, Path(folder), sizes[0], text)}"]
        for size in sizes:
            place = Path(folder) / str(size)
            place.mkdir()
            _write_corpus(place / "en-de.tsv", size, text)
            arguments = json.dumps([config, overrides, str(place)])
            prepared = in_own_process("ems.benchmark.preparation", "prepare", arguments)
            run = in_own_process("ems.benchmark.preparation", "run", arguments, time.time())
            cases.append(
                {
                    "case": "prepare",
                    **prepared,
                    "pairs_per_second": prepared["pairs"] / prepared["seconds"],
                    **run,
                }
            )
            print_case(cases[-1])
    if len(sizes) > 1:
        print_case(
            {"case": "prepare, growth", "pairs": f"{sizes[0]} to {sizes[-1]}"}
            | {
                f"{name}_exponent": growth_exponent(sizes, [case[name] for case in cases])
                for name in ("seconds", "peak_bytes", "seconds_to_first_step", "peak_bytes_of_run")
            }
        )
    return cases


if __name__ == "__main__":
    file, overrides, folder = json.loads(sys.argv[2])
    opened = _config(file, overrides, Path(folder))
    case = measure_preparation(opened) if sys.argv[1] == "prepare" else measure_run(opened, float(sys.argv[3]))
    print(json.dumps(case))
