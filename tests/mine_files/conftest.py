"""Two files to mine, and a folder for what comes out."""

from __future__ import annotations

import numpy as np
import pytest

from ems.mine_files import memory, vector_file


@pytest.fixture
def files(tmp_path):
    generator = np.random.default_rng(5)
    german = [f"de {i}" for i in generator.permutation(90)]
    english = [f"en {i}" for i in generator.permutation(120)]
    (tmp_path / "in.de").write_text("\n".join([*german, "", german[3], "  "]), encoding="utf-8")
    (tmp_path / "in.en").write_text("".join(f"{line}\n" for line in english), encoding="utf-8")
    return tmp_path / "in.de", tmp_path / "in.en"


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "pairs.tsv"


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(vector_file, "CHUNK", 16)
    monkeypatch.setattr(memory, "BLOCK_ROWS", 40)
