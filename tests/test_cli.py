"""The command line: exit statuses, one line on standard error, and nothing half-written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import ems
from ems.cli import main
from tests.tiny import ROOT, tiny_overrides, write_corpus

CONFIG = str(ROOT / "configs" / "quickstart.yaml")


def run(*arguments, capsys, status):
    assert main([str(a) for a in arguments]) == status
    return capsys.readouterr()


@pytest.fixture
def folder(tmp_path):
    write_corpus(tmp_path / "text")
    return tmp_path


def train_arguments(folder, *extra):
    return ["train", "--config", CONFIG, "--set", *tiny_overrides(folder, *extra)]


def test_train_ends_with_a_line_that_says_where_the_model_is_and_how_to_use_it(folder, capsys):
    out = run(*train_arguments(folder), capsys=capsys, status=0).out
    assert out.splitlines()[-1].startswith(f"model in {folder / 'run' / 'model'}")
    assert "ems.load(" in out
    assert run(*train_arguments(folder), "--resume", capsys=capsys, status=0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_head=2", "did you mean 'num_heads'?"),
        ("model.num_heads=5", "does not divide hidden_size 32"),
        ("training.max_steps=many", "training.max_steps"),
        ("batching.max_tokens=10", "batching.max_tokens 10 is below"),
        ("batching.max_tokens=all", "should be a whole number from 1 on, 'auto' or null, not 'all'"),
        ("corpus.files=['no-such*.tsv']", "no-such*.tsv"),
        ("corpus.languages=[en, dee]", "dee"),
        ("corpus.languages=[en, de, fr]", "fr"),
        ("tokenizer.model=/no/such.model", "/no/such.model does not exist"),
        ("tokenizer.vocab_size=100000", "100000"),
        ("evaluation.sets=[flores]", "no files of set 'flores'"),
        ("validation.pairs_per_language_pair=1", "held_out"),
        ("nonsense", "write it as section.key=value"),
    ],
)
def test_unusable_settings_exit_2_with_one_line_and_leave_no_model(folder, capsys, override, message):
    error = run(*train_arguments(folder, override), capsys=capsys, status=2).err
    last = error.strip().splitlines()[-1]
    assert message in last
    assert last.startswith("ems train: ")
    assert "Traceback" not in error
    assert not (folder / "run" / "model").exists()
    assert not (folder / "run" / "config.yaml").exists()


def test_after_a_refusal_the_corrected_command_runs(folder, capsys):
    run(*train_arguments(folder, "evaluation.sets=[flores]"), capsys=capsys, status=2)
    run(*train_arguments(folder), capsys=capsys, status=0)


def test_a_config_that_does_not_exist_exits_2(capsys):
    assert "does not exist" in run("train", "--config", "/no/such.yaml", capsys=capsys, status=2).err


def test_debug_shows_a_traceback(capsys):
    assert "Traceback" in run("train", "--debug", "--config", "/no/such.yaml", capsys=capsys, status=2).err


def test_unknown_arguments_exit_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "--confg", "x"])
    assert caught.value.code == 2


def test_prepare_prints_a_report_and_a_second_one_changes_nothing(folder, capsys):
    arguments = ["prepare", "--config", CONFIG, "--set", *tiny_overrides(folder)]
    out = run(*arguments, capsys=capsys, status=0).out
    assert re.search(r"all 2 files +600 +600 +0 rejected", out)
    assert re.search(r"en-de +300 +\d", out)
    shards = folder / "run" / "prepared"
    before = {p: p.stat().st_mtime_ns for p in shards.rglob("*") if p.is_file() and not p.name.startswith(".")}
    run(*arguments, capsys=capsys, status=0)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_another_tokenizer_for_a_prepared_folder_is_refused_by_name(folder, capsys):
    run("prepare", "--config", CONFIG, "--set", *tiny_overrides(folder), capsys=capsys, status=0)
    error = run(*train_arguments(folder, "tokenizer.vocab_size=301"), capsys=capsys, status=2).err
    assert "vocab_size 300" in error
    assert "301" in error


def test_a_corpus_line_that_breaks_a_rule_is_counted_with_file_and_line(folder, capsys):
    with open(folder / "text" / "en-de.tsv", "a", encoding="utf-8") as file:
        file.write("no second side\n")
    out = run("prepare", "--config", CONFIG, "--set", *tiny_overrides(folder), capsys=capsys, status=0).out
    assert "missing_side" in out
    assert "301" in out  # the line


@pytest.mark.parametrize(("option", "dtype"), [("--int8", torch.int8), ("--bf16", torch.bfloat16)])
def test_encode_computes_in_fewer_bits_when_asked(tiny_model, tmp_path, capsys, option, dtype):
    (tmp_path / "in.txt").write_text("Guten Morgen\n", encoding="utf-8")
    arguments = ["encode", "--model", tiny_model, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.npy"]
    run(*arguments, "--device", "cpu", option, capsys=capsys, status=0)
    expected = ems.load(tiny_model, device="cpu", dtype=dtype).encode(["Guten Morgen"])
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-6)


def test_encode_writes_rows_and_refuses_a_pickle_for_a_model(tiny_model, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("Hallo\nWelt\n")
    arguments = ["encode", "--model", tiny_model, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.npy"]
    assert "2 vectors" in run(*arguments, capsys=capsys, status=0).out
    assert np.load(tmp_path / "out.npy").shape == (2, 32)
    assert (
        "no such folder"
        in run("encode", "--model", tmp_path / "no such folder", *arguments[3:], capsys=capsys, status=2).err
    )


def test_a_broken_output_fails_with_1(tiny_model, tmp_path, capsys, monkeypatch):
    (tmp_path / "in.txt").write_text("Hallo\n")
    monkeypatch.setattr(
        "ems.encode_file._flush", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    arguments = ["encode", "--model", tiny_model, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.npy"]
    assert "No space left" in run(*arguments, capsys=capsys, status=1).err
    assert not (tmp_path / "out.npy").exists()


class TestCompare:
    """`ems evaluate --compare`: whether a score fell is the exit status."""

    @pytest.fixture
    def evaluate(self, tmp_path, monkeypatch, capsys):
        """Score an encoder that finds the translation of all sentences but the first `wrong`."""
        devtest = tmp_path / "data" / "flores" / "devtest"
        devtest.mkdir(parents=True)
        for code in ("eng_Latn", "deu_Latn"):
            lines = "".join(f"{code} {row}\n" for row in range(100))
            (devtest / f"{code}.devtest").write_text(lines, encoding="utf-8")
        wrong = 0

        class Encoder:
            name, fingerprint = "digits", None

            def encode(self, sentences):
                rows = np.array([int(sentence.split()[1]) for sentence in sentences])
                german = np.array([sentence.startswith("deu") for sentence in sentences])
                vectors = np.eye(100)[rows]
                vectors[german & (rows < wrong)] = np.eye(100)[99]
                return vectors

        def run_with(errors, output, *extra, status):
            nonlocal wrong
            wrong = errors
            arguments = ["evaluate", "--model", "m", "--data", tmp_path / "data", "--output", tmp_path / output]
            return run(*arguments, "--languages", "de", "--tasks", "flores", *extra, capsys=capsys, status=status)

        monkeypatch.setattr("ems.eval.suite.open_encoder", lambda *_, **__: Encoder())
        return run_with

    def test_equal_scores_exit_0_and_the_table_is_printed(self, evaluate, tmp_path):
        evaluate(10, "old", status=0)
        out = evaluate(10, "new", "--compare", tmp_path / "old" / "results.json", status=0).out
        assert "| digits | flores (devtest) | mean of chosen | mean | " in out
        assert out.splitlines()[-1].startswith("results in ")

    def test_a_fall_exits_1_with_one_line_after_all_is_written(self, evaluate, tmp_path):
        evaluate(0, "old", status=0)
        streams = evaluate(30, "new", "--compare", tmp_path / "old" / "results.json", status=1)
        last = streams.err.strip().splitlines()[-1]
        assert re.match(r"ems evaluate: \d+ scores fell by more than the interval: flores \(devtest\) x->en", last)
        assert "fell |" in streams.out
        names = ["report.html", "results.json", "results.md"]
        assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
        evaluate(0, "newer", "--compare", tmp_path / "new" / "results.json", status=0)

    def test_an_old_file_that_cannot_be_used_exits_2_before_anything_is_encoded(self, evaluate, tmp_path, monkeypatch):
        monkeypatch.setattr("ems.eval.suite.open_encoder", lambda *_, **__: pytest.fail("encoded"))
        assert "cannot be read" in evaluate(0, "new", "--compare", tmp_path / "none.json", status=2).err
        (tmp_path / "old.json").write_text('{"format": 7}', encoding="utf-8")
        assert "format 7, but" in evaluate(0, "new", "--compare", tmp_path / "old.json", status=2).err
        assert not (tmp_path / "new").exists()

    def test_other_data_exits_2_and_says_what_differs(self, evaluate, tmp_path):
        evaluate(0, "old", status=0)
        file = tmp_path / "data" / "flores" / "devtest" / "deu_Latn.devtest"
        file.write_text(file.read_text(encoding="utf-8").replace(" 7\n", " 7 \n"), encoding="utf-8")
        error = evaluate(0, "new", "--compare", tmp_path / "old" / "results.json", status=2).err
        assert "data_digest is '" in error.strip().splitlines()[-1]


@pytest.fixture
def mine_arguments(tiny_model, tmp_path):
    sides = {"de": ["Hallo Welt", "", "Guten Morgen", "Hallo Welt"], "en": ["Good morning", "Hello world", "Yes"]}
    for name, lines in sides.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [
        *("mine", "--model", tiny_model, "--source", tmp_path / "de", "--target", tmp_path / "en"),
        *("--output", tmp_path / "pairs.tsv"),
    ]


def test_mine_writes_pairs_and_ends_with_counts(mine_arguments, tmp_path, capsys):
    out = run(*mine_arguments, "--strategy", "bwd", "--memory", "100M", capsys=capsys, status=0).out.splitlines()
    assert out[0].startswith("source: 4 lines, 1 blank, 1 duplicates, 0 overlong")
    assert out[-1] == f"3 pairs in {tmp_path / 'pairs.tsv'}, 0 below the threshold"
    rows = [line.split("\t") for line in (tmp_path / "pairs.tsv").read_text(encoding="utf-8").splitlines()]
    assert sorted(row[2] for row in rows) == ["Good morning", "Hello world", "Yes"]
    assert [float(row[0]) for row in rows] == sorted((float(row[0]) for row in rows), reverse=True)
    out = run(*mine_arguments, "--approximate", "--threshold", "9", "--k", "2", capsys=capsys, status=0).out
    assert "recall of the approximate search: 1.0000 forward, 1.0000 backward" in out
    assert "0 pairs in" in out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--margin", "ration"], "did you mean 'ratio'?"),
        (["--strategy", "maximum"], "did you mean 'max'?"),
        (["--source", "/no/such.txt"], "input /no/such.txt: no such file"),
        (["--model", "/no/such"], "no such model folder"),
        (["--memory", "1K"], "is too little"),
        (["--source-vectors", "/no/such.npy"], "input /no/such.npy: no such file"),
    ],
)
def test_mine_refuses_what_it_cannot_use_in_one_line(mine_arguments, tmp_path, capsys, extra, message):
    error = run(*mine_arguments, *extra, capsys=capsys, status=2).err
    assert message in error.strip().splitlines()[-1]
    assert "Traceback" not in error
    assert not (tmp_path / "pairs.tsv").exists()


@pytest.mark.parametrize("text", ["", "G", "2X", "-1G", "2 G", "1.2.3M", "nan"])
def test_sizes_that_are_none_are_refused(mine_arguments, text, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*(str(a) for a in mine_arguments), f"--memory={text}"])
    assert caught.value.code == 2
    assert "size such as 500M or 2G" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_process_stopped_by_sigterm_exits_3_and_resumes(folder):
    arguments = [
        sys.executable,
        str(ROOT / "scripts" / "train.py"),
        *train_arguments(folder, "training.max_steps=100")[1:],
    ]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    metrics = folder / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 3):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 3
    assert "continue with --resume" in error.splitlines()[-1]
    assert subprocess.run([*arguments, "--resume"], stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "scripts").glob("*.py")))
def test_every_script_is_a_door_to_its_command(script):
    result = subprocess.run([sys.executable, str(ROOT / "scripts" / script), "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    assert "usage" in result.stdout


TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


def test_commands_that_do_not_share_their_work_are_refused_in_several_processes(tmp_path, capsys, monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    arguments = ["prepare", "--config", ROOT / "configs" / "quickstart.yaml", "--set", f"run.folder={tmp_path / 'run'}"]
    assert "'prepare' does not share its work" in run(*arguments, capsys=capsys, status=2).err
    monkeypatch.setenv("RANK", "1")
    assert run(*arguments, capsys=capsys, status=1).err == ""
    assert not (tmp_path / "run").exists()


def test_a_world_size_that_is_not_from_torchrun_means_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    error = run("prepare", "--config", tmp_path / "none.yaml", capsys=capsys, status=2).err
    assert "none.yaml" in error
