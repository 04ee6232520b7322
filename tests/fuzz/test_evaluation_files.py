"""Whatever stands in test sets, results and precomputed vectors, they are read or refused by the documented error."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.eval.precomputed import PrecomputedEmbeddings
from ems.eval.results_file import read_results
from ems.eval.suite import TASKS, run_suite
from tests.eval import labelled_files
from tests.eval.bucc_corpora import write_noisy
from tests.fuzz.cases import cases, documented_errors, files_read, replaced, which
from tests.fuzz.damage import damages, json_values, with_other_value

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]


def write_test_sets(folder: Path) -> None:
    """Write a small copy of the test sets that come as text files."""
    for code in ("eng_Latn", "deu_Latn"):
        for split in ("devtest", "dev"):
            place = folder / "flores" / split / f"{code}.{split}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("".join(f"{code} {row}\n" for row in range(12)), encoding="utf-8")
    (folder / "tatoeba").mkdir()
    for side in ("deu", "eng"):
        (folder / "tatoeba" / f"tatoeba.deu-eng.{side}").write_text("".join(f"{side} {n}\n" for n in range(8)))
    write_noisy(folder / "bucc2018" / "de-en")
    (folder / "retrieval").mkdir()
    for side in ("de", "en"):
        (folder / "retrieval" / f"own.de-en.{side}").write_text("".join(f"{side} {n}\n" for n in range(8)))
    labelled_files.write_afrisenti(folder / "afrisenti", ("sw",), packed=False)
    labelled_files.write_nusax(folder / "nusax", packed=False)
    labelled_files.write_xed(folder / "xed", ("de",), 60, packed=False)


class EncodedError(Exception):
    """Report that a task has checked what it reads before it encodes."""


class Rehearsal:
    """An encoder that ends a task where it would encode."""

    name = "rehearsal"

    def encode(self, sentences: list[str]) -> np.ndarray:
        assert all(isinstance(sentence, str) for sentence in sentences)
        raise EncodedError


READ = ("tatoeba", "flores", "bucc-like", "bucc", "retrieval", "afrisenti", "nusax", "xed")


def read_task(name: str, folder: Path) -> None:
    with suppress(EncodedError):
        TASKS[name].run(Rehearsal(), folder, languages=None, strict=False)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_test_sets(folder)
    return folder


@pytest.fixture(scope="module")
def read_files(sets: Path) -> list[tuple[str, Path]]:
    """Each task with each file that it reads before it encodes."""
    found = [(name, path) for name in READ for path in files_read(sets, lambda name=name: read_task(name, sets))]
    assert {name for name, _ in found} == set(READ)
    return found


@cases(6_000)
@given(which, damages())
def test_test_sets(
    sets: Path, read_files: list[tuple[str, Path]], chosen: int, damage: Callable[[bytes], bytes]
) -> None:
    name, path = read_files[chosen % len(read_files)]
    with replaced(path, damage(path.read_bytes())), documented_errors():
        read_task(name, sets)


class Lengths:
    """An encoder whose vectors tell lengths and first letters."""

    name = "lengths"

    def encode(self, sentences: list[str]) -> np.ndarray:
        rows = [[len(s), ord(s[:1] or "a"), ord(s[-1:] or "a"), 1.0] for s in sentences]
        return np.array(rows, np.float32).reshape(-1, 4)


@pytest.fixture(scope="module")
def results(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    run_suite(Lengths(), sets, ["tatoeba", "flores"], output=folder)
    return folder / "results.json"


@cases(2_000)
@given(damages(), st.floats(0, 1), json_values, st.booleans())
def test_results_files(results: Path, damage: Callable[[bytes], bytes], where: float, new: Any, forged: bool) -> None:
    content = results.read_bytes()
    changed = json.dumps(with_other_value(json.loads(content), where, new)).encode() if forged else damage(content)
    with replaced(results, changed), documented_errors():
        read_results(results)


@cases(2_000)
@given(which, damages())
def test_precomputed_vectors(chosen: int, damage: Callable[[bytes], bytes]) -> None:
    with tempfile.TemporaryDirectory() as name, documented_errors():
        folder = Path(name)
        np.save(folder / "de.npy", np.ones((3, 4), np.float32))
        (folder / "de").write_text("a\nb\nc\n", encoding="utf-8")
        path = folder / ("de.npy" if chosen % 3 else "de")
        path.write_bytes(damage(path.read_bytes()))
        PrecomputedEmbeddings(folder).encode(["a", "c"])
