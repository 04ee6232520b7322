"""Configs: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ems.config import Config, dump_config, load_config
from ems.errors import InputError

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").rglob("*.yaml"))
MINIMAL = """\
run:
  folder: runs/test
corpus:
  files: [embedded:grammar]
training:
  max_steps: 10
"""
any_fixture = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load(tmp_path: Path, text: str, *overrides: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    return load_config(path, overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    """Load what cannot be loaded and return what is said about it."""
    with pytest.raises(InputError) as raised:
        load(tmp_path, text, *overrides)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_repository_loads_and_names_nothing_outside_it(path: Path) -> None:
    config = load_config(path)
    places = [config.run.folder, config.corpus.folder, config.validation.folder, config.evaluation.folder]
    places += [place for place in (config.corpus.prepared, config.tokenizer.model) if place is not None]
    assert not any(Path(place).is_absolute() or ".." in Path(place).parts for place in places)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_resolved_config_of_a_repository_config_is_the_same_config(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    assert load(tmp_path, dump_config(config)) == config


def test_absent_keys_have_the_paper_s_sizes(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    assert (config.model.num_layers, config.model.hidden_size, config.model.num_heads) == (6, 1024, 16)
    assert (config.objective.temperature, config.objective.contrastive_weight) == (0.1, 2.0)
    assert config.prepared_folder == Path("runs/test/prepared")
    assert load(tmp_path, MINIMAL, "corpus.prepared=shared").prepared_folder == Path("shared")


def test_a_config_cannot_be_changed(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        config.run.seed = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MINIMAL + "  learning_rat: 1\n",
            "line 7: unknown key 'learning_rat' in training; did you mean 'learning_rate'?",
        ),
        (MINIMAL + "traning:\n  patience: 1\n", "line 7: unknown key 'traning'; did you mean 'training'?"),
        (MINIMAL + "Run: {}\n", "line 7: unknown key 'Run'; did you mean 'run'?"),
        (MINIMAL + "str: 1\n", "line 7: unknown key 'str'"),
        (MINIMAL + "  qqqqqq: 1\n", "line 7: unknown key 'qqqqqq' in training; choose from 'max_steps', "),
        (MINIMAL + "1: 2\n", "line 7: "),
        (MINIMAL + "corpus:\n  files: []\n", "line 7: key 'corpus' is given twice; first on line 3"),
        (MINIMAL + "  max_steps: 11\n", "line 7: key 'max_steps' is given twice; first on line 6"),
        (MINIMAL.replace("10", "ten"), "line 6: training.max_steps: Input should be a valid integer, not 'ten'"),
        (MINIMAL.replace("10", "1.5"), "line 6: training.max_steps: Input should be a valid integer, not 1.5"),
        (MINIMAL.replace("10", "true"), "line 6: training.max_steps: Input should be a valid integer, not true"),
        (MINIMAL.replace("10", "'10'"), "line 6: training.max_steps: Input should be a valid integer, not '10'"),
        (MINIMAL.replace("10", "0"), "line 6: training.max_steps: Input should be greater than or equal to 1, not 0"),
        (MINIMAL.replace("10", ""), "line 6: training.max_steps: Input should be a valid integer, not null"),
        (
            MINIMAL + "  schedule: cosin\n",
            "line 7: training.schedule: Input should be 'cosine', 'linear', 'wsd' or 'constant'",
        ),
        (MINIMAL + "  learning_rate: .inf\n", "line 7: training.learning_rate: "),
        (MINIMAL + "  learning_rate: 1e999\n", "line 7: training.learning_rate: Input should be a finite number"),
        (MINIMAL + "model: 3\n", "line 7: model: "),
        (MINIMAL + "model:\n  dropout: 1.0\n", "line 8: model.dropout: Input should be less than 1, not 1.0"),
        (MINIMAL.replace("  max_steps: 10\n", "  patience: 3\n"), "line 5: training.max_steps is missing"),
        ("run:\n  folder: x\ncorpus:\n  files: [a]\n", "training is missing; it has no default"),
        (MINIMAL.replace("[embedded:grammar]", "[]"), "line 4: corpus.files: List should have at least 1 item"),
        (MINIMAL.replace("[embedded:grammar]", "\n    - a.tsv\n    - 5"), "line 6: corpus.files.1: "),
    ],
)
def test_what_is_wrong_is_named_by_line_key_and_nearest_spelling(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(tmp_path, text)
    assert str(tmp_path / "config.yaml") in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MINIMAL + "model:\n  hidden_size: 60\n  num_heads: 7\n",
            "line 7: model: num_heads 7 does not divide hidden_size 60; change num_heads to a divisor such as 6",
        ),
        (
            MINIMAL + "model:\n  architecture: modern\n  hidden_size: 30\n  num_heads: 10\n",
            "line 7: model: num_heads 10 makes heads of 3 values; architecture 'modern' turns pairs of values, so "
            "hidden_size / num_heads has to be even",
        ),
        (
            MINIMAL + "  optimizer: muon\n  amsgrad: true\n",
            "line 5: training: amsgrad is for optimizers 'adam' and 'adamw', not 'muon'",
        ),
        (
            MINIMAL + "objective:\n  reconstruction_weight: 0\n  contrastive_weight: 0\n",
            "line 7: objective: reconstruction_weight, contrastive_weight and distillation_weight are all 0; "
            "set one above 0",
        ),
        (
            MINIMAL + "batching:\n  max_tokens: 200\n",
            "sentences, 2 x model.max_tokens = 240",
        ),
        (
            MINIMAL + "validation:\n  metric: tatoeba\n",
            "line 7: validation: metric 'tatoeba' is not in validation.sets; set metric to 'held_out' or add it",
        ),
        (
            MINIMAL + "validation:\n  pairs_per_language_pair: 1\n",
            "line 7: validation: metric 'held_out' needs pairs_per_language_pair of at least 2",
        ),
        (
            MINIMAL + "evaluation:\n  sets: [tatoba]\n",
            "line 7: evaluation: unknown set 'tatoba'; did you mean 'tatoeba'?",
        ),
    ],
)
def test_impossible_combinations_say_what_to_change(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text).endswith(message)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{file: a.tsv, target: b}", "give either 'file', or 'source' and 'target' together"),
        ("{source: a}", "give either 'file', or 'source' and 'target' together"),
        ("{}", "give either 'file', or 'source' and 'target' together"),
        ("{sorce: a, target: b}", "unknown key 'sorce' in corpus.files.0; did you mean 'source'?"),
        ("{file: a, languages: [en]}", "corpus.files.0.languages"),
    ],
)
def test_a_corpus_entry_of_an_unknown_form_is_explained(tmp_path: Path, entry: str, message: str) -> None:
    assert message in refusal(tmp_path, MINIMAL.replace("embedded:grammar", entry))


def test_corpus_entries_of_all_forms_are_read(tmp_path: Path) -> None:
    files = "['*.tsv.gz', {source: a.en, target: a.no, languages: [en, no]}, {file: b.jsonl}]"
    config = load(tmp_path, MINIMAL.replace("[embedded:grammar]", files), "corpus.languages=[no, {code: xx, name: X}]")
    first, second, third = config.corpus.files
    assert first == "*.tsv.gz"
    assert not isinstance(second, str)
    assert (second.source, second.languages) == ("a.en", ("en", "no"))
    assert not isinstance(third, str)
    assert (third.file, third.languages) == ("b.jsonl", None)
    assert config.corpus.languages is not None
    assert config.corpus.languages[0] == "no"


@pytest.mark.parametrize(
    "word", ["no", "No", "NO", "on", "off", "yes", "y", "n", "1:30", "2024-01-01", "<<", "=", "1e", "-"]
)
def test_words_that_yaml_1_1_would_change_stay_strings(tmp_path: Path, word: str) -> None:
    quoted = f"'{word}'" if word == "-" else word
    assert load(tmp_path, MINIMAL.replace("runs/test", quoted)).run.folder == word
    assert load(tmp_path, MINIMAL, f"corpus.languages=[en, {quoted}]").corpus.languages == ["en", word]


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-3", 1e-3), ("1E+2", 100.0), ("5", 5.0), (".5", 0.5), ("3.", 3.0), ("1_000.5", 1000.5), ("2.5e-1", 0.25)],
)
def test_numbers_are_read_as_people_write_them(tmp_path: Path, written: str, value: float) -> None:
    assert load(tmp_path, MINIMAL + f"  learning_rate: {written}\n").training.learning_rate == value


@pytest.mark.parametrize(("written", "value"), [("1_000", 1000), ("+7", 7), ("010", 10), ("0", 0), ("089", 89)])
def test_integers_are_decimal(tmp_path: Path, written: str, value: int) -> None:
    assert load(tmp_path, MINIMAL, f"run.seed={written}").run.seed == value


def test_a_tab_is_named_with_its_line_and_the_remedy(tmp_path: Path) -> None:
    assert "line 2: " in refusal(tmp_path, MINIMAL.replace("  folder", "\tfolder"))
    assert refusal(tmp_path, MINIMAL.replace("  folder", "\tfolder")).endswith("; indent with spaces")


def test_an_alias_is_refused_with_its_line(tmp_path: Path) -> None:
    text = MINIMAL.replace("runs/test", "&place runs/test") + "evaluation:\n  folder: *place\n"
    assert "line 8: aliases (*name) are not supported; write the value out" in refusal(tmp_path, text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "a string", "[1, 2]", "5"])
def test_a_file_that_holds_no_sections_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).endswith("a config is a mapping of sections (run, corpus, …)")


def test_a_missing_file_a_folder_and_a_file_in_another_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config .*missing.yaml does not exist"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(MINIMAL.replace("test", "größe").encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "latin.yaml")


def test_windows_newlines_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + MINIMAL.replace("\n", "\r\n")) == load(tmp_path, MINIMAL)


def test_overrides_apply_in_order(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL, "run.seed=1", "model.num_heads=8", "run.seed=2", "training.patience=null")
    assert (config.run.seed, config.model.num_heads, config.training.patience) == (2, 8, None)
    assert config.run.folder == "runs/test"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("run.seed", "--set run.seed: write it as section.key=value"),
        ("=5", "--set =5: write it as section.key=value"),
        ("run.sed=5", "--set run.sed=5: unknown key 'sed' in run; did you mean 'seed'?"),
        ("rnu.seed=5", "--set rnu.seed=5: unknown key 'rnu'; did you mean 'run'?"),
        ("run.seed.x=5", "--set run.seed.x=5: "),
        ("run.folder.x=5", "--set run.folder.x=5: 'folder' is a value, not a section"),
        ("run.seed=abc", "--set run.seed=abc: run.seed: Input should be a valid integer, not 'abc'"),
        ("run.seed=[", "--set run.seed=[, line 1: "),
        ("model.num_heads=7", "--set model.num_heads=7: model: num_heads 7 does not divide hidden_size 1024"),
        ("run=5", "--set run=5: run: "),
        ("run.seed=-1", "--set run.seed=-1: run.seed: Input should be greater than or equal to 0, not -1"),
        ("run.seed=\x00", r"--set 'run.seed=\x00': unacceptable character"),
        ("run.seed=1\n2", r"--set 'run.seed=1\n2': run.seed: Input should be"),
    ],
)
def test_a_wrong_override_is_named_as_it_was_written(tmp_path: Path, assignment: str, message: str) -> None:
    assert refusal(tmp_path, MINIMAL, "run.device=cpu", assignment, "training.patience=3").startswith(message)


words = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"]), min_size=1, max_size=12)
# Three of the characters are line breaks to YAML 1.1, one ends a path.
odd_words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x85\u2028\u2029"), min_size=1, max_size=12
)
texts = st.one_of(
    words, st.sampled_from(["no", "1e5", "08", "1_0", "~", "null", "true", "1:2", "0x1F", ".inf", "-", "a: b"])
)
positive = st.floats(1e-300, 1e300)


@any_fixture
@given(
    folder=st.one_of(texts, odd_words),
    seed=st.integers(0, 2**32 - 1),
    rate=positive,
    languages=st.lists(texts, min_size=1, max_size=3),
    steps=positive,
)
def test_what_is_written_is_read_back(
    tmp_path: Path, folder: str, seed: int, rate: float, languages: list[str], steps: float
) -> None:
    values: dict[str, Any] = {
        "run": {"folder": folder, "seed": seed},
        "corpus": {
            "files": [folder, {"source": folder, "target": "b", "languages": ("en", "no")}],
            "languages": languages,
        },
        "batching": {"sampling_temperature": 1 + steps},
        "training": {"max_steps": 10**9, "learning_rate": rate},
    }
    config = Config.model_validate(values)
    assert load(tmp_path, dump_config(config)) == config


@any_fixture
@given(seed=st.integers(0, 2**32 - 1), rate=positive, folder=texts, target=st.sampled_from(["counts", "set"]))
def test_overrides_give_what_the_file_would_give(
    tmp_path: Path, seed: int, rate: float, folder: str, target: str
) -> None:
    assignments = [f"run.seed={seed}", f"training.learning_rate={rate!r}", f"objective.target={target}"]
    # JSON strings are YAML strings, whatever word they hold.
    config = load(tmp_path, MINIMAL, *assignments, f"run.folder={json.dumps(folder, ensure_ascii=False)}")
    assert (config.run.seed, config.training.learning_rate) == (seed, rate)
    assert (config.run.folder, config.objective.target) == (folder, target)
    assert load(tmp_path, dump_config(config)) == config
