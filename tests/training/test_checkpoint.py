"""Checkpoints: bit-equal when read, damage found and named, the newest kept."""

from __future__ import annotations

import errno
import json
import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ems.config import TrainingConfig
from ems.errors import InputError
from ems.model.dual_encoder import DualEncoder, HeadSizes
from ems.model.encoder import EncoderSizes
from ems.training import checkpoint
from ems.training.checkpoint import checkpoint_name, load_latest_checkpoint, restore, save_checkpoint
from ems.training.optim import make_optimizer

STATE: dict[str, Any] = {"progress": {"step": 3, "best_metric": None, "stream": {"counters": [1, 2]}}, "name": "Yorùbá"}


def make_run(
    *, seed: int = 0, tied: bool = False, optimizer: Any = "adamw", hidden: int = 8
) -> tuple[DualEncoder, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = DualEncoder(EncoderSizes(20, 2, hidden, 2, 16, 6), HeadSizes(3, 4, 5, tied_output=tied))
    config = TrainingConfig(max_steps=10, optimizer=optimizer, amsgrad=optimizer != "muon", learning_rate=0.01)
    return model, make_optimizer(model, config)


def take_steps(model: DualEncoder, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        model.losses([[5, 6, 7], [8]], [[9, 9], [10, 11]], [0, 0], [1, 2])["loss"].backward()
        optimizer.step()


def save(root: Path, step: int, *, keep: int = 10, **kind: Any) -> DualEncoder:
    model, optimizer = make_run(seed=step, **kind)
    take_steps(model, optimizer, 1)
    save_checkpoint(root, step, model, optimizer, STATE, keep=keep, best_step=0)
    return model


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["adam", "adamw", "muon"])
def test_a_restored_run_takes_the_same_next_steps_bit_for_bit(tmp_path: Path, kind: str, tied: bool) -> None:
    model, optimizer = make_run(optimizer=kind, tied=tied)
    take_steps(model, optimizer, 3)
    save_checkpoint(tmp_path, 3, model, optimizer, STATE, keep=2, best_step=0)
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    assert (loaded.step, loaded.state) == (3, STATE)
    other_model, other_optimizer = make_run(seed=1, optimizer=kind, tied=tied)
    restore(loaded, other_model, other_optimizer)
    for _ in range(2):
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, other_model.get_parameter(name)), name
        ours, theirs = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
        assert ours.keys() == theirs.keys()
        for index, moments in ours.items():
            of_adam = {"step", "exp_avg", "exp_avg_sq"} | ({"max_exp_avg_sq"} if kind != "muon" else set())
            assert moments.keys() in ([of_adam, {"momentum"}] if kind == "muon" else [of_adam])
            for moment, value in moments.items():
                assert torch.equal(value, theirs[index][moment])
                assert value.dtype == theirs[index][moment].dtype
        take_steps(model, optimizer, 1)
        take_steps(other_model, other_optimizer, 1)


def test_a_tied_weight_is_stored_once_and_stays_tied(tmp_path: Path) -> None:
    model = save(tmp_path, 1, tied=True)
    stored = load_file(tmp_path / checkpoint_name(1) / "model.safetensors")
    assert "reconstruction.output.weight" not in stored
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    other, optimizer = make_run(seed=5, tied=True)
    restore(loaded, other, optimizer)
    assert other.reconstruction.output.weight is other.encoder.embeddings.token.weight
    assert torch.equal(other.reconstruction.output.weight, model.encoder.embeddings.token.weight)


def test_restoring_keeps_the_learning_rate_and_decay_of_the_new_run(tmp_path: Path) -> None:
    save(tmp_path, 1)
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    model, optimizer = make_run()
    optimizer.param_groups[0]["lr"] = 0.125
    restore(loaded, model, optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_weights_that_never_had_a_gradient_have_no_moments_and_restore_all_the_same(tmp_path: Path) -> None:
    model, optimizer = make_run()
    save_checkpoint(tmp_path, 0, model, optimizer, {}, keep=1, best_step=0)  # before the first step
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded.optimizer == {}
    other, other_optimizer = make_run(seed=1)
    restore(loaded, other, other_optimizer)
    take_steps(model, optimizer, 1)
    take_steps(other, other_optimizer, 1)
    assert all(torch.equal(p, other.get_parameter(name)) for name, p in model.named_parameters())


def test_without_any_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert load_latest_checkpoint(tmp_path / "missing") is None
    (tmp_path / ".step-00000005.4711.tmp").mkdir()  # a folder that was being written when the process died
    (tmp_path / "step-notes").mkdir()
    assert load_latest_checkpoint(tmp_path) is None


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9999, 100000):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["step-00009999", "step-00100000"]
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded.step == 100000


def test_the_best_is_kept_beside_the_newest_until_there_is_a_better_one(tmp_path: Path) -> None:
    for step, best in ((1, 1), (2, 1), (3, 1), (4, 4), (5, 4), (6, 4)):
        model, optimizer = make_run()
        save_checkpoint(tmp_path, step, model, optimizer, STATE, keep=1, best_step=best)
        assert names(tmp_path) == [f"step-0000000{kept}" for kept in sorted({step, best})]


