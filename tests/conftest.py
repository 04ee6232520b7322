"""What many tests share: where real text and reference vectors lie, and the tiny models they run on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Several processes run the tests, one a core: threads of theirs would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


def _folder_or_skip(variable: str, default: Path, what: str) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"{what} not found at {folder}; set {variable} to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real parallel text: train/, eval/ and tokenizer/."""
    return _folder_or_skip("EMS_DATA", ROOT.parent / "shared" / "data", "real parallel text")


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Inputs and outputs of other programs, for parity."""
    return _folder_or_skip("EMS_GOLDEN", ROOT.parent / "shared" / "golden", "reference vectors")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny training run: the run folder."""
    from ems.training.trainer import train
    from tests.tiny import tiny_config, write_corpus

    folder = tmp_path_factory.mktemp("tiny")
    write_corpus(folder / "text")
    train(tiny_config(folder))
    return folder / "run"


@pytest.fixture(scope="session")
def tiny_model(tiny_run: Path) -> Path:
    """The model folder of the tiny run."""
    return tiny_run / "model"
