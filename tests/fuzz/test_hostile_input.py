"""Whatever stands in a file, a reader gives what it promises or the one documented error: 100,000 cases by -m fuzz."""

from __future__ import annotations

import gzip
import json
import logging
import lzma
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ems
from ems.compat.authors import import_checkpoint
from ems.config import load_config
from ems.data.corpus import FileReport, Rules, find_files, read_pairs
from ems.data.preparation import prepare_corpus
from ems.data.shard_manifest import digest_of, write_checked
from ems.data.shards import open_shards
from ems.errors import InputError
from ems.eval.precomputed import PrecomputedEmbeddings
from ems.eval.results_file import read_results
from ems.eval.suite import TASKS, run_suite
from ems.languages import LANGUAGES
from ems.model.folder import load_dual_encoder
from ems.tokenizer import Tokenizer
from ems.training.checkpoint import _json_digest, load_latest_checkpoint, restore
from ems.training.progress import Progress
from ems.training.tracking import cut_metrics
from tests.compat.authors_checkpoint import random_weights, write_checkpoint
from tests.eval import labelled_files
from tests.eval.bucc_corpora import write_noisy
from tests.fuzz.damage import damages, json_values, with_other_value
from tests.tiny import ROOT, tiny_config, write_corpus

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3600)]


def cases(number: int) -> Callable[[Any], Any]:
    """Try so many cases, drawn anew in every run; a failing one is printed as code that repeats it."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=number, deadline=None, suppress_health_check=checks, print_blob=True)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep warnings about damage out of memory: there are thousands."""
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """Give a file another content for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def check_error(error: Exception) -> None:
    assert str(error).strip()
    assert len(" ".join(str(error).split())) < 5000  # commands print it in one line


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


which = st.integers(0, 10_000)

LINES = "Guten Morgen.\tGood morning.\nJa.\tYes.\nДа.\tYes.\n\u200f\u0645\t日本\nA\tB\tC\n\n"
JSONL = '{"src": "Ja.", "tgt": "Yes."}\n{"src": "a", "tgt": "b", "src_lang": "de", "tgt_lang": "en", "score": 0.5}\n'


@cases(28_000)
@given(damage=damages(), packed=st.sampled_from(["", ".gz", ".xz"]), form=st.sampled_from(["tsv", "jsonl", "lines"]))
def test_corpus_readers(damage: Callable[[bytes], bytes], packed: str, form: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packed]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        if form == "lines":
            (folder / f"x.de-en.de{packed}").write_bytes(damage(pack(b"Ja.\nNein.\n")))
            (folder / f"x.de-en.en{packed}").write_bytes(pack(b"Yes.\nNo.\n"))
            entry: Any = {"src": f"x.de-en.de{packed}", "tgt": f"x.de-en.en{packed}", "languages": ["de", "en"]}
        else:
            entry = f"de-en.{form}{packed}"
            (folder / entry).write_bytes(damage(pack((LINES if form == "tsv" else JSONL).encode())))
        try:
            (file,) = find_files([entry], folder, registry=LANGUAGES)
            report = FileReport(file.name)
            pairs = list(read_pairs(file, rules=Rules(), registry=LANGUAGES, report=report))
        except InputError as error:
            check_error(error)
            return
    assert report.kept == len(pairs) > 0
    assert all(pair.src and pair.tgt and "\n" not in pair.src + pair.tgt for pair in pairs)


overrides = st.one_of(st.text(max_size=20), st.sampled_from(["run.seed=1", "run={a: 1}"]))
CONFIGS = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]


@cases(24_000)
@given(
    which,
    damages(),
    st.lists(st.one_of(st.text(max_size=20), st.sampled_from(["run.seed=1", "run={a: 1}"])), max_size=2),
)
def test_configs(tmp_path: Path, which: int, damage: Callable[[bytes], bytes], overrides: list[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(damage(CONFIGS[which % len(CONFIGS)]))
    try:
        load_config(path, overrides)
    except InputError as error:
        check_error(error)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, whose prepared corpus, model and checkpoints are damaged in turn."""
    from ems.training.trainer import train

    folder = tmp_path_factory.mktemp("fuzzed")
    write_corpus(folder / "text")
    train(tiny_config(folder, "model.hidden_size=8", "model.feed_forward_size=8", "training.keep_checkpoints=1"))
    return folder / "run"


