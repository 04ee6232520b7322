"""Whatever stands in prepared folders, models and checkpoints, they are read or refused by the documented error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ems
from ems.compat.authors import import_checkpoint
from ems.data.preparation import prepare_corpus
from ems.data.shard_manifest import digest_of, write_checked
from ems.data.shards import open_shards
from ems.model.folder import load_dual_encoder
from ems.tokenizer import Tokenizer
from ems.training.checkpoint import _json_digest
from ems.training.trainer import Trainer
from tests.compat.authors_checkpoint import random_weights, write_checkpoint
from tests.fuzz.cases import cases, documented_errors, files_read, replaced, which
from tests.fuzz.conftest import SMALLEST
from tests.fuzz.damage import damages, json_values, with_other_value
from tests.tiny import tiny_config

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]


def read_all(shards: Path, fingerprint: str) -> None:
    """Read every pair that a prepared folder says it has, and check it."""
    folder = open_shards(shards, fingerprint)
    for pair, count in enumerate(folder.counts.tolist()):
        rows = np.arange(count)
        pairs = folder.fetch(np.full(count, pair), rows)
        for tokens, offsets in ((pairs.src_tokens, pairs.src_offsets), (pairs.tgt_tokens, pairs.tgt_offsets)):
            assert tokens.size == offsets[-1] if count else tokens.size == 0
            assert ((tokens >= 0) & (tokens < folder.manifest.vocab_size)).all()
            assert (np.diff(offsets) > 0).all()
        assert sum(len(source) for source, _ in folder.digests(pair)) == count


@pytest.fixture(scope="module")
def fingerprint(run: Path) -> str:
    return Tokenizer.load(run / "prepared" / "tokenizer").fingerprint


@pytest.fixture(scope="module")
def shard_files(run: Path, fingerprint: str) -> list[Path]:
    found = files_read(run / "prepared" / "shards", lambda: read_all(run / "prepared" / "shards", fingerprint))
    assert {path.name for path in found} == {"manifest.json", "tokens.bin", "offsets.bin", "digests.bin"}
    return found


@cases(10_000)
@given(which, damages())
def test_prepared_folders(
    run: Path, shard_files: list[Path], fingerprint: str, chosen: int, damage: Callable[[bytes], bytes]
) -> None:
    path = shard_files[chosen % len(shard_files)]
    with replaced(path, damage(path.read_bytes())), documented_errors():
        read_all(run / "prepared" / "shards", fingerprint)


@cases(10_000)
@given(st.floats(0, 1), json_values, damages(), st.sampled_from(["tokens", "offsets", "digests", None]))
def test_prepared_folders_whose_digests_were_made_right_again(
    run: Path, fingerprint: str, where: float, new: Any, damage: Callable[[bytes], bytes], array: str | None
) -> None:
    """What an enemy would do: the content is wrong and every digest of it right."""
    manifest = run / "prepared" / "shards" / "manifest.json"
    value = json.loads(manifest.read_bytes())
    del value["checksum"]
    target = manifest.parent / "files" / value["files"][0]["shard"] / f"{array or 'tokens'}.bin"
    with replaced(manifest, manifest.read_bytes()), replaced(target, target.read_bytes()):
        if array is None:
            value = with_other_value(value, where, new)
        else:
            target.write_bytes(damage(target.read_bytes()))
            entry = value["files"][0]["arrays"][array]
            entry.update(bytes=target.stat().st_size, digest=digest_of(target), ctime_ns=target.stat().st_ctime_ns)
        write_checked(manifest, value)
        with documented_errors():
            read_all(manifest.parent, fingerprint)


def use_model(folder: Path) -> None:
    encoder = ems.load(folder, device="cpu")
    vectors = encoder.encode(["guten morgen", "", "日本 \ud800"])
    assert vectors.shape == (3, encoder.dimension)
    load_dual_encoder(folder)


@pytest.fixture(scope="module")
def model_files(run: Path) -> list[Path]:
    return files_read(run / "model", lambda: use_model(run / "model"))


@cases(4_000)
@given(which, damages())
def test_model_folders(run: Path, model_files: list[Path], chosen: int, damage: Callable[[bytes], bytes]) -> None:
    path = model_files[chosen % len(model_files)]
    with replaced(path, damage(path.read_bytes())), documented_errors():
        use_model(run / "model")


@cases(3_000)
@given(which, st.floats(0, 1), json_values)
def test_model_folders_with_other_settings(
    run: Path, model_files: list[Path], chosen: int, where: float, new: Any
) -> None:
    settings = [path for path in model_files if path.suffix == ".json"]
    path = settings[chosen % len(settings)]
    changed = with_other_value(json.loads(path.read_bytes()), where, new)
    with replaced(path, json.dumps(changed).encode("utf-8", "surrogatepass")), documented_errors():
        use_model(run / "model")


@cases(8_000)
@given(damages())
def test_sentencepiece_models(run: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "sentencepiece.model"
    path.write_bytes(damage((run / "model" / "sentencepiece.model").read_bytes()))
    with documented_errors():
        tokenizer = Tokenizer.from_sentencepiece(path)
        tokens, lengths = tokenizer.encode_flat(["guten morgen", ""])
        assert len(tokens) == lengths.sum()
        assert (tokens < tokenizer.vocab_size).all()


@pytest.fixture(scope="module")
def trainer(run: Path) -> Trainer:
    config = tiny_config(run.parent, *SMALLEST, "training.validate_every_steps=6")
    return Trainer(config, prepare_corpus(config), run)


@cases(3_000)
@given(which, damages(), st.floats(0, 1), json_values, st.booleans())
def test_checkpoints(
    trainer: Trainer, chosen: int, damage: Callable[[bytes], bytes], where: float, new: Any, forged: bool
) -> None:
    (folder,) = (trainer.folder / "checkpoints").iterdir()
    path = folder / "state.json" if forged else sorted(folder.iterdir())[chosen % 3]
    content = damage(path.read_bytes())
    if forged:
        value = json.loads(path.read_bytes())
        value["state"] = with_other_value(value["state"], where, new)
        value["own_digest"] = _json_digest(value)
        content = json.dumps(value).encode()
    with replaced(path, content), documented_errors():
        trainer.resume()
        assert trainer.progress.step == 6


@pytest.fixture(scope="module")
def authors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("authors") / "model.pt", random_weights(tied=False))


@cases(2_000)
@given(damages())
def test_checkpoints_of_the_authors(run: Path, authors: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(damage(authors.read_bytes()))
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with documented_errors():
        import_checkpoint(path, run / "model" / "sentencepiece.model", tmp_path / "out", num_heads=4)
