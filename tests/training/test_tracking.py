"""metrics.jsonl: one line a step, cut back exactly on resume."""

from __future__ import annotations

import json

import pytest
import torch

from ems.errors import InputError
from ems.training.tracking import Tracker, cut_metrics, memory_bytes, read_metrics


def test_lines_after_the_checkpoint_and_a_half_written_one_are_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "a": 1}\n{"step": 2, "a": 2}\n{"step": 2, "b": 3}\n{"step": 3, "a": 4}\n{"step": 4, "a"'
    )
    cut_metrics(path, 2)
    assert [list(line.values()) for line in read_metrics(path)] == [[1, 1], [2, 2], [2, 3]]


def test_a_line_without_its_end_is_cut_even_if_it_parses(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    cut_metrics(path, 5)
    assert path.read_text() == '{"step": 1}\n'


def test_no_file_is_nothing_to_cut(tmp_path):
    cut_metrics(tmp_path / "metrics.jsonl", 3)
    assert list(tmp_path.iterdir()) == []


def test_records_that_a_damaged_line_takes_with_it_are_mentioned(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\ngarbage\n{"step": 3}\n')
    cut_metrics(path, 3)
    assert path.read_text() == '{"step": 1}\n'
    assert "metrics.jsonl has no whole records of steps 2 to 3 any more" in caplog.text
    caplog.clear()
    cut_metrics(path, 1)
    assert caplog.text == ""


def test_a_line_that_is_no_record_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for text, place in (('{"step": 1}\n[]\n', 2), ("\n", 1), ('{"step": 1}\n{"a": 2}\n', 2), ('{"step": "\xff', 1)):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError, match=rf"metrics\.jsonl, line {place}: "):
            read_metrics(path)
    with pytest.raises(InputError, match=r"nowhere\.jsonl cannot be read"):
        read_metrics(tmp_path / "nowhere.jsonl")


def test_a_tracker_appends_flat_records_and_shows_parts_speed_and_memory(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    tracker = Tracker(tmp_path, first_step=1, max_steps=2, device=torch.device("cpu"))
    record = {"train/loss": 3.0, "train/loss_xtr": 1.0, "train/loss_contrastive": 1.0}
    record |= {"time/pairs_per_second": 10.0, "time/tokens_per_second": 100.0}
    tracker.log(2, record)
    tracker.show(record)
    tracker.say("a word")
    tracker.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[1]) == {"step": 2, **record}
    shown = capsys.readouterr().err
    assert "a word" in shown
    for part in ("loss=3.000", "xtr=1.000", "con=1.000", "pairs/s=10", "tok/s=100", "mem="):
        assert part in shown


def test_memory_is_a_plausible_number_of_bytes():
    assert 10 * 2**20 < memory_bytes(torch.device("cpu")) < 2**40
