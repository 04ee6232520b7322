"""Old results against new ones: what counts as a fall, and what cannot be compared."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from ems.errors import InputError, RunError
from ems.eval.comparison import compare
from ems.eval.record import make_record, outcome
from ems.eval.results_file import read_results
from tests.eval.results import bare_record, flores_record, results_of


def record_of(rows, **more):
    """A record with one column, from which rows were right in which language."""
    scores = {language: {"accuracy": float(np.mean(row))} for language, row in rows.items()}
    settings = {
        "task": "t", "protocol": "p", "split": "test", "direction": "both", "language_set": "all", "n": 1,
        "data_digest": "0", "columns": ["accuracy"], "scores": scores,
        "outcomes": {language: {"accuracy": outcome(row)} for language, row in rows.items()},
    }  # fmt: skip
    return make_record(**(settings | more))


def right(count, rows=1000, first=0):
    return (np.arange(rows) >= first) & (np.arange(rows) < first + count)


def fallen(old, new):
    return [(change.row, change.column) for change in compare(results_of([old]), results_of([new])).fallen]


def test_the_same_results_have_neither_fallen_nor_risen():
    record = flores_record({"de": 0.8, "ja": 0.4})
    comparison = compare(results_of([record]), results_of([record]))
    assert len(comparison.changes) == 3 * (1 + 2)
    assert {change.verdict for change in comparison.changes} == {""}
    comparison.check()


def test_a_clear_fall_is_found_and_named():
    old, new = record_of({"de": right(900)}), record_of({"de": right(850)})
    comparison = compare(results_of([old]), results_of([new]))
    assert [change.row for change in comparison.fallen] == ["mean of all", "de"]
    with pytest.raises(RunError, match=r"2 scores fell .*: t \(test\) accuracy, mean of all −5\.0 \(encoder 1\); t"):
        comparison.check()
    assert "| encoder 1 | t (test) | mean of all | accuracy | 90.0 | 85.0 | −5.0 (" in comparison.to_markdown()
    assert compare(results_of([new]), results_of([old])).fallen == []
    assert {change.verdict for change in compare(results_of([new]), results_of([old])).changes} == {"rose"}


def test_a_fall_no_larger_than_its_interval_is_none():
    # 60 rows lost and 50 won: minus 10, with a deviation of about 10.5.
    old, new = record_of({"de": right(500)}), record_of({"de": right(490, first=60)})
    assert fallen(old, new) == []


def test_more_errors_are_a_fall_where_lower_is_better():
    few, many = (record_of({"de": right(count)}, higher_is_better=False) for count in (100, 150))
    assert ("mean of all", "accuracy") in fallen(few, many)
    assert fallen(many, few) == []


def test_many_languages_share_the_five_percent():
    # Lost 30, won 15: 15 / sqrt(45) = 2.2 deviations, beyond 1.96 alone, and within 2.8 of ten languages.
    before, after = right(500), right(485, first=30)
    old = {f"l{i}": right(500) for i in range(10)} | {"l0": before}
    new = {f"l{i}": right(500) for i in range(10)} | {"l0": after}
    assert ("l0", "accuracy") in fallen(record_of({"l0": before}), record_of({"l0": after}))
    assert ("l0", "accuracy") not in fallen(record_of(old), record_of(new))
    new["l0"] = right(460, first=50)  # lost 50, won 10: 5.2 deviations
    assert ("l0", "accuracy") in fallen(record_of(old), record_of(new))


def test_languages_that_moved_by_chance_alone_seldom_fail_a_comparison():
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        rows = [{f"l{i}": random.random(200) < 0.6 for i in range(30)} for _ in range(2)]
        alarms += any(row != "mean of all" for row, _ in fallen(record_of(rows[0]), record_of(rows[1])))
    # At most 2.5 % of 60 are expected: 1.5; six or more happen once in 250 times.
    assert alarms < 6


def test_columns_without_outcomes_are_mentioned_and_not_tested():
    old, new = record_of({"de": right(900)}), record_of({"de": right(900)})
    for record, value in ((old, 0.8), (new, 0.1)):
        record["columns"].append("macro_f1")
        record["scores"]["de"]["macro_f1"] = record["means"]["all"]["macro_f1"] = value
    comparison = compare(results_of([old]), results_of([new]))
    comparison.check()
    (sentence,) = comparison.not_compared
    assert sentence.startswith("t (test) (encoder 1): macro_f1, mean of all, was 80.0 and is 10.0 now")
    assert sentence in comparison.to_markdown()


def test_tasks_of_only_one_side_are_mentioned():
    record, other = record_of({"de": right(9, 10)}), record_of({"de": right(9, 10)}, task="u")
    old, new = results_of([record, other]), results_of([record, {**record, "split": "dev"}])
    assert compare(old, new, "old.json").not_compared == [
        "t (dev) (encoder 1): not in old.json",
        "u (test) (encoder 1): not run now",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_digest": "1"}, "data_digest is '0' there and '1' here"),
        ({"protocol": "q"}, "protocol is 'p' there and 'q' here"),
        ({"margin": "ratio"}, "margin is 'None' there and 'ratio' here"),
    ],
)
def test_what_was_asked_of_other_data_or_otherwise_is_refused(change, message):
    record = record_of({"de": right(9, 10)})
    other = record_of({"de": right(9, 10)}, **change)
    with pytest.raises(InputError, match=rf"old\.json: t \(test\) cannot be compared: {message}"):
        compare(results_of([record]), results_of([other]), "old.json")


def test_another_language_set_is_another_question():
    small = record_of({"de": right(9, 10)}, language_set="ems58")
    large = record_of({"de": right(9, 10)}, language_set="laser112")
    comparison = compare(results_of([small]), results_of([small, large]), "old.json")
    assert {change.row for change in comparison.changes} == {"de", "mean of ems58"}
    assert ["not in old.json" in line for line in comparison.not_compared] == [True]


def test_nothing_in_common_is_an_error_and_not_a_success():
    with pytest.raises(InputError, match=r"nothing to compare: t \(test\) \(encoder 1\): not in o; u \(test\)"):
        compare(
            results_of([record_of({"de": right(9, 10)}, task="u")]), results_of([record_of({"de": right(9, 10)})]), "o"
        )
    with pytest.raises(InputError, match="nothing to compare"):
        compare(results_of([bare_record(outcomes={})]), results_of([bare_record()]))


def test_one_old_encoder_is_compared_with_every_new_one():
    good, bad = record_of({"de": right(900)}), record_of({"de": right(500)})
    comparison = compare(results_of([good]), results_of([good], [bad]))
    assert {change.encoder for change in comparison.changes} == {"encoder 1", "encoder 2"}
    assert {change.encoder for change in comparison.fallen} == {"encoder 2"}


def test_several_old_encoders_are_found_by_name():
    good, bad = record_of({"de": right(900)}), record_of({"de": right(500)})
    new = results_of([good])
    new["encoders"][0]["name"] = "encoder 2"
    assert compare(results_of([good], [bad]), new).fallen == []
    new["encoders"][0]["name"] = "encoder 3"
    with pytest.raises(InputError, match="no encoder named encoder 3 in it; there are encoder 1, encoder 2"):
        compare(results_of([good], [bad]), new)


def test_of_several_old_encoders_of_one_name_the_one_with_the_same_fingerprint_is_meant():
    good, bad = record_of({"de": right(900)}), record_of({"de": right(500)})
    old, new = results_of([good], [bad]), results_of([good], [bad])
    for encoder in (*old["encoders"], *new["encoders"]):
        encoder["name"] = "foo"
    old["encoders"].reverse()
    assert {change.verdict for change in compare(old, new).changes} == {""}


@pytest.mark.parametrize(
    ("fingerprints", "message"), [(("a", "b"), "0 of them"), (("c", "c"), "2 of them"), ((None, None), "0 of them")]
)
def test_an_old_encoder_that_is_not_the_only_one_of_its_name_is_refused(fingerprints, message):
    record = record_of({"de": right(900)})
    old, new = results_of([record], [record]), results_of([record])
    for encoder, fingerprint in zip(old["encoders"], fingerprints, strict=True):
        encoder.update(name="foo", fingerprint=fingerprint)
    new["encoders"][0].update(name="foo", fingerprint=None if None in fingerprints else "c")
    with pytest.raises(InputError, match=rf"old\.json: 2 encoders in it are named foo, {message} with the fingerprint"):
        compare(old, new, "old.json")


def test_results_read_back_are_the_ones_written(tmp_path):
    results = results_of([flores_record({"de": 0.5})])
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert read_results(tmp_path / "results.json") == results


def broken(path, value):
    results = results_of([record_of({"de": right(9, 10)})])
    place = results
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(results)


RECORD = ("encoders", 0, "records", 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no results of `ems evaluate`"),
        ("{}", "no results of `ems evaluate`"),
        (broken(["format"], 99), "format 99, but this version of ems reads 1"),
        (broken(["encoders"], []), "no encoders"),
        (broken(["encoders", 0, "name"], None), "an encoder has no name"),
        (broken(["encoders", 0, "records"], 3), "encoder 1 has no records"),
        (broken(RECORD, 3), "encoder 1, record 1: must be an object, not 3"),
        (broken([*RECORD, "data_digest"], None), "encoder 1, record 1: has no 'data_digest'"),
        (broken([*RECORD, "k"], "four"), "'k' cannot be 'four'"),
        (broken([*RECORD, "columns"], [1]), r"'columns' cannot be \[1\]"),
        (broken([*RECORD, "members"], 3), "'members' cannot be 3"),
        (broken([*RECORD, "members"], {"all": "de"}), "'members' cannot be"),
        (broken([*RECORD, "scores", "de"], 3), "'scores' of de must be an object, not 3"),
        (broken([*RECORD, "scores", "de", "accuracy"], float("nan")), "'scores' of de, accuracy, cannot be nan"),
        (broken([*RECORD, "scores", "de"], {}), "'outcomes' of de, accuracy, have no score"),
        (broken([*RECORD, "means", "all", "languages"], None), "'means' of all does not say"),
        (broken([*RECORD, "outcomes", "de", "accuracy"], {"score": "1x", "of": 1}), "'outcomes' of de, accuracy"),
        (broken([*RECORD, "outcomes", "de", "accuracy"], {"score": "11", "of": "1"}), "'outcomes' of de, accuracy"),
        (broken([*RECORD, "outcomes", "de", "accuracy"], {"score": "11", "of": 10**400}), "'outcomes' of de, accuracy"),
        (broken([*RECORD, "outcomes", "de", "accuracy"], {"score": "11", "of": True}), "'outcomes' of de, accuracy"),
    ],
)
def test_a_file_that_holds_no_results_is_refused(tmp_path, content, message):
    path = tmp_path / "old.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_results(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path / "none.json")


def test_old_outcomes_that_do_not_fit_their_score_are_refused():
    record = record_of({"de": right(9, 10)})
    false = copy.deepcopy(record)
    false["scores"]["de"]["accuracy"] = 0.95
    with pytest.raises(InputError, match=r"old\.json: t, de: accuracy is 0\.95, but its outcomes give 0\.9"):
        compare(results_of([false]), results_of([record]), "old.json")
