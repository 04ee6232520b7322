"""Encoders of one run have names that differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from ems.errors import InputError
from ems.eval.encoder_names import distinct_names


class Encoder:
    name = "foo"


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["/a/foo", "/a/bar"], ["foo", "bar"]),
        (["/a/model", "/b/model"], ["a/model", "b/model"]),
        (["/a/foo", "/b/foo", "/b/bar"], ["a/foo", "b/foo", "bar"]),
        (["/x/a/model", "/y/a/model", "/y/b/model"], ["x/a/model", "y/a/model", "b/model"]),
        (["/x/a/foo", "/y/a/foo", "/b/foo"], ["x/a/foo", "y/a/foo", "b/foo"]),
        (["/foo", "/a/foo"], ["/foo", "a/foo"]),
        (["/model", "/a/model", "/b/a/model"], ["/model", "/a/model", "b/a/model"]),
    ],
)
def test_a_folder_is_called_by_as_much_of_its_path_as_tells_it_from_the_others(folders, names):
    assert distinct_names(folders) == names
    assert distinct_names([Path(folder) for folder in reversed(folders)]) == names[::-1]


def test_objects_of_one_name_are_numbered():
    assert distinct_names([Encoder(), "/a/foo", Encoder(), Encoder()]) == ["foo", "foo (2)", "foo (3)", "foo (4)"]


def test_the_same_encoder_twice_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoder = Encoder()
    for specs, name in (([encoder, encoder], "foo"), (["m", "n", str(tmp_path / "m")], str(tmp_path / "m"))):
        with pytest.raises(InputError, match=f"^model {name} is given twice$"):
            distinct_names(specs)
