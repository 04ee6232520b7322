"""Bootstrap intervals: their ends, what they rest on, and how often they hold the truth."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from ems.eval.intervals import differences, intervals, members, percentile_interval, resample
from ems.eval.record import make_record, outcome


def record_of(outcomes, *, columns=("accuracy",), digest="0", **details):
    scores = {
        language: {
            column: np.sum(score) / (np.sum(of) if np.ndim(of) else of * len(score))
            for column, (score, of) in row.items()
        }
        for language, row in outcomes.items()
    }
    return make_record(
        "t", "p", split="test", direction="both", language_set="all", n=1, data_digest=digest, columns=columns,
        scores=scores,
        outcomes={lang: {column: outcome(*parts) for column, parts in row.items()} for lang, row in outcomes.items()},
        **details,
    )  # fmt: skip


def coin(random, rows, chance):
    return (random.random(rows) < chance).astype(int)


def test_a_score_has_the_interval_of_a_slow_loop_over_drawn_rows():
    random = np.random.default_rng(1)
    score, of = random.integers(0, 4, 90), random.integers(3, 7, 90)
    record = record_of({"de": {"accuracy": (score, of)}})
    drawn = [random.integers(0, 90, 90) for _ in range(4000)]
    loop = [score[rows].sum() / of[rows].sum() for rows in drawn]
    low, high = intervals(record, num_resamples=4000).scores["de"]["accuracy"]
    # Both are 4000 draws from one distribution: its 2.5 % points are known to about 3 % of a standard deviation.
    assert [low, high] == pytest.approx(np.quantile(loop, [0.025, 0.975]), abs=0.15 * np.std(loop))


def test_the_interval_of_many_rows_is_the_normal_one():
    rows, right = 1000, 700
    low, high = intervals(record_of({"de": {"accuracy": (np.arange(rows) < right, 1)}})).scores["de"]["accuracy"]
    half = NormalDist().inv_cdf(0.975) * math.sqrt(0.7 * 0.3 / rows)
    assert [low, high] == pytest.approx([0.7 - half, 0.7 + half], abs=0.1 * half)


def test_the_interval_holds_the_true_chance_in_about_95_of_100_samples():
    random = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        low, high = intervals(record_of({"de": {"accuracy": (coin(random, 300, 0.6), 1)}}), num_resamples=400).scores[
            "de"
        ]["accuracy"]
        held += low <= 0.6 <= high
    # Binomial: 380 +- 4.4; four deviations.
    assert 380 - 18 <= held <= 380 + 18


def test_languages_with_rows_of_their_own_are_drawn_independently():
    random = np.random.default_rng(3)
    same = coin(random, 400, 0.5)
    languages = {f"l{i}": {"accuracy": (same, 1)} for i in range(4)}
    (alone,) = resample([record_of(languages)])
    (together,) = resample([record_of(languages, parallel_rows=True)])
    one = np.std(alone.scores["l0"]["accuracy"])
    # The mean of four independent scores varies half as much as one; of four equal ones exactly as much.
    assert np.std(alone.means["all"]["accuracy"]) == pytest.approx(one / 2, rel=0.1)
    assert np.std(together.means["all"]["accuracy"]) == pytest.approx(one, rel=0.1)
    assert np.array_equal(together.scores["l0"]["accuracy"], together.scores["l3"]["accuracy"])


def test_parallel_languages_have_the_mean_of_a_slow_loop_that_draws_sentences():
    random = np.random.default_rng(4)
    hard = random.random(200)
    rows = {f"l{i}": (random.random(200) > hard).astype(int) for i in range(5)}
    table = np.array(list(rows.values()))
    loop = [table[:, random.integers(0, 200, 200)].mean() for _ in range(4000)]
    record = record_of({name: {"accuracy": (row, 1)} for name, row in rows.items()}, parallel_rows=True)
    low, high = intervals(record, num_resamples=4000).means["all"]["accuracy"]
    assert [low, high] == pytest.approx(np.quantile(loop, [0.025, 0.975]), abs=0.15 * np.std(loop))


def test_languages_of_unequal_length_are_never_drawn_together():
    outcomes = {"de": {"accuracy": ([1, 0] * 50, 1)}, "fr": {"accuracy": ([1, 0] * 60, 1)}}
    (said,), (unsaid,) = resample([record_of(outcomes, parallel_rows=True)]), resample([record_of(outcomes)])
    for language in outcomes:
        assert np.array_equal(said.scores[language]["accuracy"], unsaid.scores[language]["accuracy"])


def test_blocks_of_resamples_change_nothing_of_the_distribution(monkeypatch):
    record = record_of({"de": {"accuracy": ([1, 0, 1, 1] * 30, 1)}})
    whole = intervals(record, num_resamples=1000)
    monkeypatch.setattr("ems.eval.intervals._BLOCK", 14)  # seven resamples of two distinct rows at a time
    assert intervals(record, num_resamples=1000) == whole


def test_intervals_are_the_same_every_time_and_whichever_languages_stand_beside():
    random = np.random.default_rng(5)
    de, fr = coin(random, 200, 0.7), coin(random, 200, 0.4)
    both = record_of({"de": {"accuracy": (de, 1)}, "fr": {"accuracy": (fr, 1)}})
    assert intervals(both) == intervals(both)
    assert intervals(both, seed=1) != intervals(both)
    alone = record_of({"fr": {"accuracy": (fr, 1)}})
    assert intervals(alone).scores["fr"] == intervals(both).scores["fr"]


def test_an_encoder_differs_from_itself_by_nothing():
    record = record_of({"de": {"accuracy": ([1, 0, 1, 1] * 30, 1)}})
    found = differences(record, record)
    assert found.scores["de"]["accuracy"] == (0, 0, 0, 0)
    assert found.means["all"]["accuracy"] == (0, 0, 0, 0)


def test_pairing_takes_out_what_is_hard_for_both():
    random = np.random.default_rng(6)
    old = coin(random, 500, 0.5)
    new = np.where(random.random(500) < 0.04, 1 - old, old)  # almost the same rows are right
    records = [record_of({"de": {"accuracy": (score, 1)}}) for score in (old, new)]
    found = differences(*records).scores["de"]["accuracy"]
    assert found.value == pytest.approx(new.mean() - old.mean())
    deviation = math.sqrt(np.var(new - old) / 500)
    assert found.deviation == pytest.approx(deviation, rel=0.1)
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.15)
    unpaired = math.sqrt(np.var(new) / 500 + np.var(old) / 500)
    assert deviation < unpaired / 3


def test_a_paired_interval_holds_the_true_difference_in_about_95_of_100_samples():
    random = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        old = coin(random, 250, 0.5)
        new = np.maximum(old, coin(random, 250, 0.2))  # true gain: 0.5 * 0.2
        records = [record_of({"de": {"accuracy": (score, 1)}}) for score in (old, new)]
        found = differences(*records, num_resamples=400).means["all"]["accuracy"]
        held += found.low <= 0.1 <= found.high
    # 285 +- 3.8; four deviations, and one more below for the skew of a percentile interval.
    assert 285 - 19 <= held <= 285 + 15


def test_ratios_are_of_sums_and_nothing_over_nothing_is_nothing():
    record = record_of({"de": {"accuracy": ([1, 0], [1, 0])}})
    (result,) = resample([record])
    # Either row may be drawn twice; the second alone has nothing to divide by.
    assert set(np.unique(result.scores["de"]["accuracy"])) == {0.0, 1.0}


def test_columns_without_outcomes_have_no_interval():
    record = record_of({"de": {"accuracy": ([1, 0], 1)}}, columns=("accuracy",))
    record["columns"].append("macro_f1")
    record["scores"]["de"]["macro_f1"] = record["means"]["all"]["macro_f1"] = 0.3
    found = intervals(record)
    assert set(found.scores["de"]) == set(found.means["all"]) == {"accuracy"}
    record["outcomes"] = {}
    assert intervals(record).scores == intervals(record).means == {}


def test_a_mean_needs_all_its_languages_and_must_be_plain():
    outcomes = {"de": {"accuracy": ([1, 0], 1)}, "fr": {"accuracy": ([1, 1], 1)}}
    record = record_of(outcomes)
    record["means"]["few"] = {"languages": 1, "of": 1, "accuracy": 0.5}
    assert members(record, "few") is None
    assert set(intervals(record).means) == {"all"}
    record["members"] = {"few": ["de"]}
    assert set(intervals(record).means) == {"all", "few"}
    record["means"]["all"]["accuracy"] = 0.6  # some other average
    assert set(intervals(record).means) == {"few"}
    del record["outcomes"]["de"]
    assert intervals(record).means == {}


def test_outcomes_that_do_not_add_up_to_their_score_are_refused():
    record = record_of({"de": {"accuracy": ([1, 0], 1)}})
    record["scores"]["de"]["accuracy"] = 0.7
    with pytest.raises(ValueError, match=r"t, de: accuracy is 0\.7, but its outcomes give 0\.5"):
        intervals(record)


def test_records_of_other_data_are_not_compared():
    one, other = (record_of({"de": {"accuracy": ([1, 0], 1)}}, digest=digest) for digest in "01")
    with pytest.raises(ValueError, match="different data: 0 and 1"):
        differences(one, other)
    longer = record_of({"de": {"accuracy": ([1, 0, 1], 1)}})
    with pytest.raises(ValueError, match="different length"):
        differences(one, longer)


def test_percentiles_cut_off_equal_tails():
    assert percentile_interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))
