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
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ems
from ems.errors import InputError
from ems.eval import bucc_files, line_files
from ems.eval.benchmarks import (
    afrisenti,
    bucc,
    bucc_like,
    cls10,
    flores,
    health,
    line_retrieval,
    mldoc,
    nusax,
    sib200,
    tatoeba,
    xed,
    xsimpp,
)
from ems.eval.encoder_names import distinct_names
from ems.eval.encoders import SupportsEncode, check_encoder, open_encoder, warnings_worded
from ems.eval.output_folder import check_output, saying_what_is_kept
from ems.eval.parallel_text import NoLanguageLeft
from ems.eval.record import Record
from ems.eval.results_file import FORMAT_VERSION
from ems.languages import LANGUAGES

if TYPE_CHECKING:
    from ems.ranks import Ranks

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
    "health": Task(lambda data_folder: flores.find_folder(data_folder, "devtest"), health.evaluate_health),
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
NOT_YET = "the run had not come to it when this was written"
_ON_REQUEST = ("tatoeba-112", "flores-dev", "flores-all-pairs", "health")  # they score the same text once more
DEFAULT_TASKS = tuple(name for name in TASKS if name not in _ON_REQUEST)


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


class _FilesAreReadError(Exception):
    """Report that a task has checked its files and would encode now."""


class _Rehearsal:
    """An encoder that ends a task where it would encode its first sentence: until then tasks read all their files."""

    name = "rehearsal"

    def encode(self, sentences: list[str], /) -> Any:
        raise _FilesAreReadError


def _rehearse(name: str, data_folder: Path, languages: Sequence[str] | None, strict: bool) -> None:
    """Check the files of a task.

    Raises:
        InputError: as the task raises it.
    """
    with suppress(_FilesAreReadError):
        TASKS[name].run(_Rehearsal(), data_folder, languages=languages, strict=strict)


def _has_language(name: str, data_folder: Path, language: str) -> bool:
    try:
        _rehearse(name, data_folder, [language], strict=False)
    except InputError:
        return False
    return True


def _check_every_language(tasks: Sequence[str], data_folder: Path, languages: Sequence[str]) -> None:
    """Refuse a language that none of the tasks has; English is the other side of most."""
    for language in languages:
        is_english = language in LANGUAGES and LANGUAGES.resolve(language) == "en"
        if not is_english and not any(_has_language(name, data_folder, language) for name in tasks):
            raise InputError(f"{data_folder}: language '{language}' is in none of the tasks {', '.join(tasks)}")


def _plan(
    tasks: Sequence[str], data_folder: Path, languages: Sequence[str] | None, *, strict: bool, named: bool
) -> tuple[list[str], list[dict[str, str]]]:
    """Read the files of all tasks, so that what is wrong with one is known before the first sentence is encoded.

    Args:
        tasks: names.
        data_folder: as for `run_suite`.
        languages: as for `run_suite`.
        strict: as for `run_suite`.
        named: the tasks were asked for by name; otherwise those that have none of the languages are left out.

    Returns:
        The tasks to run, and those left out, as in "not_scored".
    """
    runnable: list[str] = []
    left_out: list[dict[str, str]] = []
    for name in tasks:
        try:
            _rehearse(name, data_folder, languages, strict)
            runnable.append(name)
        except NoLanguageLeft as error:
            if named:
                raise
            logger.warning("%s is left out: %s", name, error)
            left_out.append({"task": name, "reason": str(error)})
    if not runnable:
        asked = "a language that is scored unasked" if languages is None else f"any of {', '.join(languages)}"
        first, more = left_out[0], f"; and {len(left_out) - 1} more tasks" if len(left_out) > 1 else ""
        raise InputError(f"{data_folder}: no task has {asked}: {first['task']}: {first['reason']}{more}")
    if strict and languages is not None:
        _check_every_language(runnable, data_folder, languages)
    return runnable, left_out


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
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Score encoders on test sets.

    Args:
        encoders: one or several of what `ems.eval.encoders.open_encoder` takes: model folders, or objects with
            `encode(list of N str) -> (N, D) array`. Their names in the results differ.
        data_folder: holds the test sets as they were released; each benchmark's module says where.
        tasks: names out of `TASKS`; None: those of `DEFAULT_TASKS` whose files are there.
        languages: codes in any spelling; None: all languages of `ems` that a test set has.
        output: folder for results.json, results.md and report.html, made when needed; all are written after each task,
            so that an error in a later one costs no more than that one.
        strict: a language without its file is an error, and so is one of `languages` that no task has; otherwise it is
            skipped, and the record says so.
        batch_size: sentences a batch, for models; None leaves it to them.
        device: "cpu", "cuda", ...; None leaves it to the model.
        cache: folder to keep embeddings in, so that a second run need not encode again.
        ranks: processes that share the encoding with `ems` models, the others being in
            `ems.shared_encoder.first_with_helpers`; None for this one alone.

    Returns:
        {"format", "ems_version", "encoders": [{"name", "fingerprint", "records": [...], "not_scored": [{"task",
        "reason"}]}]}, as in results.json. Not scored are tasks not asked for by name that have none of the languages
        and, in the file of a run that ended early, those that it had not come to.

    Raises:
        InputError: an encoder, task, language, file or output that cannot be used, or an encoder given twice. The files
            of all tasks are read, and the folders of all encoders looked into, before the first sentence is encoded.
        ValueError: an encoder returns something other than one finite vector a sentence.
    """
    data_folder, output = Path(data_folder), None if output is None else Path(output)
    chosen = _choose_tasks(tasks, data_folder)
    specs = list(encoders) if isinstance(encoders, Sequence) and not isinstance(encoders, str) else [encoders]
    if not specs:
        raise InputError("no encoder given")
    names = distinct_names(specs)
    if output is not None:
        check_output(output)
    for spec in specs[1:]:  # the first is opened as soon as the files are read
        check_encoder(spec)
    runnable, left_out = _plan(chosen, data_folder, languages, strict=strict, named=tasks is not None)
    results: dict[str, Any] = {"format": FORMAT_VERSION, "ems_version": ems.__version__, "encoders": []}
    with saying_what_is_kept(output) as written:
        for spec, shown in zip(specs, names, strict=True):
            encoder = open_encoder(spec, batch_size=batch_size, device=device, cache=cache, name=shown, ranks=ranks)
            scored: dict[str, Any] = {"name": encoder.name, "fingerprint": encoder.fingerprint, "records": []}
            for number, name in enumerate(runnable, 1):
                logger.info("%s: %s", encoder.name, name)
                with warnings_worded(f"{name}: {{}}"):
                    records = TASKS[name].run(encoder, data_folder, languages=languages, strict=strict)
                scored["records"] = _distinct([*scored["records"], *records])
                scored["not_scored"] = left_out + [{"task": later, "reason": NOT_YET} for later in runnable[number:]]
                if number == 1:
                    results["encoders"].append(scored)
                written.write(results)
    return results
