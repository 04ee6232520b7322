"""Several processes encode and evaluate like one: real processes, started by torchrun, that talk over gloo."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ems
from ems.cli import main
from ems.data.grammar import training_pairs
from ems.shared_encoder import FEWEST_TO_SHARE
from tests.processes import torchrun

GERMAN = [target for _, target in training_pairs(pairs_per_language=400)["en", "de"]]
# Blank, too long, with a repetition, and of many lengths.
LINES = [*GERMAN[:200], "", "Guten Morgen " * 60, *GERMAN[:20], "   ", *GERMAN[200:]]


# Counts the sentences that each process computes.
COUNTING = """
import sys
from ems import cli, inference, torchrun
counts, compute = sys.argv.pop(1), inference.SentenceEncoder.encode_tokens
def counted(self, tokens, lengths, batch_size=None):
    with open(f"{counts}/{torchrun.local_rank()}", "a") as file:
        file.write(f"{len(lengths)}\\n")
    return compute(self, tokens, lengths, batch_size)
inference.SentenceEncoder.encode_tokens = counted
sys.exit(cli.main())
"""


def test_a_file_that_several_processes_encode_has_the_rows_of_one(tiny_model: Path, tmp_path: Path) -> None:
    assert len(LINES) > 3 * FEWEST_TO_SHARE
    (tmp_path / "text").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    (tmp_path / "counting.py").write_text(COUNTING)
    (tmp_path / "counts").mkdir()
    with open(tmp_path / "text", "rb") as text:
        arguments = ("encode", "--model", tiny_model, "--input", "-", "--output", tmp_path / "shared.npy")
        process = torchrun(3, tmp_path / "counting.py", tmp_path / "counts", *arguments, stdin=text)
        out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert out.count(f"{len(LINES)} vectors in ") == 1
    assert errors.count("2 sentences hold no text; their vectors are zero") == 1
    assert errors.count("1 sentence was cut to its first 48 tokens") == 1
    shares = [int((tmp_path / "counts" / str(rank)).read_text()) for rank in range(3)]
    assert sum(shares) == len(LINES)
    assert max(shares) - min(shares) <= 1
    np.testing.assert_allclose(np.load(tmp_path / "shared.npy"), ems.load(tiny_model).encode(LINES), atol=1e-5)


FAILING = """
import os, sys
from ems import cli, inference
victim, compute = sys.argv.pop(1), inference.SentenceEncoder.encode_tokens
def fails(self, tokens, lengths, batch_size=None):
    if os.environ["RANK"] == victim:
        raise RuntimeError("no memory for this batch")
    return compute(self, tokens, lengths, batch_size)
inference.SentenceEncoder.encode_tokens = fails
sys.exit(cli.main())
"""


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.survival)])
def test_a_process_that_fails_while_it_encodes_ends_all_of_them(tiny_model: Path, tmp_path: Path, victim: int) -> None:
    (tmp_path / "text").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    (tmp_path / "failing.py").write_text(FAILING)
    output = tmp_path / "x.npy"
    arguments = ("encode", "--model", tiny_model, "--input", tmp_path / "text", "--output", output)
    process = torchrun(2, tmp_path / "failing.py", victim, *arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("ems encode: no memory for this batch") == 1
    assert not output.exists()


def write_flores(folder: Path) -> None:
    english, german = zip(*training_pairs(pairs_per_language=300)["en", "de"], strict=True)
    folder.mkdir(parents=True)
    for code, sentences in {"eng_Latn": english, "deu_Latn": german}.items():
        (folder / f"{code}.devtest").write_text("".join(f"{line}\n" for line in sentences), encoding="utf-8")


def test_scores_of_several_processes_are_those_of_one_and_one_writes(tiny_model: Path, tmp_path: Path) -> None:
    write_flores(tmp_path / "data" / "flores200_dataset" / "devtest")
    arguments = ["--model", str(tiny_model), "--data", str(tmp_path / "data"), "--tasks", "flores", "--output"]
    process = torchrun(2, "scripts/evaluate.py", *arguments, tmp_path / "shared")
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert out.count("results in ") == 1
    assert main(["evaluate", *arguments, str(tmp_path / "alone")]) == 0
    shared, alone = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("shared", "alone"))
    for record, expected in zip(shared["encoders"][0]["records"], alone["encoders"][0]["records"], strict=True):
        # A rounding may decide a tie between two sentences.
        assert record["means"]["ems62"]["x->en"] == pytest.approx(expected["means"]["ems62"]["x->en"], abs=2 / 300)
        assert record["data_digest"] == expected["data_digest"]


def test_what_is_wrong_is_said_once_and_ends_all_processes(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Guten Morgen\n", encoding="utf-8")
    process = torchrun(
        2, "scripts/encode.py", "--model", tmp_path, "--input", tmp_path / "text", "--output", tmp_path / "x.npy"
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.count("ems encode: ") == 1
    assert "ems.json" in errors
    assert not (tmp_path / "x.npy").exists()
