"""The small corpus that tests of shards prepare."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.small_corpus import (
    numbered,
    write_tsv,
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three language pairs in four files; en-de in two files, one of them the other way round."""
    folder = tmp_path / "corpus"
    write_tsv(
        folder,
        {
            "a.en-de.tsv": numbered("en-de", 40),
            "b.de-en.tsv": numbered("de-en", 25, first=100),
            "c.en-fr.tsv": numbered("en-fr", 30),
            "d.de-fr.tsv": numbered("de-fr", 3),
        },
    )
    return folder
