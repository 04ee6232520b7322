"""Which files a list of entries names, and in which languages."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ems.data.sources import CorpusFile, embedded_texts, find_files
from ems.errors import InputError
from ems.languages import LANGUAGES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "en-de.tsv",
        "web/eng-fra.tsv.gz",
        "web/news.eng_Latn-zho_Hans.tsv.xz",
        "deep/er/eng-Latn-deu-Latn.tsv.zst",
        "mined.jsonl.gz",
        "ja-ko.jsonl",
        "plain.en",
        "plain.de",
        "plain.fr",
        "corpus.tsv",
        "xx-de.tsv",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a\tb\n")
    return tmp_path


@pytest.fixture
def embed(monkeypatch):
    """Put sentence pairs in the place of the generated ones."""

    def replace(pairs):
        monkeypatch.setitem(sys.modules, "ems.data.grammar", SimpleNamespace(training_pairs=lambda: pairs))
        embedded_texts.cache_clear()

    yield replace
    embedded_texts.cache_clear()


def found(entries, folder, **options):
    return find_files(entries, folder, registry=LANGUAGES, **options)


def test_globs_give_sorted_files_with_languages_from_their_names(folder):
    files = found(["web/*", "deep/**/*.tsv.zst", "en-de.tsv"], folder)
    assert [(file.name, file.languages, file.format) for file in files] == [
        ("web/eng-fra.tsv.gz", ("en", "fr"), "tsv"),
        ("web/news.eng_Latn-zho_Hans.tsv.xz", ("en", "zh"), "tsv"),
        ("deep/er/eng-Latn-deu-Latn.tsv.zst", ("en", "de"), "tsv"),
        ("en-de.tsv", ("en", "de"), "tsv"),
    ]
    assert all(file.source == folder / file.name for file in files)


def test_two_stars_cross_folders(folder):
    assert [file.name for file in found(["**/*.tsv.*"], folder)] == [
        "deep/er/eng-Latn-deu-Latn.tsv.zst",
        "web/eng-fra.tsv.gz",
        "web/news.eng_Latn-zho_Hans.tsv.xz",
    ]


def test_names_do_not_depend_on_how_the_folder_is_written(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    relative = Path(folder.name)
    assert found(["en-de.tsv"], relative)[0].name == "en-de.tsv"
    assert found([str(folder / "en-de.tsv")], relative)[0].name == "en-de.tsv"
    assert found([str(folder / "web" / "*.gz")], folder)[0].name == "web/eng-fra.tsv.gz"


def test_a_name_with_wildcard_characters_means_itself_when_it_exists(tmp_path):
    (tmp_path / "[1].en-de.tsv").write_bytes(b"a\tb\n")
    assert found(["[1].en-de.tsv"], tmp_path)[0].name == "[1].en-de.tsv"


def test_an_entry_overrides_the_languages_of_the_name(folder):
    assert found([{"file": "corpus.tsv", "languages": ["deu", "en"]}], folder)[0].languages == ("de", "en")
    assert found([{"file": "en-de.tsv", "languages": ("fr", "en")}], folder)[0].languages == ("fr", "en")


def test_two_line_aligned_files(folder):
    entries = [
        {"source": "plain.en", "target": "plain.de", "languages": ["en", "de"]},
        {"source": "plain.en", "target": "plain.fr"},
    ]
    files = found(entries, folder)
    assert files[0] == CorpusFile(
        "plain.en + plain.de", folder / "plain.en", folder / "plain.de", ("en", "de"), "lines"
    )
    assert files[1].languages == ("en", "fr")


def test_jsonl_without_languages_in_its_name_names_them_in_its_lines(folder):
    files = found(["*.jsonl*"], folder)
    assert [(file.name, file.languages) for file in files] == [("ja-ko.jsonl", ("ja", "ko")), ("mined.jsonl.gz", None)]


def test_embedded_text_is_one_file_a_language_pair(embed, tmp_path):
    embed({("en", "de"): [("a", "b")], ("en", "fr"): [("a", "c")]})
    files = found(["embedded:grammar"], tmp_path / "absent")
    assert [file.name for file in files] == ["embedded:grammar/en-de", "embedded:grammar/en-fr"]
    assert {file.format for file in files} == {"embedded"}
    assert [file.languages for file in found(["embedded:grammar"], ".", languages=["en", "fr"])] == [("en", "fr")]


def test_only_files_of_the_languages_asked_for_are_kept(folder, caplog):
    (folder / "corpus.tsv").unlink()
    files = found(["*.tsv", "web/*"], folder, languages=["eng", "de"])
    assert [file.name for file in files] == ["en-de.tsv"]
    assert "xx-de.tsv: unknown language 'xx'" in caplog.text


def test_a_name_that_tells_no_languages_stops_whatever_is_asked_for(folder):
    with pytest.raises(InputError, match=r"corpus\.tsv: the name does not tell two languages"):
        found(["*.tsv"], folder, languages=["en", "de"])


def test_lines_of_jsonl_are_left_to_be_sifted(folder):
    files = found(["mined.jsonl.gz"], folder, languages=["en", "yor"])
    assert files[0].only == ("en", "yo")


def test_a_language_without_a_file_is_refused(folder):
    with pytest.raises(InputError, match=r"corpus\.languages: no file pairs 'yo'"):
        found(["en-de.tsv", "web/eng-fra.tsv.gz"], folder, languages=["en", "de", "yo"])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["none*.tsv"], r"corpus\.files\[0\]: 'none\*\.tsv' matches no file in '[^']*'$"),
        (["we*"], r"'we\*' matches no file in '[^']*'$"),
        (["en-d*.tsv.gz"], r"'en-d\*\.tsv\.gz' matches no file in .*; 'en-de\.tsv' would match 'en-d\*\.tsv\*'"),
        (["en-de.tsv", "en-ed.tsv"], r"corpus\.files\[1\]: no file 'en-ed\.tsv' .*nearest: 'en-de\.tsv'"),
        (["xx-de.tsv"], r"xx-de\.tsv: unknown language 'xx'; nearest: "),
        (["corpus.tsv"], r"corpus\.tsv: the name does not tell two languages"),
        (["plain.en"], r"plain\.en: not a known format"),
        (["en-de.tsv", "*-de.tsv"], "xx-de"),
        (["en-de.tsv", "./en-de.tsv"], r"'en-de\.tsv' is named twice"),
        (["embedded:gramar"], "nearest: 'embedded:grammar'"),
        ([{"file": "en-de.tsv", "langs": ["en", "de"]}], "unknown key 'langs'; nearest: 'languages'"),
        ([{"file": "en-de.tsv", "languages": ["en"]}], r"corpus\.files\[0\]\.languages: \['en'\] is not two"),
        ([{"file": "en-de.tsv", "languages": ["en", "dee"]}], r"\.languages: unknown language 'dee'"),
        ([{"source": "plain.en"}], "either 'file', or 'source' and 'target' together"),
        ([{"source": "plain.en", "target": "plain.it"}], r"\.target: no file 'plain\.it'"),
        ([{"source": "corpus.tsv", "target": "plain.en"}], "no languages; add languages"),
        ([{"file": 3}], r"corpus\.files\[0\]\.file: 3 is not a file name"),
        ([7], r"corpus\.files\[0\]: 7 is not"),
        ([], "names no file"),
    ],
)
def test_an_unusable_entry_is_named(folder, entries, message):
    with pytest.raises(InputError, match=message) as raised:
        found(entries, folder)
    assert "\n" not in str(raised.value)


def test_a_file_and_its_compressed_copy_are_the_same_text(folder):
    (folder / "en-de.tsv.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"'en-de\.tsv\.gz' and 'en-de\.tsv' are the same text"):
        found(["en-de.tsv*"], folder)


def test_the_same_two_files_the_other_way_round_are_the_same_text(folder):
    entries = [{"source": "plain.en", "target": "plain.de"}, {"source": "plain.de", "target": "plain.en"}]
    with pytest.raises(InputError, match="are the same text"):
        found(entries, folder)


def test_a_link_to_a_named_file_is_the_same_text(folder):
    (folder / "de-en.tsv").symlink_to(folder / "en-de.tsv")
    with pytest.raises(InputError, match="are the same text"):
        found(["de-en.tsv", "en-de.tsv"], folder)


def test_an_unknown_language_asked_for_is_refused(folder):
    with pytest.raises(InputError, match=r"corpus\.languages: unknown language 'germn'; nearest: de \(German\)"):
        found(["en-de.tsv"], folder, languages=["en", "germn"])


def test_one_string_is_not_a_list_of_entries(folder):
    with pytest.raises(TypeError):
        found("en-de.tsv", folder)
