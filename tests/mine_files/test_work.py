"""Unfinished work: gone on with where it belongs to the same inputs, refused otherwise, and never trusted blindly."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ems.errors import InputError
from ems.mine_files import command
from ems.mine_files.command import mine_files
from ems.mine_files.folder import locked
from ems.mine_files.unique_sentences import open_unique_sentences
from tests.mine_files.topics import Stopping, Topics, assert_same, expected_rows, rows_of


def test_a_stopped_run_embeds_only_what_is_missing(files, out, small_blocks, caplog):
    stopped, resumed = Stopping(), Topics()
    with pytest.raises(KeyboardInterrupt):
        mine_files(stopped, *files, out)
    mine_files(resumed, *files, out)
    assert sum(stopped.sizes) + sum(resumed.sizes) == 210
    assert_same(rows_of(out), expected_rows(files))


def test_unfinished_work_of_another_model_or_input_is_refused_and_kept(files, out, small_blocks):
    with pytest.raises(KeyboardInterrupt):
        mine_files(Stopping(), *files, out)
    other = Topics()
    other.fingerprint = "another"
    with pytest.raises(InputError, match="unfinished work with another model; give what it was begun with, or delete"):
        mine_files(other, *files, out)
    with pytest.raises(InputError, match="another source and another target"):
        mine_files(Topics(), *reversed(files), out)
    resumed = Topics()
    mine_files(resumed, *files, out, margin="distance", k=2)
    assert sum(resumed.sizes) == 210 - 80
    assert_same(rows_of(out), expected_rows(files, margin="distance", k=2))


def test_an_encoder_without_a_fingerprint_starts_anew(files, out, small_blocks):
    stopped, again = Stopping(), Topics()
    stopped.fingerprint = again.fingerprint = None
    with pytest.raises(KeyboardInterrupt):
        mine_files(stopped, *files, out)
    mine_files(again, *files, out)
    assert sum(again.sizes) == 210


def test_a_second_process_on_one_output_is_refused(files, out):
    with locked(out.parent / ".pairs.tsv.work"), pytest.raises(InputError, match="another process is working in"):
        mine_files(Topics(), *files, out)


@pytest.mark.parametrize(
    "remove_when",
    [
        lambda work, monkeypatch: monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None),
        lambda work, monkeypatch: monkeypatch.setattr(fcntl, "flock", lambda *_: shutil.rmtree(work)),
        lambda work, monkeypatch: monkeypatch.setattr(
            fcntl, "flock", lambda *_: ((work / "lock").unlink(), (work / "lock").touch())
        ),
    ],
    ids=["before the lock is opened", "before it is held", "before it is held, and made anew"],
)
def test_a_folder_that_another_process_is_just_removing_is_refused(tmp_path, monkeypatch, remove_when):
    work = tmp_path / "work"
    remove_when(work, monkeypatch)
    with pytest.raises(InputError, match=r"another process (was just removing|is working in) .*work"), locked(work):
        pytest.fail("two processes could work in the folder")


@pytest.fixture
def stopped(files, out, small_blocks):
    """The folder of a run that was stopped after 80 of 90 sources."""
    with pytest.raises(KeyboardInterrupt):
        mine_files(Stopping(), *files, out)
    return out.parent / ".pairs.tsv.work"


def change_unseen(file, old, new):
    """Change a file but neither its size nor its time."""
    times, content = file.stat(), file.read_bytes()
    assert content.count(old) >= 1
    assert len(old) == len(new)
    file.write_bytes(content.replace(old, new))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(("side", "name"), [(0, "source"), (1, "target")])
def test_a_text_changed_in_place_is_noticed_though_its_size_and_time_are_as_before(files, out, stopped, side, name):
    change_unseen(files[side], b" 17\n", b" 71\n")
    with pytest.raises(InputError, match=f"unfinished work with another {name}; give what it was begun with"):
        mine_files(Topics(), *files, out)
    change_unseen(files[side], b" 71\n", b" 17\n")  # makes two of them; none is the text as it was
    with pytest.raises(InputError, match=f"unfinished work with another {name}; "):
        mine_files(Topics(), *files, out)


def test_vectors_changed_in_place_are_noticed_though_size_and_time_are_as_before(files, out, small_blocks, tmp_path):
    vectors = Topics().encode([f"en {i}" for i in range(120)])
    np.save(tmp_path / "en.npy", vectors)
    with pytest.raises(KeyboardInterrupt):
        mine_files(Stopping(), *files, out, target_vectors=tmp_path / "en.npy")
    change_unseen(tmp_path / "en.npy", vectors[5].tobytes(), vectors[6].tobytes())
    with pytest.raises(InputError, match="unfinished work with another target vectors"):
        mine_files(Topics(), *files, out, target_vectors=tmp_path / "en.npy")


def test_a_copy_of_the_same_content_goes_on(files, out, stopped):
    for file in files:
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        os.utime(file, ns=(1, 1))
    encoder = Topics()
    mine_files(encoder, *files, out)
    assert sum(encoder.sizes) < 90 + 120  # the 80 that were done are not embedded again


def cut_off(file):
    file.write_bytes(file.read_bytes()[:-40])


def garbled(file):
    file.write_bytes(b"\xff{[garbage" * 100)


def emptied(file):
    file.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *itertools.product(["source.counts.json", "target.places.npy"], [cut_off, garbled, emptied, Path.unlink]),
        *itertools.product(["identity.json"], [cut_off, garbled, emptied]),
        *itertools.product(["target.text"], [cut_off, garbled, emptied, Path.unlink]),
    ],
)
def test_damaged_work_is_named_with_what_to_do_and_doing_so_helps(files, out, stopped, name, damage):
    damage(stopped / name)
    with pytest.raises(
        InputError, match=rf"{name} is damaged \(.+\); delete the folder .*work to start anew"
    ) as caught:
        mine_files(Topics(), *files, out)
    assert "\n" not in str(caught.value)
    shutil.rmtree(stopped)
    mine_files(Topics(), *files, out)
    assert_same(rows_of(out), expected_rows(files))


def one_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def zeroed(file):
    file.write_bytes(bytes(file.stat().st_size))


def scrambled(file):
    file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))


def header_bit(file):
    content = file.read_bytes()
    file.write_bytes(content[:10] + b"(" + content[11:])


UNSEEN = [one_bit, zeroed, scrambled]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *itertools.product(["source.text", "target.text", "source.places.npy", "target.counts.json"], UNSEEN),
        ("target.places.npy", header_bit),
    ],
)
def test_damage_that_leaves_the_size_is_named_with_what_to_do(files, out, stopped, name, damage):
    damage(stopped / name)
    with pytest.raises(InputError, match=rf"{name} is damaged \(it is not as it was written\); delete the folder"):
        mine_files(Topics(), *files, out)


@pytest.mark.parametrize("damage", UNSEEN)
def test_vectors_damaged_in_place_are_embedded_again_and_that_is_said(files, out, stopped, caplog, damage):
    damage(stopped / "source.vectors")
    again = Topics()
    mine_files(again, *files, out)
    assert sum(again.sizes) == (210 - 32 if damage is one_bit else 210)  # of 80 rows the first 32 are whole
    assert_same(rows_of(out), expected_rows(files))
    assert "are embedded again" in caplog.text


def test_neighbours_found_among_damaged_vectors_are_found_again(files, out, small_blocks, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "_chosen", stop)
        with pytest.raises(KeyboardInterrupt):
            mine_files(Topics(), *files, out)
    work = out.parent / ".pairs.tsv.work"
    assert (work / "search.npz").exists()
    zeroed(work / "target.vectors")
    with monkeypatch.context() as patch:
        patch.setattr(command, "_search", stop)
        with pytest.raises(KeyboardInterrupt):
            mine_files(Topics(), *files, out)
    assert not (work / "search.npz").exists()
    mine_files(Topics(), *files, out)
    assert_same(rows_of(out), expected_rows(files))


@pytest.mark.parametrize("foreign", ["notes.txt", ".notes.12.tmp", "source", "source.text/", "sub/"])
def test_a_work_folder_with_something_foreign_is_refused_and_nothing_in_it_deleted(files, out, stopped, foreign):
    file = stopped / foreign
    file.unlink(missing_ok=True)
    if foreign.endswith("/"):
        file.mkdir()
    else:
        file.write_text("mine")
    before = sorted(path.name for path in stopped.iterdir())
    encoder = Topics()
    with pytest.raises(InputError, match=rf"{file.name}', which is no unfinished work; move it"):
        mine_files(encoder, *files, out)
    assert sorted(path.name for path in stopped.iterdir()) == before
    assert encoder.sizes == []


@pytest.mark.parametrize("name", ["source.text", "in.de"])
def test_an_input_in_the_work_folder_is_refused_and_kept(files, out, name):
    work = out.parent / ".pairs.tsv.work"
    work.mkdir()
    inside = files[0].rename(work / name)
    (out.parent / "link").symlink_to(inside)
    for given in (inside, out.parent / "link"):
        with pytest.raises(InputError, match=rf"lies in {work}, the folder for unfinished work; move it"):
            mine_files(Topics(), given, files[1], out)
    assert inside.exists()


def test_a_file_put_into_the_folder_during_the_work_is_left_with_the_folder(files, out, caplog):
    class Leaving(Topics):
        def encode(self, sentences):
            (out.parent / ".pairs.tsv.work" / "notes.txt").write_text("mine")
            return super().encode(sentences)

    mine_files(Leaving(), *files, out)
    assert [path.name for path in (out.parent / ".pairs.tsv.work").iterdir()] == ["notes.txt"]
    assert ".pairs.tsv.work is left (Directory not empty)" in caplog.text


@pytest.mark.parametrize("change", [{"duplicates": 3}, {"lines": "93"}, {"digest": None}, {"more": 1}])
def test_counts_that_cannot_be_are_refused(files, out, stopped, change):
    counts = stopped / "source.counts.json"
    counts.write_text(json.dumps(json.loads(counts.read_text()) | change))
    with pytest.raises(InputError, match=r"source.counts.json is damaged"):
        mine_files(Topics(), *files, out)
    with pytest.raises(InputError, match=r"source.counts.json is damaged"):
        open_unique_sentences(stopped / "source")


@pytest.mark.parametrize("damage", [cut_off, garbled, emptied, Path.unlink])
@pytest.mark.parametrize("name", ["source.vectors", "source.vectors.progress.json"])
def test_vectors_that_are_damaged_are_computed_again_and_that_is_said(files, out, stopped, caplog, name, damage):
    if (name, damage) == ("source.vectors", garbled):
        (stopped / name).write_bytes(b"short")
    else:
        damage(stopped / name)
    again = Topics()
    mine_files(again, *files, out)
    assert sum(again.sizes) == 210
    assert_same(rows_of(out), expected_rows(files))
    # Without its second file, it is as if none of the vectors were written yet.
    assert ("are embedded again" in caplog.text) == ((name, damage) != ("source.vectors.progress.json", Path.unlink))


def test_work_without_an_owner_is_begun_anew_and_that_is_said(files, out, stopped, caplog):
    (stopped / "identity.json").unlink()
    again = Topics()
    mine_files(again, *files, out)
    assert sum(again.sizes) == 210
    assert "cannot be used and are computed again" in caplog.text


def test_a_stopped_run_says_that_the_same_command_goes_on(files, out, small_blocks, caplog):
    nameless = Stopping()
    nameless.fingerprint = None
    with pytest.raises(KeyboardInterrupt):
        mine_files(nameless, *files, out)
    assert "goes on" not in caplog.text  # it cannot be told from another model
    with pytest.raises(KeyboardInterrupt):
        mine_files(Stopping(), *files, out)
    assert "what is done is kept in" in caplog.text
    assert "the same command goes on from there" in caplog.text
