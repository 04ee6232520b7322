"""A list of tasks to results.json, results.md and report.html."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from ems.errors import InputError
from ems.eval.report import to_markdown
from ems.eval.suite import run_suite

# Row 1 of German is wrong (it means 2), so that one score of every task is not 1.
GERMAN, FRENCH, ENGLISH = (
    ["de 0", "de 2!", "de 2", "de 3"],
    ["fr 0", "fr 1", "fr 2", "fr 3"],
    ["en 0", "en 1", "en 2", "en 3"],
)


class DigitEncoder:
    name = "digits"

    def encode(self, sentences):
        return np.array([np.eye(4)[int(next(c for c in sentence if c.isdigit()))] for sentence in sentences])


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "tatoeba").mkdir(parents=True)
    (folder / "flores" / "devtest").mkdir(parents=True)
    for code, flores, lines in (("deu", "deu_Latn", GERMAN), ("fra", "fra_Latn", FRENCH)):
        (folder / "tatoeba" / f"tatoeba.{code}-eng.{code}").write_text("\n".join(lines) + "\n")
        (folder / "tatoeba" / f"tatoeba.{code}-eng.eng").write_text("\n".join(ENGLISH) + "\n")
        (folder / "flores" / "devtest" / f"{flores}.devtest").write_text("\n".join(lines) + "\n")
    (folder / "flores" / "devtest" / "eng_Latn.devtest").write_text("\n".join(ENGLISH) + "\n")
    return folder


def test_results_hold_a_record_for_each_task_and_are_what_the_file_holds(data, tmp_path):
    results = run_suite(DigitEncoder(), data, languages=["de", "fr"], output=tmp_path / "out")
    (encoder,) = results["encoders"]
    assert encoder["name"] == "digits"
    assert [record["task"] for record in encoder["records"]] == ["tatoeba", "flores", "flores-xsim"]
    assert [record["scores"]["de"]["x->en"] for record in encoder["records"]] == [0.75, 0.75, 0.25]
    assert [record["scores"]["fr"]["x->en"] for record in encoder["records"]] == [1, 1, 0]
    assert json.loads((tmp_path / "out" / "results.json").read_text("utf-8")) == results
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "results.json", "results.md"]


def test_a_default_task_without_the_languages_is_left_out_and_named_everywhere(data, tmp_path):
    (data / "nusax").mkdir()
    for split in ("train", "valid", "test"):
        (data / "nusax" / f"en.{split}.csv").write_text("id,text,label\n1,1 good,positive\n2,2 bad,negative\n")
    (encoder,) = run_suite(DigitEncoder(), data, languages=["de"], output=tmp_path / "out")["encoders"]
    assert [left["task"] for left in encoder["not_scored"]] == ["nusax"]
    assert "nusax" not in {record["task"] for record in encoder["records"]}
    for name in ("results.md", "report.html"):
        assert "Not scored: nusax" in (tmp_path / "out" / name).read_text("utf-8")
    with pytest.raises(InputError, match="no language to score"):
        run_suite(DigitEncoder(), data, ["nusax"], languages=["de"])


def test_two_tasks_that_score_the_same_leave_one_record(data):
    (encoder,) = run_suite(DigitEncoder(), data, ["flores", "flores-all-pairs"], languages=["de"])["encoders"]
    assert [record["task"] for record in encoder["records"]] == ["flores", "flores-xsim", "flores-all-pairs"]


def test_altered_sentences_without_the_originals_are_no_task(data):
    shutil.rmtree(data / "flores" / "devtest")
    (data / "flores" / "devtest_augmented").mkdir()
    (data / "flores" / "devtest_augmented" / "eng_Latn_augmented.devtest").write_text("1\n")
    (encoder,) = run_suite(DigitEncoder(), data, languages=["de"])["encoders"]
    assert [record["task"] for record in encoder["records"]] == ["tatoeba"]


def test_the_page_to_look_at_holds_the_scores_and_is_the_same_when_run_again(data, tmp_path):
    pages = []
    for name in ("a", "b"):
        run_suite(DigitEncoder(), data, ["tatoeba"], languages=["de", "fr"], output=tmp_path / name)
        pages.append((tmp_path / name / "report.html").read_text("utf-8"))
    assert pages[0] == pages[1]
    assert "German" in pages[0]
    assert "87.5" in pages[0]


def test_languages_of_flores_are_drawn_together_and_means_say_over_which_languages_they_are(data):
    tatoeba, flores, _ = run_suite(DigitEncoder(), data, languages=["de", "fr"])["encoders"][0]["records"]
    assert flores["parallel_rows"] is True
    assert tatoeba["members"] == {"chosen": ["de", "fr"]}
    assert not tatoeba.get("parallel_rows", False)


def test_every_record_names_what_makes_its_numbers_comparable(data):
    names = {
        "protocol",
        "split",
        "direction",
        "language_set",
        "margin",
        "k",
        "averaging",
        "n",
        "data_digest",
        "skipped",
    }
    results = run_suite(DigitEncoder(), data, ["tatoeba", "flores-all-pairs"], languages=["de"])
    assert len(results["encoders"][0]["records"]) == 4
    for record in results["encoders"][0]["records"]:
        assert names <= set(record)
        for scores in record["scores"].values():
            assert set(record["columns"]) <= set(scores)


def test_the_report_shows_protocol_means_languages_and_what_was_skipped(data, tmp_path):
    run_suite(DigitEncoder(), data, ["tatoeba"], languages=["de", "fr", "yo", "ja"], output=tmp_path / "out")
    report = (tmp_path / "out" / "results.md").read_text("utf-8")
    assert report.startswith("# digits\n")
    assert "## tatoeba (test), chosen" in report
    assert "Protocol: accuracy, nearest neighbour by cosine; plain mean over languages" in report
    # German row 1 errs. English 1 finds nothing, hence row 0, and English 2 the lower of two equals, row 1: both wrong.
    # F1: English 2 is drawn by two queries; (1 + 2/3 + 1) / 4.
    assert "| de | 4 | 75.0 | 50.0 | 62.5 | 66.7 |" in report
    assert "| fr | 4 | 100.0 | 100.0 | 100.0 | 100.0 |" in report
    interval = r" \([0-9.]+–100\.0\)"  # of eight sentences: wide
    assert re.search(
        rf"\| chosen \| 2 of 3 \| 87\.5{interval} \| 75\.0{interval} \| 81\.2{interval} \| 83\.3 \|", report
    )
    assert "In brackets: 95 % bootstrap interval over sentences." in report
    assert "No interval for mteb_f1" in report
    assert "Skipped: yo (not in Tatoeba); ja (tatoeba.jpn-eng.jpn or its .eng is missing)." in report


def test_the_report_escapes_what_would_break_a_table():
    record = {
        "task": "t", "split": "s", "language_set": "a|b", "protocol": "p", "direction": "d", "margin": None, "k": 1,
        "averaging": "macro", "higher_is_better": False, "n": 1, "data_digest": "0", "columns": ["x|y"],
        "scores": {"de": {"x|y": 0.12345}}, "means": {"a|b": {"languages": 1, "of": 1, "x|y": 0.12345}}, "skipped": [],
    }  # fmt: skip
    report = to_markdown({"encoders": [{"name": "e", "fingerprint": None, "records": [record]}]})
    assert "| a\\|b | 1 of 1 | 12.3 |" in report
    assert "| language | x\\|y |\n|---|---:|\n| de | 12.3 |" in report
    assert "lower is better" in report


def test_several_encoders_are_scored_one_after_the_other(data, tmp_path):
    class Worse(DigitEncoder):
        name = "worse"

        def encode(self, sentences):
            return np.ones((len(sentences), 2))

    results = run_suite([DigitEncoder(), Worse()], data, ["flores"], languages=["de"], output=tmp_path)
    assert [encoder["name"] for encoder in results["encoders"]] == ["digits", "worse"]
    assert results["encoders"][1]["records"][0]["scores"]["de"]["mean"] == 0.25
    assert "# worse" in (tmp_path / "results.md").read_text()


def test_tasks_left_open_are_those_whose_files_are_there(data):
    for file in (data / "tatoeba").iterdir():
        file.unlink()
    records = run_suite(DigitEncoder(), data, languages=["de"])["encoders"][0]["records"]
    assert {record["task"] for record in records} == {"flores", "flores-xsim"}
    with pytest.raises(InputError, match="no files of task 'tatoeba'"):
        run_suite(DigitEncoder(), data, ["tatoeba"])


def test_unusable_arguments_are_named(data, tmp_path):
    with pytest.raises(InputError, match="unknown task 'tatoba'; did you mean 'tatoeba'"):
        run_suite(DigitEncoder(), data, ["tatoba"])
    with pytest.raises(InputError, match="nowhere: no such data folder"):
        run_suite(DigitEncoder(), tmp_path / "nowhere")
    (data / "flores" / "devtest" / "empty").mkdir()
    with pytest.raises(InputError, match="no files of any task"):
        run_suite(DigitEncoder(), data / "flores" / "devtest" / "empty")
    with pytest.raises(InputError, match="no task given"):
        run_suite(DigitEncoder(), data, [])
    with pytest.raises(InputError, match="no encoder given"):
        run_suite([], data)
    with pytest.raises(InputError, match="unknown language 'xx'"):
        run_suite(DigitEncoder(), data, languages=["xx"])
    with pytest.raises(InputError, match=r"tatoeba\.ita-eng\.ita"):
        run_suite(DigitEncoder(), data, languages=["de", "it"], strict=True)


class Counting(DigitEncoder):
    """Counts what it is asked for, and fails at a sentence with "stop" in it."""

    def __init__(self):
        self.calls = 0

    def encode(self, sentences):
        self.calls += 1
        if any("stop" in sentence for sentence in sentences):
            raise RuntimeError("out of memory")
        return super().encode(sentences)


def make_last_task_fail(data):
    """Make xsim++, which comes last, one whose files are fine and whose sentences fail."""
    altered = {f"{line} stop": {"src": line, "errtype": "number"} for line in ENGLISH}
    folder = data / "flores" / "devtest_augmented"
    folder.mkdir()
    (folder / "eng_Latn_augmented.devtest").write_text("\n".join(altered) + "\n")
    (folder / "eng_Latn_errtype.devtest.json").write_text(json.dumps(altered))


def test_tasks_finished_before_an_error_are_kept_and_the_rest_is_named(data, tmp_path, caplog):
    make_last_task_fail(data)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_suite(Counting(), data, languages=["de"], output=tmp_path / "out")
    (kept,) = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))["encoders"]
    assert [record["task"] for record in kept["records"]] == ["tatoeba", "flores", "flores-xsim"]
    assert [left["task"] for left in kept["not_scored"]] == ["flores-xsimpp"]
    assert "the run had not come to it" in (tmp_path / "out" / "results.md").read_text("utf-8")
    assert f"the tasks that it finished are in {tmp_path / 'out' / 'results.json'}" in caplog.text


def unusable_outputs(folder):
    """Folders to which results cannot be written, and why."""
    (folder / "file").write_text("x")
    (folder / "nothing").symlink_to(folder / "gone")
    (folder / "taken" / "results.json").mkdir(parents=True)
    (folder / "page" / "report.html").mkdir(parents=True)
    return [
        (folder / "file", "is a file; name a folder"),
        (folder / "file" / "below" / "it", "cannot be used as a folder .Not a directory"),
        (folder / "nothing", "nothing is no folder"),
        (folder / "nothing" / "below", "nothing is no folder"),
        (folder / "taken", r"results\.json in it is a folder"),
        (folder / "page", r"report\.html in it is a folder"),
        (folder / ("n" * 300), "File name too long"),
        (Path("/proc/below"), "cannot be used as a folder"),
    ]


def test_an_output_that_cannot_be_written_is_named_before_the_first_sentence_is_encoded(data, tmp_path, caplog):
    encoder = Counting()
    for output, message in unusable_outputs(tmp_path):
        with pytest.raises(InputError, match=message) as caught:
            run_suite(encoder, data, ["tatoeba"], languages=["de"], output=output)
        assert str(caught.value).startswith(f"output {output} ")
    assert encoder.calls == 0
    assert "finished are in" not in caplog.text


def test_an_output_is_looked_at_without_a_trace(data, tmp_path):
    with pytest.raises(InputError):
        run_suite(DigitEncoder(), data, ["tatoeba"], languages=["xx"], output=tmp_path / "out" / "below")
    assert not (tmp_path / "out").exists()
    run_suite(DigitEncoder(), data, ["tatoeba"], languages=["de"], output=tmp_path / "out" / "below")
    names = ["report.html", "results.json", "results.md"]
    assert sorted(path.name for path in (tmp_path / "out" / "below").iterdir()) == names


def test_results_that_could_not_be_written_are_not_said_to_be_kept(data, tmp_path, caplog, monkeypatch):
    (tmp_path / "results.json").write_text("of an earlier run")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ems.eval.output_folder.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        run_suite(DigitEncoder(), data, ["tatoeba"], languages=["de"], output=tmp_path)
    assert "finished are in" not in caplog.text


def test_nothing_is_said_to_be_kept_when_nothing_is(data, tmp_path, caplog):
    make_last_task_fail(data)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_suite(Counting(), data, ["flores-xsimpp"], languages=["de"], output=tmp_path / "out")
    assert "finished are in" not in caplog.text
    assert not (tmp_path / "out").exists()


def test_an_encoder_that_fails_leaves_those_before_it_whole(data, tmp_path):
    make_last_task_fail(data)

    class Robust(DigitEncoder):
        name = "robust"

    with pytest.raises(RuntimeError, match="out of memory"):
        run_suite([Robust(), Counting()], data, languages=["de"], output=tmp_path / "out")
    robust, counting = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))["encoders"]
    assert (robust["name"], len(robust["records"]), robust["not_scored"]) == ("robust", 4, [])
    assert (counting["name"], len(counting["records"])) == ("digits", 3)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("flores/devtest/deu_Latn.devtest", "de 0\n", r"deu_Latn\.devtest has 1\b"),
        ("flores/devtest/deu_Latn.devtest", b"\xff\n" * 4, "line 1: not UTF-8"),
        ("nusax/en.test.csv", "id,text,label\n1,1 good,excellent\n", "unknown label 'excellent'"),
    ],
)
def test_a_bad_file_of_a_later_task_is_named_before_the_first_sentence_is_encoded(data, file, content, message):
    (data / "nusax").mkdir()
    for name in ("en.train", "en.valid", "en.test", "id.test"):
        (data / "nusax" / f"{name}.csv").write_text("id,text,label\n1,1 good,positive\n2,2 bad,negative\n")
    (data / file).write_bytes(content.encode() if isinstance(content, str) else content)
    encoder = Counting()
    with pytest.raises(InputError, match=message):
        run_suite(encoder, data, languages=["de", "id"])
    assert encoder.calls == 0


def test_a_later_encoder_that_cannot_be_opened_is_named_before_the_first_sentence_is_encoded(data, tmp_path):
    encoder = Counting()
    with pytest.raises(InputError, match="gone: no such model folder"):
        run_suite([encoder, tmp_path / "gone"], data)
    with pytest.raises(TypeError, match="float has not"):
        run_suite([encoder, 1.5], data)
    assert encoder.calls == 0


def test_a_model_given_twice_is_refused_before_the_first_sentence_is_encoded(data, tmp_path):
    encoder = Counting()
    with pytest.raises(InputError, match="model digits is given twice"):
        run_suite([encoder, encoder], data)
    (tmp_path / "model").mkdir()
    (tmp_path / "same").symlink_to(tmp_path / "model")
    with pytest.raises(InputError, match=r"model .*same is given twice"):
        run_suite([str(tmp_path / "model"), tmp_path / "same"], data)
    assert encoder.calls == 0


def test_encoders_of_one_name_are_told_apart_in_the_results(data):
    results = run_suite([DigitEncoder(), Counting()], data, ["tatoeba"], languages=["de"])
    assert [encoder["name"] for encoder in results["encoders"]] == ["digits", "digits (2)"]


def test_where_no_language_was_named_the_error_says_which_were_looked_for(data):
    for file in list((data / "tatoeba").iterdir()):
        file.rename(file.with_name(file.name.replace("deu", "ang").replace("fra", "gsw")))
    shutil.rmtree(data / "flores")
    with pytest.raises(InputError, match=r"no task has a language that is scored unasked: tatoeba: .*: no .*afr-eng"):
        run_suite(DigitEncoder(), data)


def test_where_languages_were_named_the_error_says_which_and_why(data):
    with pytest.raises(InputError, match=r"no task has any of it, es: tatoeba: .*it \(tatoeba.*; and 1 more tasks"):
        run_suite(DigitEncoder(), data, languages=["it", "es"])


def test_strictly_a_language_that_no_task_has_is_an_error(data):
    run_suite(DigitEncoder(), data, ["tatoeba"], languages=["de", "yo"])
    encoder = Counting()
    with pytest.raises(InputError, match=r"data: language 'yo' is in none of the tasks tatoeba"):
        run_suite(encoder, data, ["tatoeba"], languages=["de", "yo"], strict=True)
    assert encoder.calls == 0
    # English is the other side, and Yoruba is in FLORES.
    (data / "flores" / "devtest" / "yor_Latn.devtest").write_text("yo 0\nyo 1\nyo 2\nyo 3\n")
    run_suite(DigitEncoder(), data, ["tatoeba", "flores"], languages=["eng_Latn", "de", "yo"], strict=True)


def test_warnings_of_a_model_name_the_task_and_the_language(data, caplog):
    class Cutting(DigitEncoder):
        def encode(self, sentences):
            if sentences[0].startswith("de"):
                logging.getLogger("ems.inference").warning("%d sentences were cut to their first %d tokens", 3, 120)
            return super().encode(sentences)

    run_suite(Cutting(), data, ["tatoeba", "flores"], languages=["de", "fr"])
    assert [record.getMessage() for record in caplog.records if "cut" in record.getMessage()] == [
        "tatoeba: 3 sentences were cut to their first 120 tokens (deu)",
        "flores: 3 sentences were cut to their first 120 tokens (deu_Latn)",
    ]
    assert logging.getLogger("ems.inference").filters == []


def test_an_encoder_that_returns_nonsense_is_refused(data):
    class Short(DigitEncoder):
        def encode(self, sentences):
            return super().encode(sentences)[1:]

    class NotFinite(DigitEncoder):
        def encode(self, sentences):
            return np.full((len(sentences), 3), np.nan)

    with pytest.raises(ValueError, match=r"returned shape \(3, 4\) for 4 sentences"):
        run_suite(Short(), data, ["flores"])
    with pytest.raises(ValueError, match="finite"):
        run_suite(NotFinite(), data, ["flores"])
