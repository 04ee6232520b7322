"""Atomic writes: the old content or the new, never a part."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ems.files import atomic_folder, atomic_write, clear_left_behind, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt()])
def test_an_exception_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with atomic_write(path, "w") as file:
            file.write("half of the n")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_disk_that_fills_up_while_flushing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.json"
    write_json(path, {"version": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"version": 2})
    assert json.loads(path.read_text()) == {"version": 1}
    assert names(tmp_path) == ["a.json"]


def test_a_missing_folder_is_an_error_of_the_file_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "missing" / "a.txt", "w"):
        pass


def test_text_is_utf_8_with_unix_newlines(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt", "w") as file:
        file.write("grüß\n你好\n")
    assert (tmp_path / "a.txt").read_bytes() == "grüß\n你好\n".encode()


def test_json_is_readable_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Yorùbá", "scores": [0.5, None]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Yorùbá" in text
    assert text.endswith("}\n")
    assert json.loads(text) == {"name": "Yorùbá", "scores": [0.5, None]}


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(TypeError, match="serializable"):
        write_json(tmp_path / "a.json", [1, {2}])
    assert json.loads((tmp_path / "a.json").read_text()) == [1]


def test_a_folder_takes_its_name_only_when_the_block_ends(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "only-in-the-old").write_text("old")
    with atomic_folder(folder) as aside:
        (aside / "below").mkdir()
        (aside / "below" / "a").write_text("new")
        assert names(folder) == ["only-in-the-old"]
    assert (folder / "below" / "a").read_text() == "new"
    assert names(folder) == ["below"]
    assert names(tmp_path) == ["model"]


def test_a_folder_is_made_together_with_those_above_it(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "run" / "checkpoints" / "step") as aside:
        (aside / "a").write_text("x")
    assert (tmp_path / "run" / "checkpoints" / "step" / "a").read_text() == "x"


def test_an_exception_leaves_the_old_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("old")

    def write_half() -> None:
        with atomic_folder(folder) as aside:
            (aside / "a").write_text("new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_half()
    assert (folder / "a").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("old")
    replace = os.replace

    def refuse_the_new_one(source: Path, target: Path) -> None:
        if str(source).endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_the_new_one)
    with pytest.raises(OSError, match="Input/output"), atomic_folder(folder) as aside:
        (aside / "a").write_text("new")
    assert (folder / "a").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_folder_left_behind_by_a_killed_process_does_not_get_in_the_way(tmp_path: Path) -> None:
    for name in ("model", f".model.{os.getpid()}.tmp", f".model.{os.getpid()}.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stale").write_text("x")
    with atomic_folder(tmp_path / "model") as fresh:
        assert names(fresh) == []
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == []


def test_what_killed_processes_left_is_removed_and_a_folder_moved_out_of_the_way_comes_back(tmp_path: Path) -> None:
    for name in (".model.12.tmp", ".model.12.old", ".kept.3.old", "kept", ".lock", ".model.tmp", ".mine.2024.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)
    (tmp_path / ".scores.json.12.tmp").write_text("half")
    clear_left_behind(tmp_path, ["model", "kept", "scores.json"])
    assert names(tmp_path) == [".lock", ".mine.2024.tmp", ".model.tmp", "kept", "model"]
    assert (tmp_path / "model" / "content").read_text() == ".model.12.old"
    assert (tmp_path / "kept" / "content").read_text() == "kept"
    clear_left_behind(tmp_path / "nothing here", ["model"])


def test_a_folder_that_is_a_link_stays_one_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "large disk" / "model").mkdir(parents=True)
    (tmp_path / "model").symlink_to(tmp_path / "large disk" / "model")
    with atomic_folder(tmp_path / "model") as aside:
        (aside / "a").write_text("new")
    assert (tmp_path / "model").is_symlink()
    assert (tmp_path / "large disk" / "model" / "a").read_text() == "new"
    assert names(tmp_path / "large disk") == ["model"]
