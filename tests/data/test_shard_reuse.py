"""Preparing again tokenises what is new or changed, and nothing else."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from ems.data import shard_manifest, shard_writer
from ems.data.corpus import Rules, find_files
from ems.data.shard_manifest import read_manifest
from ems.data.shards import open_shards, prepare
from ems.errors import InputError
from ems.languages import LANGUAGES
from tests.data.shard_rows import all_rows, arrays_of, expected_rows, without_stamps
from tests.data.small_corpus import (
    INVISIBLE,
    WordTokenizer,
    numbered,
    prepare_all,
    write_tsv,
)


def test_a_second_run_tokenises_nothing_and_writes_nothing(tmp_path: Path, corpus: Path) -> None:
    first = prepare_all(corpus, tmp_path / "out", WordTokenizer())
    written = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    tokenizer = WordTokenizer()
    assert prepare_all(corpus, tmp_path / "out", tokenizer) == first
    assert tokenizer.calls == 0
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == written


def test_a_second_run_reads_no_text(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_all(corpus, tmp_path / "out", WordTokenizer())

    def refuse(*_: object) -> str:
        raise AssertionError("read")

    monkeypatch.setattr(shard_writer, "file_digest", refuse)
    monkeypatch.setattr(shard_manifest, "digest_of", refuse)
    prepare_all(corpus, tmp_path / "out", WordTokenizer())
    open_shards(tmp_path / "out", "words")


def test_only_a_changed_or_added_file_is_tokenised_and_a_removed_one_disappears(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    first = prepare_all(corpus, out, WordTokenizer())
    write_tsv(corpus, {"c.en-fr.tsv": numbered("en-fr", 30, first=1), "g.en-cs.tsv": numbered("en-cs", 5)})
    (corpus / "d.de-fr.tsv").unlink()
    tokenizer = WordTokenizer()
    second = prepare_all(corpus, out, tokenizer)
    assert tokenizer.calls == 2
    assert [shard.name for shard in second.files] == ["a.en-de.tsv", "b.de-en.tsv", "c.en-fr.tsv", "g.en-cs.tsv"]
    assert second.files[:2] == first.files[:2]
    assert second.digest != first.digest
    assert {path.name for path in (out / "files").iterdir()} == {shard.shard for shard in second.files}
    fresh = prepare_all(corpus, tmp_path / "fresh", WordTokenizer())
    assert without_stamps(second) == without_stamps(fresh)
    assert arrays_of(out) == arrays_of(tmp_path / "fresh")


def test_a_file_that_was_only_touched_or_copied_is_not_tokenised_again(tmp_path: Path, corpus: Path) -> None:
    first = prepare_all(corpus, tmp_path / "out", WordTokenizer())
    shutil.copytree(tmp_path / "out", tmp_path / "copied")
    (corpus / "a.en-de.tsv").touch()
    tokenizer = WordTokenizer()
    for folder in ("out", "copied"):
        again = prepare_all(corpus, tmp_path / folder, tokenizer)
        assert without_stamps(again) == without_stamps(first)
        assert again != first
        # The marks are brought up to date, so the text is digested once and not at every start.
        assert prepare_all(corpus, tmp_path / folder, tokenizer) == again
    assert tokenizer.calls == 0


def test_another_tokenizer_or_other_rules_make_everything_anew(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    prepare_all(corpus, out, WordTokenizer())
    other = WordTokenizer(vocab_size=1000, fingerprint="other")
    prepare_all(corpus, out, other)
    assert other.calls == 4
    assert all_rows(open_shards(out, "other"), ("de", "fr")) == expected_rows(numbered("de-fr", 3), ("de", "fr"), other)
    with pytest.raises(InputError, match="tokenizer other, not with words"):
        open_shards(out, "words")
    files = find_files(["*.tsv"], corpus, registry=LANGUAGES)
    manifest = prepare(files, other, out, registry=LANGUAGES, rules=Rules(max_characters=5), workers=0)
    assert other.calls == 8
    assert manifest.rejected["too_long"] > 0


def test_rejected_lines_are_counted_by_reason_and_first_line(tmp_path: Path) -> None:
    write_tsv(tmp_path / "corpus", {"en-de.tsv": numbered("en-de", 4)})
    with open(tmp_path / "corpus" / "en-de.tsv", "a", encoding="utf-8") as file:
        file.write(f"no tab\n{INVISIBLE}{INVISIBLE}\tsome words\nmore words\tx{INVISIBLE}\nand more\t{INVISIBLE}\n")
    manifest = prepare_all(tmp_path / "corpus", tmp_path / "out", WordTokenizer())
    assert manifest.rejected == {"missing_side": 1, "no_tokens": 2}
    assert manifest.files[0].rejected == {"missing_side": (1, 5), "no_tokens": (2, 6)}
    report = manifest.reports()[0]
    assert (report.lines, report.kept) == (8, 5)
    assert len(open_shards(tmp_path / "out", "words")) == 5


def test_a_file_without_a_usable_pair_is_named_and_leaves_the_old_corpus_alone(tmp_path: Path, corpus: Path) -> None:
    first = prepare_all(corpus, tmp_path / "out", WordTokenizer())
    (corpus / "e.en-cs.tsv").write_text("no tab\n")
    with pytest.raises(InputError, match=r"e\.en-cs\.tsv"):
        prepare_all(corpus, tmp_path / "out", WordTokenizer())
    assert read_manifest(tmp_path / "out") == first
    open_shards(tmp_path / "out", "words")


def test_text_that_changes_while_it_is_read_is_refused(tmp_path: Path, corpus: Path) -> None:
    class Slow(WordTokenizer):
        def encode_flat(self, sentences: list[str]) -> tuple[np.ndarray, np.ndarray]:
            time.sleep(0.02)
            write_tsv(corpus, {"a.en-de.tsv": numbered("en-de", 40, first=1)})
            return super().encode_flat(sentences)

    with pytest.raises(InputError, match=r"a\.en-de\.tsv: changed"):
        prepare_all(corpus, tmp_path / "out", Slow())
    assert not list((tmp_path / "out" / "files").iterdir())