def test_what_a_killed_process_left_half_written_is_deleted(tmp_path: Path) -> None:
    save(tmp_path, 1)
    for name in (".step-00000002.4711.tmp", ".step-00000001.4711.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 4)
    model, optimizer = make_run(seed=9)
    save_checkpoint(tmp_path, 4, model, optimizer, {"second": True}, keep=2, best_step=0)
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded.state == {"second": True}
    assert names(tmp_path) == ["step-00000004"]


@pytest.mark.parametrize("keep", [1, 2])
def test_after_going_back_behind_a_damaged_checkpoint_the_new_ones_are_kept(tmp_path: Path, keep: int) -> None:
    save(tmp_path, 10)
    save(tmp_path, 20)
    (tmp_path / checkpoint_name(20) / "model.safetensors").unlink()
    save(tmp_path, 11, keep=keep)  # the run went on from step 10
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded.step == 11
    assert names(tmp_path) == ["step-00000010", "step-00000011"][-keep:]


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [flip_a_byte, cut_off_the_end, empty, Path.unlink]
FILES = ["model.safetensors", "optimizer.safetensors", "state.json"]


@pytest.mark.parametrize("damage", DAMAGES, ids=["flipped byte", "cut", "empty", "missing"])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, damage: Any
) -> None:
    older = save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path / checkpoint_name(2) / file)
    with caplog.at_level(logging.WARNING):
        loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded.step == 1
    assert all(torch.equal(p, loaded.model[name]) for name, p in older.named_parameters())
    assert len(caplog.records) == 1
    assert "step-00000002" in caplog.text
    assert "the one before" in caplog.text


def test_when_all_are_damaged_nothing_is_loaded(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, step)
        flip_a_byte(tmp_path / checkpoint_name(step) / "model.safetensors")
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole: .*step-00000002.*model.safetensors"):
        load_latest_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["[]", "null", '"a"', "{}", "[" * 100_000, '{"format_version": 2}', "\x00", "NaN"])
def test_a_state_file_of_another_form_is_damage(tmp_path: Path, text: str) -> None:
    save(tmp_path, 1)
    (tmp_path / checkpoint_name(1) / "state.json").write_text(text)
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole"):
        load_latest_checkpoint(tmp_path)


def test_a_checkpoint_of_a_newer_format_is_not_read(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = tmp_path / checkpoint_name(1) / "state.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "format_version": 3}))
    with pytest.raises(InputError, match="format_version 3, this program reads 2"):
        load_latest_checkpoint(tmp_path)


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize("consistent", [False, True], ids=["digest of the original", "digest of the pickle"])
def test_a_pickle_under_the_name_of_the_weights_is_never_run(tmp_path: Path, consistent: bool) -> None:
    save(tmp_path, 1)
    folder, trace = tmp_path / checkpoint_name(1), tmp_path / "trace"
    (folder / "model.safetensors").write_bytes(pickle.dumps(_Payload(trace)))
    if consistent:
        path = folder / "state.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["digests"]["model.safetensors"] = checkpoint._digest(folder / "model.safetensors")
        content["own_digest"] = checkpoint._json_digest(content)
        path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole"):
        load_latest_checkpoint(tmp_path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(_Payload(trace)))
    assert trace.exists()  # it would have left a trace


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_a_full_disk_leaves_older_checkpoints_whole_and_nothing_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    older = save(tmp_path, 1)
    write = checkpoint.write_weights

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if path.name == file:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(tensors, path)

    monkeypatch.setattr(checkpoint, "write_weights", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2, keep=1)
    assert names(tmp_path) == ["step-00000001"]
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    assert all(torch.equal(p, loaded.model[name]) for name, p in older.named_parameters())


def test_a_checkpoint_of_another_architecture_is_refused_by_the_first_weight_that_differs(tmp_path: Path) -> None:
    save(tmp_path, 1)
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    with pytest.raises(InputError, match=r"at weight 'encoder\.embeddings\.norm\.bias'"):
        restore(loaded, *make_run(hidden=16))
    linear = nn.Linear(2, 2)
    with pytest.raises(InputError, match="does not fit this model at weight 'bias'"):
        restore(loaded, linear, torch.optim.Adam(linear.parameters()))  # type: ignore[arg-type]


def test_a_refused_checkpoint_changes_no_weight(tmp_path: Path) -> None:
    save(tmp_path, 1)
    loaded = load_latest_checkpoint(tmp_path)
    assert loaded is not None
    model, optimizer = make_run(hidden=16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError):
        restore(loaded, model, optimizer)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_copied_checkpoint_folder_is_as_good_as_the_original(tmp_path: Path) -> None:
    save(tmp_path / "a", 1)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    loaded = load_latest_checkpoint(tmp_path / "b")
    assert loaded is not None
    assert loaded.step == 1
