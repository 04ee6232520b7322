"""Run benchmarks on one or several encoders, and leave results.json and results.md.

What a record holds is said in `ems.eval.record`.

Example:
    >>> from ems.eval.suite import run_suite
    >>> results = run_suite("runs/quickstart/model", "data/eval", ["flores"], output="scores")  # doctest: +SKIP
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ems
from ems.errors import InputError
from ems.eval.benchmarks import flores, tatoeba
from ems.eval.encoders import OpenedEncoder, SupportsEncode, open_encoder
from ems.eval.record import Record
from ems.eval.report import to_markdown
from ems.files import atomic_write, write_json

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
Spec = str | Path | SupportsEncode


@dataclass(frozen=True)
class Task:
    """A benchmark that the suite can run by name.

    Attributes:
        find: data folder -> the folder with its files, or None.
        run: encoder, data folder, languages or None, strict -> records.
    """

    find: Callable[[Path], Path | None]
    run: Callable[[OpenedEncoder, Path, Sequence[str] | None, bool], list[Record]]


def _flores(split: str, all_pairs: bool = False) -> Task:
    def run(encoder: OpenedEncoder, data_folder: Path, languages: Sequence[str] | None, strict: bool) -> list[Record]:
        return flores.evaluate_flores(
            encoder, data_folder, split=split, languages=languages, all_pairs=all_pairs, strict=strict
        )

    return Task(lambda data_folder: flores.find_folder(data_folder, split), run)


def _run_tatoeba(
    encoder: OpenedEncoder, data_folder: Path, languages: Sequence[str] | None, strict: bool
) -> list[Record]:
    return [tatoeba.evaluate_tatoeba(encoder, data_folder, languages=languages, strict=strict)]


TASKS: Mapping[str, Task] = {
    "tatoeba": Task(tatoeba.find_folder, _run_tatoeba),
    "flores": _flores("devtest"),
    "flores-dev": _flores("dev"),
    "flores-all-pairs": _flores("devtest", all_pairs=True),
}
DEFAULT_TASKS = ("tatoeba", "flores")


def _choose_tasks(tasks: Sequence[str] | None, data_folder: Path) -> list[str]:
    if not data_folder.is_dir():
        raise InputError(f"{data_folder}: no such data folder")
    if tasks is None:
        chosen = [name for name in DEFAULT_TASKS if TASKS[name].find(data_folder) is not None]
        if not chosen:
            raise InputError(f"{data_folder}: no files of {' or '.join(DEFAULT_TASKS)} in it")
        return chosen
    for name in tasks:
        if name not in TASKS:
            near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.0)[0]
            raise InputError(f"unknown task '{name}'; did you mean '{near}'? There are {', '.join(TASKS)}")
        if TASKS[name].find(data_folder) is None:
            raise InputError(f"{data_folder}: no files of task '{name}' in it; docs/data.md says how to lay them out")
    if not tasks:
        raise InputError(f"no task given; there are {', '.join(TASKS)}")
    return list(dict.fromkeys(tasks))


def run_suite(
    encoders: Spec | Sequence[Spec],
    data_folder: str | Path,
    tasks: Sequence[str] | None = None,
    *,
    languages: Sequence[str] | None = None,
    output: str | Path | None = None,
    strict: bool = False,
    batch_size: int | None = None,
    device: str | None = None,
    cache: str | Path | None = None,
) -> dict[str, Any]:
    """Score encoders on test sets.

    Args:
        encoders: one or several of what `ems.eval.encoders.open_encoder` takes: model folders, or objects with
            `encode(list of N str) -> (N, D) array`.
        data_folder: holds the test sets as they were released; each benchmark's module says where.
        tasks: names out of `TASKS`; None: those of `DEFAULT_TASKS` whose files are there.
        languages: codes in any spelling; None: all languages of `ems` that a test set has.
        output: folder for results.json and results.md, made when needed. Both are written after each encoder.
        strict: a language without its file is an error; otherwise it is skipped, and the record says so.
        batch_size: sentences a batch, for models; None leaves it to them.
        device: "cpu", "cuda", ...; None leaves it to the model.
        cache: folder to keep embeddings in, so that a second run need not encode again.

    Returns:
        {"format", "ems_version", "encoders": [{"name", "fingerprint", "records": [...]}]}, as in results.json.

    Raises:
        InputError: an encoder, task, language or file that cannot be used.
        ValueError: an encoder returns something other than one finite vector a sentence.
    """
    data_folder = Path(data_folder)
    chosen = _choose_tasks(tasks, data_folder)
    specs = list(encoders) if isinstance(encoders, Sequence) and not isinstance(encoders, str) else [encoders]
    if not specs:
        raise InputError("no encoder given")
    if output is not None and Path(output).exists() and not Path(output).is_dir():
        raise InputError(f"output {output} is a file; name a folder")
    results: dict[str, Any] = {"format": FORMAT_VERSION, "ems_version": ems.__version__, "encoders": []}
    for spec in specs:
        encoder = open_encoder(spec, batch_size=batch_size, device=device, cache=cache)
        records = []
        for name in chosen:
            logger.info("%s: %s", encoder.name, name)
            records += TASKS[name].run(encoder, data_folder, languages, strict)
        results["encoders"].append({"name": encoder.name, "fingerprint": encoder.fingerprint, "records": records})
        if output is not None:
            write_results(results, Path(output))
    return results


def write_results(results: Mapping[str, Any], output: Path) -> None:
    """Write results.json and results.md into a folder, each atomically."""
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "results.json", results)
    with atomic_write(output / "results.md", "w") as file:
        file.write(to_markdown(results))
