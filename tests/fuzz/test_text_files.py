"""Whatever stands in corpus files, configs and metrics, they are read or refused by the documented error."""

from __future__ import annotations

import gzip
import json
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.config import load_config
from ems.data.corpus import FileReport, Rules, find_files, read_pairs
from ems.languages import LANGUAGES
from ems.training.tracking import cut_metrics
from tests.fuzz.cases import cases, documented_errors, which
from tests.fuzz.damage import damages
from tests.tiny import ROOT

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]

LINES = "Guten Morgen.\tGood morning.\nJa.\tYes.\nДа.\tYes.\n\u200f\u0645\t日本\nA\tB\tC\n\n"
JSONL = '{"src": "Ja.", "tgt": "Yes."}\n{"src": "a", "tgt": "b", "src_lang": "de", "tgt_lang": "en", "score": 0.5}\n'
PACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


def write_corpus_files(folder: Path, form: str, packed: str, damage: Callable[[bytes], bytes]) -> Any:
    """Write a damaged corpus file and return its entry in a config."""
    pack = PACK[packed]
    if form == "lines":
        (folder / f"x.de{packed}").write_bytes(damage(pack(b"Ja.\nNein.\n")))
        (folder / f"x.en{packed}").write_bytes(pack(b"Yes.\nNo.\n"))
        return {"src": f"x.de{packed}", "tgt": f"x.en{packed}", "languages": ["de", "en"]}
    (folder / f"de-en.{form}{packed}").write_bytes(damage(pack((LINES if form == "tsv" else JSONL).encode())))
    return f"de-en.{form}{packed}"


@cases(30_000)
@given(damage=damages(), packed=st.sampled_from(sorted(PACK)), form=st.sampled_from(["tsv", "jsonl", "lines"]))
def test_corpus_files(damage: Callable[[bytes], bytes], packed: str, form: str) -> None:
    with tempfile.TemporaryDirectory() as name, documented_errors():
        (file,) = find_files([write_corpus_files(Path(name), form, packed, damage)], name, registry=LANGUAGES)
        report = FileReport(file.name)
        pairs = list(read_pairs(file, rules=Rules(), registry=LANGUAGES, report=report))
        assert report.kept == len(pairs) > 0
        assert all(pair.src and pair.tgt and "\n" not in pair.src + pair.tgt for pair in pairs)


CONFIGS = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
OVERRIDES = st.one_of(st.text(max_size=20), st.sampled_from(["run.seed=1", "run={a: 1}", "training.max_steps=[[["]))


@cases(16_000)
@given(which, damages(), st.lists(OVERRIDES, max_size=2))
def test_configs(tmp_path: Path, chosen: int, damage: Callable[[bytes], bytes], overrides: list[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(damage(CONFIGS[chosen % len(CONFIGS)]))
    with documented_errors():
        load_config(path, overrides)


METRICS = b"".join(b'{"step": %d, "train/loss": 2.5, "time/seconds": 0.1}\n' % step for step in range(1, 9))


@cases(4_000)
@given(damages())
def test_metrics_of_a_run_that_goes_on(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(damage(METRICS))
    cut_metrics(path, 4)
    assert all(json.loads(line)["step"] <= 4 for line in path.read_bytes().splitlines())
