"""Write what an evaluation found into a folder, after a check that this is possible before time goes into encoding."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ems.errors import InputError
from ems.eval.report import to_html, to_markdown
from ems.files import atomic_write, write_json

logger = logging.getLogger(__name__)

RESULT_FILES = ("results.json", "results.md", "report.html")


def check_output(output: Path) -> None:
    """Find out whether results can be written to a folder, made or yet to be made, without leaving a trace.

    Raises:
        InputError: says why not.
    """
    try:
        if output.is_file():
            raise InputError(f"output {output} is a file; name a folder")
        for existing in (output, *output.parents):
            with suppress(FileNotFoundError):
                os.lstat(existing)  # a link to nothing is something: no folder can be made there
                break
        if not existing.is_dir():
            raise InputError(f"output {output} cannot be used: {existing} is no folder")
        with tempfile.TemporaryFile(dir=existing):
            pass
        for name in RESULT_FILES:
            if (output / name).is_dir():
                raise InputError(f"output {output} cannot be used: {name} in it is a folder")
    except OSError as error:
        raise InputError(f"output {output} cannot be used as a folder ({error.strerror})") from error


def write_results(results: Mapping[str, Any], output: Path) -> None:
    """Write results.json, results.md and report.html into a folder, each atomically.

    results.json is whole; what the other two show is made from it, so they can be made again by `ems.eval.report`.
    """
    output.mkdir(parents=True, exist_ok=True)
    whole, *pages = RESULT_FILES
    write_json(output / whole, results)
    for name, render in zip(pages, (to_markdown, to_html), strict=True):
        with atomic_write(output / name, "w") as file:
            file.write(render(results))


class Written:
    """Where results are written, and whether all tasks finished so far are there.

    Attributes:
        whole: results.json was written after the last task that ended.
    """

    def __init__(self, output: Path | None) -> None:
        self.output = output
        self.whole = False

    def write(self, results: Mapping[str, Any]) -> None:
        """Write the results, if there is a folder for them."""
        if self.output is not None:
            self.whole = False
            write_results(results, self.output)
            self.whole = True


@contextmanager
def saying_what_is_kept(output: Path | None) -> Iterator[Written]:
    """Say, when a run ends early for whatever reason, where the tasks are that it finished."""
    written = Written(output)
    try:
        yield written
    except BaseException:
        if output is not None and written.whole:
            logger.warning("the run ended early; the tasks that it finished are in %s", output / "results.json")
        raise