def read_all(shards: Path, fingerprint: str) -> None:
    """Read every pair that a prepared folder says it has, and check it."""
    folder = open_shards(shards, fingerprint)
    for pair, count in enumerate(folder.counts.tolist()):
        rows = np.arange(min(count, 50))
        pairs = folder.fetch(np.full(len(rows), pair), rows)
        assert pairs.src_tokens.size == 0 or 0 <= pairs.src_tokens.min() <= pairs.src_tokens.max() < 300
        assert (np.diff(pairs.src_offsets) > 0).all()
        for _ in folder.digests(pair):
            pass


@cases(8_000)
@given(which, damages())
def test_prepared_folders(run: Path, which: int, damage: Callable[[bytes], bytes]) -> None:
    shards = run / "prepared" / "shards"
    files = files_in(shards)
    path = files[which % len(files)]
    fingerprint = Tokenizer.load(run / "prepared" / "tokenizer").fingerprint
    with replaced(path, damage(path.read_bytes())):
        try:
            read_all(shards, fingerprint)
        except InputError as error:
            check_error(error)


@cases(8_000)
@given(st.floats(0, 1), json_values, damages(), st.sampled_from(["tokens.bin", "offsets.bin", "digests.bin", ""]))
def test_prepared_folders_whose_digests_were_made_right_again(
    run: Path, where: float, new: Any, damage: Callable[[bytes], bytes], array: str
) -> None:
    """What an enemy would do: the content is wrong and every digest of it right."""
    shards = run / "prepared" / "shards"
    path = shards / "manifest.json"
    value = json.loads(path.read_bytes())
    del value["checksum"]
    fingerprint = value["tokenizer"]
    target = shards / "files" / value["files"][0]["shard"] / (array or "tokens.bin")
    with replaced(path, path.read_bytes()), replaced(target, target.read_bytes()):
        if array:
            target.write_bytes(damage(target.read_bytes()))
            entry = value["files"][0]["arrays"][array.removesuffix(".bin")]
            entry |= {"bytes": target.stat().st_size, "digest": digest_of(target)} if "bytes" in entry else {}
        else:
            value = with_other_value(value, where, new)
        write_checked(path, value)
        try:
            read_all(shards, fingerprint)
        except InputError as error:
            check_error(error)


def use_model(folder: Path) -> None:
    encoder = ems.load(folder, device="cpu")
    vectors = encoder.encode(["guten morgen", "", "日本 \ud800"])
    assert vectors.shape == (3, encoder.dimension)
    load_dual_encoder(folder)


@cases(4_000)
@given(which, damages())
def test_model_folders(run: Path, which: int, damage: Callable[[bytes], bytes]) -> None:
    files = files_in(run / "model")
    path = files[which % len(files)]
    with replaced(path, damage(path.read_bytes())):
        try:
            use_model(run / "model")
        except InputError as error:
            check_error(error)


@cases(3_000)
@given(which, st.floats(0, 1), json_values)
def test_model_folders_with_other_settings(run: Path, which: int, where: float, new: Any) -> None:
    files = [path for path in files_in(run / "model") if path.suffix == ".json"]
    path = files[which % len(files)]
    changed = with_other_value(json.loads(path.read_bytes()), where, new)
    with replaced(path, json.dumps(changed).encode("utf-8", "surrogatepass")):
        try:
            use_model(run / "model")
        except InputError as error:
            check_error(error)


