"""Runs on text that is hard to train on and in places that are hard to name end well, or say what is wrong."""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ems
from ems.data.grammar import training_pairs
from ems.data.shard_manifest import read_manifest
from ems.languages import LANGUAGES
from ems.training.run_folder import run_lock
from ems.training.tracking import read_metrics
from ems.training.trainer import train
from tests.data.small_corpus import INVISIBLE
from tests.tiny import LINES, tiny_config, write_corpus


def write_pairs(path: Path, pairs: list[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")


def losses(folder: Path) -> list[float]:
    return [line["train/loss"] for line in read_metrics(folder / "run" / "metrics.jsonl") if "train/loss" in line]


def test_a_language_with_one_pair_is_trained_on_and_nothing_of_it_is_held_out(tmp_path: Path) -> None:
    write_corpus(tmp_path / "text")
    write_pairs(tmp_path / "text" / "en-fr.tsv", [("A sentence of its own.", "Une phrase à elle seule.")])
    model = train(tiny_config(tmp_path, "batching.sampling_temperature=1000"))
    assert json.loads((model / "ems.json").read_text())["training"]["pairs_by_language_pair"]["en-fr"] == 1
    assert len(losses(tmp_path)) == 6


def test_batches_in_which_all_pairs_share_a_sentence_have_no_negatives_and_a_finite_loss(tmp_path: Path) -> None:
    english, german = zip(*training_pairs(pairs_per_language=300)["en", "de"], strict=True)
    write_pairs(tmp_path / "text" / "en-de.tsv", [("yes", sentence) for sentence in german])
    dev = tmp_path / "eval" / "flores" / "dev"
    dev.mkdir(parents=True)
    for code, sentences in {"eng_Latn": english, "deu_Latn": german}.items():
        (dev / f"{code}.dev").write_text("".join(f"{line}\n" for line in sentences[:20]), encoding="utf-8")
    by_flores = ("validation.pairs_per_language_pair=0", "validation.sets=[flores-dev]", "validation.metric=flores-dev")
    train(tiny_config(tmp_path, *by_flores, "evaluation.sets=[flores-dev]", "tokenizer.vocab_size=150"))
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "train/loss" in line]
    assert all(math.isfinite(line["train/loss"]) for line in lines)
    assert [line["train/loss_contrastive"] for line in lines] == [0.0] * 6


def test_sentences_without_a_token_are_left_out_and_counted(tmp_path: Path) -> None:
    write_corpus(tmp_path / "text")
    with open(tmp_path / "text" / "en-de.tsv", "a", encoding="utf-8") as file:
        file.write(f"{INVISIBLE}\t{INVISIBLE}{INVISIBLE}\n")
    train(tiny_config(tmp_path, "training.max_steps=2", "training.warmup_steps=1"))
    manifest = read_manifest(tmp_path / "run" / "prepared" / "shards")
    assert manifest.rejected == {"no_tokens": 1}
    assert manifest.pairs == 2 * LINES


def test_places_with_spaces_quotes_and_other_scripts_are_places_like_any(tmp_path: Path) -> None:
    place = tmp_path / "zwei Wörter, 'quoted' – 日本語 %s {x}"
    write_corpus(place / "text")
    model = train(tiny_config(place, "training.max_steps=2", "training.warmup_steps=1"))
    assert ems.load(model).encode("guten morgen").shape == (32,)


def test_a_clock_that_jumps_forth_and_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("steady", "jumping"):
        write_corpus(tmp_path / name / "text")
    train(tiny_config(tmp_path / "steady"))
    hours = itertools.cycle([0, 9000, -9000, 5, -1])
    monkeypatch.setattr(time, "time", lambda: 1e9 + 3600.0 * next(hours))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e18 + 3.6e12 * next(hours)))
    train(tiny_config(tmp_path / "jumping"))
    assert losses(tmp_path / "steady") == losses(tmp_path / "jumping")
    lines = read_metrics(tmp_path / "jumping" / "run" / "metrics.jsonl")
    assert all(value > 0 for line in lines for key, value in line.items() if key.startswith("time/"))


def test_the_lock_of_a_run_is_not_inherited_by_the_processes_it_starts(tmp_path: Path) -> None:
    with run_lock(tmp_path / "run"):
        worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
        worker.start()
        program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with run_lock(tmp_path / "run"):
            assert worker.is_alive()
            assert program.poll() is None
    finally:
        worker.kill()
        program.kill()
        worker.join()
        program.communicate()


def test_a_corpus_that_was_cut_after_preparing_is_found_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_corpus(tmp_path / "text")
    train(tiny_config(tmp_path, "training.max_steps=2", "training.warmup_steps=1"))
    tokens = next((tmp_path / "run" / "prepared" / "shards" / "files").glob("en-de*/tokens.bin"))
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[:-100])
    prepared = f"corpus.prepared={tmp_path / 'run' / 'prepared'}"
    train(tiny_config(tmp_path, f"run.folder={tmp_path / 'other'}", prepared))
    assert "shard of en-de.tsv is damaged and made again" in caplog.text
    assert tokens.read_bytes() == whole


@pytest.mark.survival
def test_all_language_pairs_of_62_languages_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """1,891 files; each sentence says its language and number, so that translations know each other by their words."""
    languages = sorted(LANGUAGES)[:62]
    for source, target in itertools.combinations(languages, 2):
        pairs = [(f"{source} {target[::-1]} number {n}", f"{target} {source[::-1]} number {n}") for n in range(24)]
        write_pairs(tmp_path / "text" / f"{source}-{target}.tsv", pairs)
    with caplog.at_level("INFO"):
        train(tiny_config(tmp_path, "tokenizer.vocab_size=57", "validation.pairs_per_language_pair=2"))
    assert len(losses(tmp_path)) == 6
    shown = [record.getMessage() for record in caplog.records]
    assert any(message.startswith("1891 language pairs, ") for message in shown)
    shares = [message for message in shown if re.match(r"  \w+-\w+ +0\.1 %", message)]
    assert len(shares) == 1891
