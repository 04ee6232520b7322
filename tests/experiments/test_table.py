"""Tables of an experiment: means, deviations, and differences seed by seed."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import cast

import pytest

from ems.config import Config
from ems.experiments.outcomes import Groups, Outcome
from ems.experiments.table import accuracy_table, describe_groups, spread
from ems.experiments.variants import Variant

GROUPS = Groups("en", {"Latin script": ("de",), "other script": ("ja", "ru")})


def outcome(de: float, ja: float, ru: float, *, unseen: float | None = None, seconds: float = 0.5) -> Outcome:
    scores = {"de": de, "ja": ja, "ru": ru}
    return Outcome(sum(scores.values()) / 3, unseen, scores, seconds, ((100, 1.0, 0.1),))


def variant(name: str, title: str = "") -> Variant:
    return Variant(name, Path(f"{name}.yaml"), title, cast(Config, None))


def test_spread_is_the_deviation_of_a_sample() -> None:
    assert spread([1.0, 2.0, 4.0]) == pytest.approx(statistics.stdev([1, 2, 4]))
    assert spread([1.0]) != spread([1.0])  # NaN


def test_a_table_worked_out_by_hand() -> None:
    outcomes = {
        "less": [outcome(0.2, 0.1, 0.0, seconds=0.25), outcome(0.4, 0.1, 0.1, seconds=0.25)],
        "full": [outcome(0.4, 0.2, 0.3, unseen=0.1), outcome(0.6, 0.2, 0.4, unseen=0.2)],
    }
    variants = {"full": variant("full", "The whole"), "less": variant("less")}
    table = accuracy_table(variants, outcomes, "full", GROUPS, {"full": 300, "less": 1200})
    head, rule, full, less = table.splitlines()
    assert head == ("| variant | steps | all | against full | Latin script | other script | never paired | ms a step |")
    assert rule.count("---") == 8
    # Means of three languages: 30 and 40; the deviation of two values is their distance over the root of two.
    assert full == "| **full**: The whole | 300 | 35.0 ± 7.1 |  | 50.0 ± 14.1 | 27.5 ± 3.5 | 15.0 ± 7.1 | 500 |"
    # 10 and 20 against 30 and 40: less by 20 on both seeds.
    assert less == "| **less** | 1,200 | 15.0 ± 7.1 | −20.0 ± 0.0 | 30.0 ± 14.1 | 7.5 ± 3.5 |  | 250 |"


def test_one_seed_has_no_deviation() -> None:
    table = accuracy_table({"full": variant("full")}, {"full": [outcome(0.3, 0.3, 0.3)]}, "full", GROUPS, {"full": 1})
    assert "±" not in table


def test_groups_are_named() -> None:
    assert describe_groups(GROUPS) == "Latin script: de; other script: ja, ru"