@cases(8_000)
@given(damages())
def test_sentencepiece_models(run: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "sentencepiece.model"
    path.write_bytes(damage((run / "model" / "sentencepiece.model").read_bytes()))
    try:
        tokenizer = Tokenizer.from_sentencepiece(path)
    except InputError as error:
        check_error(error)
        return
    tokens, lengths = tokenizer.encode_flat(["guten morgen", ""])
    assert len(tokens) == lengths.sum()
    assert (tokens < tokenizer.vocab_size).all()


@cases(2_000)
@given(which, damages(), st.floats(0, 1), json_values, st.booleans())
def test_checkpoints(
    run: Path, which: int, damage: Callable[[bytes], bytes], where: float, new: Any, forged: bool
) -> None:
    (folder,) = (run / "checkpoints").iterdir()
    path = folder / "state.json" if forged else files_in(folder)[which % 3]
    content = damage(path.read_bytes())
    if forged:
        value = json.loads(path.read_bytes())
        value["state"] = with_other_value(value["state"], where, new)
        value["own_digest"] = _json_digest(value)
        content = json.dumps(value).encode()
    model = load_dual_encoder(run / "model")
    with replaced(path, content):
        try:
            checkpoint = load_latest_checkpoint(run / "checkpoints")
            assert checkpoint is not None
            restore(checkpoint, model, torch.optim.AdamW(model.parameters()))
        except InputError as error:
            check_error(error)
            return
    if isinstance(checkpoint.state, dict) and isinstance(checkpoint.state.get("progress"), dict):
        # The trainer turns these into one documented error.
        try:
            Progress.from_state(checkpoint.state["progress"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return


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


class Numbers:
    """An encoder of four numbers for each sentence."""

    name = "numbers"

    def encode(self, sentences: list[str]) -> np.ndarray:
        return np.array([[len(s), hash(s) % 97, hash(s) % 89, 1.0] for s in sentences], np.float32).reshape(-1, 4)


class EnoughError(Exception):
    """Report that a task has read all its files."""


class Rehearsal:
    """An encoder that ends a task where it would encode."""

    name = "rehearsal"

    def encode(self, sentences: list[str]) -> np.ndarray:
        assert all(isinstance(sentence, str) for sentence in sentences)
        raise EnoughError


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_test_sets(folder)
    for name in ("tatoeba", "flores", "bucc", "retrieval", "afrisenti", "nusax", "xed"):
        assert TASKS[name].find(folder) is not None, name
    return folder


@cases(10_000)
@given(which, damages(), st.booleans())
def test_benchmark_readers(sets: Path, which: int, damage: Callable[[bytes], bytes], strict: bool) -> None:
    files = files_in(sets)
    path = files[which % len(files)]
    task = {"flores": "bucc-like" if which % 2 else "flores", "bucc2018": "bucc"}
    name = path.relative_to(sets).parts[0]
    with replaced(path, damage(path.read_bytes())):
        try:
            TASKS[task.get(name, name)].run(Rehearsal(), sets, languages=None, strict=strict)
        except InputError as error:
            check_error(error)
        except EnoughError:
            pass


@cases(2_000)
@given(damages(), st.floats(0, 1), json_values, st.booleans())
def test_results_files(results: Path, damage: Callable[[bytes], bytes], where: float, new: Any, forged: bool) -> None:
    content = results.read_bytes()
    changed = json.dumps(with_other_value(json.loads(content), where, new)).encode() if forged else damage(content)
    with replaced(results, changed):
        try:
            read_results(results)
        except InputError as error:
            check_error(error)


@pytest.fixture(scope="module")
def results(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    run_suite(Numbers(), sets, ["tatoeba", "flores"], output=folder)
    return folder / "results.json"


@cases(1_500)
@given(which, damages())
def test_precomputed_vectors(
    tmp_path_factory: pytest.TempPathFactory, which: int, damage: Callable[[bytes], bytes]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "de.npy", np.ones((3, 4), np.float32))
        (folder / "de").write_text("a\nb\nc\n", encoding="utf-8")
        path = folder / ("de.npy" if which % 3 else "de")
        path.write_bytes(damage(path.read_bytes()))
        try:
            PrecomputedEmbeddings(folder).encode(["a", "c"])
        except InputError as error:
            check_error(error)


@cases(500)
@given(damages())
def test_metrics_of_a_run_that_goes_on(run: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(damage((run / "metrics.jsonl").read_bytes()))
    cut_metrics(path, 4)
    assert all(json.loads(line)["step"] <= 4 for line in path.read_bytes().splitlines())


@pytest.fixture(scope="module")
def authors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("authors") / "model.pt", random_weights(tied=False))


@cases(1_000)
@given(damages())
def test_checkpoints_of_the_authors(run: Path, authors: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(damage(authors.read_bytes()))
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    try:
        import_checkpoint(path, run / "model" / "sentencepiece.model", tmp_path / "out", num_heads=4)
    except InputError as error:
        check_error(error)


def test_a_prepared_folder_that_was_damaged_at_all_is_usable_again(run: Path) -> None:
    """After all that, what the tests above put back is whole."""
    prepare_corpus(tiny_config(run.parent, "model.hidden_size=8", "model.feed_forward_size=8"))
    use_model(run / "model")
