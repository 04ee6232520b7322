"""Run benchmarks on one or several encoders, and leave results.json, results.md and report.html.

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
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import ems
from ems.errors import InputError
from ems.eval import bucc_files, line_files
from ems.eval.benchmarks import (
    afrisenti,
    bucc,
    bucc_like,
    cls10,
    flores,
    line_retrieval,
    mldoc,
    nusax,
    sib200,
    tatoeba,
    xed,
    xsimpp,
)
from ems.eval.encoders import SupportsEncode, open_encoder
from ems.eval.parallel_text import NoLanguageLeft
from ems.eval.record import Record
from ems.eval.report import to_html, to_markdown
from ems.eval.results_file import FORMAT_VERSION
from ems.files import atomic_write, write_json

logger = logging.getLogger(__name__)

Spec = str | Path | SupportsEncode


class Runner(Protocol):
    """What runs a benchmark: `evaluate_...` of its module."""

    def __call__(
        self, encoder: SupportsEncode, data_folder: Path, *, languages: Sequence[str] | None, strict: bool
    ) -> list[Record]:
        """Return the records of one encoder."""


@dataclass(frozen=True)
class Task:
    """A benchmark that the suite can run by name.

    Attributes:
        find: data folder -> the folder with its files, or None.
        run: scores an encoder.
    """

    find: Callable[[Path], Path | None]
    run: Runner


def _flores(split: str, all_pairs: bool = False) -> Task:
    return Task(
        lambda data_folder: flores.find_folder(data_folder, split),
        partial(flores.evaluate_flores, split=split, all_pairs=all_pairs),
    )


def _find_xsimpp(data_folder: Path) -> Path | None:
    altered = xsimpp.find_folder(data_folder, "devtest")
    return altered if flores.find_folder(data_folder, "devtest") is not None else None


def _tatoeba(every_language: bool = False) -> Task:
    def run(
        encoder: SupportsEncode, data_folder: Path, *, languages: Sequence[str] | None, strict: bool
    ) -> list[Record]:
        chosen = "laser112" if every_language and languages is None else languages
        return [tatoeba.evaluate_tatoeba(encoder, data_folder, languages=chosen, strict=strict)]

    return Task(tatoeba.find_folder, run)


TASKS: Mapping[str, Task] = {
    "tatoeba": _tatoeba(),
    "tatoeba-112": _tatoeba(every_language=True),
    "flores": _flores("devtest"),
    "flores-dev": _flores("dev"),
    "flores-all-pairs": _flores("devtest", all_pairs=True),
    "flores-xsimpp": Task(_find_xsimpp, xsimpp.evaluate_xsimpp),
    "bucc": Task(bucc_files.find_folder, bucc.evaluate_bucc),
    "bucc-like": Task(bucc_like.find_folder, bucc_like.evaluate_bucc_like),
    "retrieval": Task(line_files.find_folder, line_retrieval.evaluate_line_retrieval),
    "sib200": Task(sib200.find_folder, sib200.evaluate_sib200),
    "mldoc": Task(mldoc.find_folder, mldoc.evaluate_mldoc),
    "cls10": Task(cls10.find_folder, cls10.evaluate_cls10),
    "afrisenti": Task(afrisenti.find_folder, afrisenti.evaluate_afrisenti),
    "nusax": Task(nusax.find_folder, nusax.evaluate_nusax),
    "xed": Task(xed.find_folder, xed.evaluate_xed),
}
# The others score the same text once more.
DEFAULT_TASKS = tuple(name for name in TASKS if name not in ("tatoeba-112", "flores-dev", "flores-all-pairs"))


def _choose_tasks(tasks: Sequence[str] | None, data_folder: Path) -> list[str]:
    if not data_folder.is_dir():
        raise InputError(f"{data_folder}: no such data folder")
    if tasks is None:
        chosen = [name for name in DEFAULT_TASKS if TASKS[name].find(data_folder) is not None]
        if not chosen:
            raise InputError(f"{data_folder}: no files of any task in it ({', '.join(DEFAULT_TASKS)})")
        return chosen
    for name in tasks:
        if name not in TASKS:
            near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.0)[0]
            raise InputError(f"unknown task '{name}'; did you mean '{near}'? There are {', '.join(TASKS)}")
        if TASKS[name].find(data_folder) is None:
            raise InputError(
                f"{data_folder}: no files of task '{name}' in it; docs/evaluation.md says how to lay them out"
            )
    if not tasks:
        raise InputError(f"no task given; there are {', '.join(TASKS)}")
    return list(dict.fromkeys(tasks))


def _distinct(records: Sequence[Record]) -> list[Record]:
    """Return the records without repetition: two tasks may score the same, as flores and flores-all-pairs do."""
    return list({(record["task"], record["split"], record["data_digest"]): record for record in records}.values())


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
        output: folder for results.json, results.md and report.html, made when needed; all are written after each
            encoder.
        strict: a language without its file is an error; otherwise it is skipped, and the record says so.
        batch_size: sentences a batch, for models; None leaves it to them.
        device: "cpu", "cuda", ...; None leaves it to the model.
        cache: folder to keep embeddings in, so that a second run need not encode again.

    Returns:
        {"format", "ems_version", "encoders": [{"name", "fingerprint", "records": [...], "not_scored": [{"task",
        "reason"}]}]}, as in results.json. Not scored are tasks not asked for by name that have none of the languages.

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
        records, not_scored = [], []
        for name in chosen:
            logger.info("%s: %s", encoder.name, name)
            try:
                records += TASKS[name].run(encoder, data_folder, languages=languages, strict=strict)
            except NoLanguageLeft as error:
                if tasks is not None:  # asked for by name
                    raise
                logger.warning("%s is left out: %s", name, error)
                not_scored.append({"task": name, "reason": str(error)})
        if not records:
            raise InputError(f"{data_folder}: no task has any of the languages {', '.join(languages or [])}")
        results["encoders"].append(
            {
                "name": encoder.name,
                "fingerprint": encoder.fingerprint,
                "records": _distinct(records),
                "not_scored": not_scored,
            }
        )
        if output is not None:
            write_results(results, Path(output))
    return results


def write_results(results: Mapping[str, Any], output: Path) -> None:
    """Write results.json, results.md and report.html into a folder, each atomically.

    results.json is whole; what the other two show is made from it, so they can be made again by `ems.eval.report`.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "results.json", results)
    for name, render in (("results.md", to_markdown), ("report.html", to_html)):
        with atomic_write(output / name, "w") as file:
            file.write(render(results))
