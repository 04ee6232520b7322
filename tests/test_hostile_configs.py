"""Configs that nobody would write: refused at once and in few words, whatever they hold."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.config import load_config
from ems.errors import InputError
from tests.test_config import MINIMAL, any_fixture, load, refusal, words


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        laughs(20),
        "[" * 100_000,
        "{a: " * 50_000,
        "- " * 50_000,
        "".join(f"{' ' * i}a:\n" for i in range(2000)),
        "run: " + "[" * 200 + "]" * 200,
        "run: " + "9" * 5000,
        MINIMAL + "  learning_rate: " + "9" * 400 + "\n",
        MINIMAL + "model:\n  hidden_size: 1000000000000000\n  num_heads: 7\n",
        "a: " + "x" * 1_000_000,
        MINIMAL.replace("embedded:grammar", "5, " * 20_000),
    ],
    ids=[
        "billion laughs",
        "brackets",
        "braces",
        "dashes",
        "indentation",
        "nested value",
        "digits",
        "overflow",
        "huge width",
        "long value",
        "many errors",
    ],
)
def test_hostile_files_are_refused_at_once_in_few_words(tmp_path: Path, text: str) -> None:
    started = time.process_time()  # other programs on the cores do not count
    message = refusal(tmp_path, text)
    assert time.process_time() - started < 5
    assert len(message) < 1000


TAGGED = ["!!int ''", "!!int x", "!!float x", "!!bool x", "!!timestamp x", "!!map [a]", "!!map x", "!!seq x", "!!set x"]
TAGGED += ["!!omap x", "!!binary x", "!!null 5", "!!str {a: b}", "!!python/name:os.system x", "!x y"]


@pytest.mark.parametrize("value", [*TAGGED, "{[a]: b}", "{? {a: b}}"])
def test_explicit_tags_and_odd_keys_are_refused_or_read_but_never_break_the_reader(tmp_path: Path, value: str) -> None:
    refusal(tmp_path, MINIMAL + f"batching: {value}\n")
    refusal(tmp_path, MINIMAL, f"run.seed={value}")


FRAGMENTS = [
    "run",
    "folder",
    "files",
    "corpus",
    "model",
    "a",
    "0",
    "1e3",
    "~",
    "*a",
    "&a ",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
]
FRAGMENTS += ["#", "'", '"', "\\", "\n", "\t", "  ", "    ", "- ", "? ", ": ", "<<: ", "|\n", ">\n", "---\n", "...\n"]
FRAGMENTS += ["!!int ", "!!timestamp ", "!!float ", "!!bool ", "!!set ", "!!map ", "!!seq ", "!!binary ", "%YAML 1.2\n"]
pieces = st.sampled_from(FRAGMENTS)


@any_fixture
@given(st.one_of(st.text(), st.lists(pieces, max_size=30).map("".join), words.map(lambda word: MINIMAL + word)))
def test_any_text_is_a_config_or_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    message = "read"
    try:
        load_config(path)
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) == 1


@any_fixture
@given(st.one_of(st.text(), st.lists(st.one_of(pieces, st.sampled_from(["=", ".", "seed"])), max_size=12).map("".join)))
def test_any_override_is_applied_or_an_input_error(tmp_path: Path, assignment: str) -> None:
    message = "read"
    try:
        load(tmp_path, MINIMAL, assignment)
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
