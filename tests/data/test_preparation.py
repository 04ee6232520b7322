"""From a config to tokenizer and shards: made once, kept, and refused for another recipe."""

from __future__ import annotations

import pytest

from ems.data.preparation import prepare_corpus
from ems.errors import InputError
from tests.tiny import tiny_config, write_corpus


@pytest.fixture
def folder(tmp_path):
    write_corpus(tmp_path / "text")
    return tmp_path


def test_an_added_file_is_prepared_without_touching_tokenizer_or_other_shards(folder, caplog):
    first = prepare_corpus(tiny_config(folder))
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "run" / "prepared" / "shards" / "files").iterdir()}
    write_corpus(folder / "text", languages=("fr",))
    second = prepare_corpus(tiny_config(folder))
    after = {p.name: p.stat().st_mtime_ns for p in (folder / "run" / "prepared" / "shards" / "files").iterdir()}
    assert second.tokenizer.fingerprint == first.tokenizer.fingerprint
    assert second.languages == ("de", "en", "es", "fr")
    assert "never saw fr" in caplog.text
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_the_same_text_and_seed_give_the_same_tokenizer_and_shards(folder):
    one = prepare_corpus(tiny_config(folder, f"corpus.prepared={folder / 'one'}"))
    two = prepare_corpus(tiny_config(folder, f"corpus.prepared={folder / 'two'}"))
    assert one.tokenizer.fingerprint == two.tokenizer.fingerprint
    assert one.shards.digest == two.shards.digest


def test_a_declared_language_is_trained_like_any_other(folder):
    (folder / "text" / "en-de.tsv").rename(folder / "text" / "en-gsw.tsv")
    declared = "corpus.languages=[en, es, {code: gsw, name: Swiss German}]"
    assert prepare_corpus(tiny_config(folder, declared)).languages == ("en", "es", "gsw")


def test_an_unknown_language_is_refused_with_its_key_and_the_way_to_declare_it(folder):
    with pytest.raises(InputError, match=r"^corpus\.languages: unknown language 'xx'.*; declare another as \{code: xx"):
        prepare_corpus(tiny_config(folder, "corpus.languages=[en, xx]"))


def test_where_text_is_too_little_for_the_vocabulary_the_rejected_lines_are_told(folder):
    with open(folder / "text" / "en-de.tsv", "a", encoding="utf-8") as file:
        file.write("left\t\n" * 7)
    with pytest.raises(InputError, match=r"vocab_size 30000 .*; en-de\.tsv: 7 of \d+ lines were rejected, empty"):
        prepare_corpus(tiny_config(folder, "tokenizer.vocab_size=30000"))
    assert not (folder / "run" / "prepared" / "tokenizer").exists()


def test_only_the_listed_languages_are_used(folder):
    assert prepare_corpus(tiny_config(folder, "corpus.languages=[en, es]", "tokenizer.vocab_size=200")).languages == (
        "en",
        "es",
    )


def test_a_tokenizer_of_another_run_is_used_when_named(folder):
    made = prepare_corpus(tiny_config(folder))
    again = tiny_config(
        folder, f"corpus.prepared={folder / 'other'}", f"tokenizer.model={folder / 'run/prepared/tokenizer'}"
    )
    assert prepare_corpus(again).tokenizer.fingerprint == made.tokenizer.fingerprint


def test_a_half_written_tokenizer_folder_is_refused_by_name(folder):
    prepare_corpus(tiny_config(folder))
    (folder / "run" / "prepared" / "tokenizer" / "request.json").unlink()
    with pytest.raises(InputError, match=r"request.json cannot be read"):
        prepare_corpus(tiny_config(folder))


def test_the_tokenizer_depends_on_its_own_sampling_temperature_and_on_no_key_of_a_run(folder):
    small = ("tokenizer.sentences=300", "tokenizer.vocab_size=200")
    made = prepare_corpus(tiny_config(folder, *small)).tokenizer
    run = ("run.seed=7", "batching.sampling_temperature=9", f"corpus.prepared={folder / 'other'}")
    assert prepare_corpus(tiny_config(folder, *small, *run)).tokenizer.fingerprint == made.fingerprint
    with pytest.raises(InputError, match=r"made with sampling_temperature 2\.0, but the config says 9\.0"):
        prepare_corpus(tiny_config(folder, *small, "tokenizer.sampling_temperature=9"))
