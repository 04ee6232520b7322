"""Fixtures of the fuzz tests: silence, and a finished run to damage."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from ems.training.trainer import train
from tests.tiny import tiny_config, write_corpus

SMALLEST = ("model.hidden_size=8", "model.feed_forward_size=8", "training.keep_checkpoints=1")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep warnings about damage out of memory: there are thousands."""
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, whose prepared corpus, model and checkpoint are damaged in turn."""
    folder = tmp_path_factory.mktemp("fuzzed")
    write_corpus(folder / "text")
    train(tiny_config(folder, *SMALLEST, "training.validate_every_steps=6"))
    return folder / "run"
