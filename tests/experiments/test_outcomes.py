"""What is read from finished runs, worked out by hand."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ems.config import load_config
from ems.data.holdout import hold_out
from ems.data.loader import StepLoader
from ems.data.preparation import prepare_corpus
from ems.data.stream import PairStream
from ems.errors import InputError
from ems.experiments.outcomes import Groups, Outcome, flops_of_a_step, read_outcome, scored_groups
from ems.experiments.variants import Run, Variant
from tests.tiny import ROOT, tiny_config, write_corpus

GROUPS = Groups("en", {"Latin script": ("de",), "other script": ("ja", "ru"), "less data": ("luo",)})
SET = "validation/embedded:grammar"


def finished(folder: Path, records: list[dict[str, Any]]) -> Run:
    path = ROOT / "configs" / "quickstart.yaml"
    config = load_config(path, ["batching.pairs=50", "training.max_steps=4"])
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return Run(Variant("full", path, "", config), 0, folder, 4)


def step(number: int, rate: float) -> dict[str, Any]:
    seconds = {"time/pairs_per_second": rate, "time/train_seconds": 2.0 * number}
    return {"step": number, "train/pairs_seen": 50 * number, **seconds}


def scores(number: int, en_de: float, en_ja: float, de_ja: float) -> dict[str, Any]:
    pairs = {"en-de": en_de, "ja-en": en_ja, "de-ja": de_ja}
    return {"step": number, SET: 0.9, **{f"{SET}/{pair}": value for pair, value in pairs.items()}}


def test_an_outcome_is_that_of_the_last_step_with_the_hub_apart(tmp_path: Path) -> None:
    run = finished(
        tmp_path / "run",
        [step(1, 10), step(2, 25), scores(2, 0.2, 0.4, 0.05), step(3, 25), step(4, 100), scores(4, 0.5, 0.7, 0.1)],
    )
    outcome = read_outcome(run, GROUPS)
    assert outcome.by_language == {"de": 0.5, "ja": 0.7}
    assert outcome.trained == pytest.approx(0.6)
    assert outcome.unseen == pytest.approx(0.1)
    assert outcome.step_seconds == pytest.approx(50 / 25)  # the median rate
    assert outcome.curve == ((100, 4.0, pytest.approx(0.3)), (200, 8.0, pytest.approx(0.6)))
    assert outcome.group(("de", "ja")) == pytest.approx(0.6)


def test_where_pairs_are_dealt_by_length_the_mean_of_a_window_is_the_time_of_a_step(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", [*(step(i, 10 if i == 4 else 50) for i in (1, 2, 3, 4)), scores(4, 0.5, 0.7, 0.1)])
    batching = run.variant.config.batching.model_copy(update={"length_window": 4})
    dealt = replace(run.variant, config=run.variant.config.model_copy(update={"batching": batching}))
    assert read_outcome(run, GROUPS).step_seconds == pytest.approx(1)
    assert read_outcome(replace(run, variant=dealt), GROUPS).step_seconds == pytest.approx((1 + 1 + 1 + 5) / 4)


def test_a_run_without_scores_of_its_last_step_is_named(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", [step(1, 10), scores(1, 0.2, 0.4, 0.05), step(4, 10)])
    with pytest.raises(InputError, match="run holds no scores of step 4; delete it"):
        read_outcome(run, GROUPS)


def test_a_run_that_was_not_scored_with_the_hub_is_named(tmp_path: Path) -> None:
    run = finished(
        tmp_path / "run", [*(step(number, 10) for number in (1, 2, 3, 4)), {"step": 4, SET: 0.3, f"{SET}/de-ja": 0.3}]
    )
    with pytest.raises(InputError, match="'embedded:grammar' has no language pair with 'en'"):
        read_outcome(run, GROUPS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [*lines[:2], "{}", *lines[2:]],
        lambda lines: [*lines[:2], "garbage", *lines[2:]],
        lambda lines: lines[1:],
        lambda lines: [line.replace("0.7", '"0.7"') for line in lines],
        lambda lines: [line.replace("0.7", "null") for line in lines],
        lambda lines: [line.replace("pairs_per_second", "speed") for line in lines],
    ],
    ids=["no record", "no JSON", "a step is missing", "a string", "null", "no times"],
)
def test_damaged_records_are_named(tmp_path: Path, damage: Callable[[list[str]], list[str]]) -> None:
    run = finished(tmp_path / "run", [*(step(number, 25) for number in (1, 2, 3, 4)), scores(4, 0.5, 0.7, 0.1)])
    path = run.folder / "metrics.jsonl"
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl(, line 3: | is damaged)"):
        read_outcome(run, GROUPS)


def test_languages_without_a_score_are_left_out_of_the_groups_and_named(caplog: pytest.LogCaptureFixture) -> None:
    def outcome(*codes: str) -> Outcome:
        return Outcome(0.5, None, dict.fromkeys(codes, 0.5), 1.0, ())

    with caplog.at_level(logging.WARNING):
        groups = scored_groups(GROUPS, [{"full": [outcome("de", "ja", "ru")], "light": [outcome("de", "ru")]}])
    assert groups == Groups("en", {"Latin script": ("de",), "other script": ("ru",)})
    assert "['ja', 'luo']" in caplog.text


@pytest.mark.parametrize("window", [1, 4])
def test_among_the_tokens_of_the_step_only_their_rows_of_the_output_matrix_count(tmp_path: Path, window: int) -> None:
    write_corpus(tmp_path / "text")
    dealt = f"batching.length_window={window}"
    config = tiny_config(tmp_path, "objective.vocabulary=step", dealt)
    corpus = prepare_corpus(config)
    holdout = hold_out(corpus.shards, pairs_per_language_pair=10, seed=0)
    stream = PairStream(holdout.counts, pairs=16, sampling_temperature=1.0, seed=0)
    steps = itertools.islice(
        StepLoader(corpus.shards, holdout, stream, config), window
    )  # a whole window of them counts
    ids = [torch.cat([batch.sentences.input_ids for batch in step.batches]) for step in steps]
    seen, all_rows = sum(len(of_step.unique()) for of_step in ids) / window, corpus.tokenizer.vocab_size
    assert seen < all_rows
    few, all_ = (
        flops_of_a_step(tiny_config(tmp_path, f"objective.vocabulary={kind}", dealt), corpus, 1)
        for kind in ("step", "all")
    )
    width = config.model.language_size + config.model.hidden_size
    assert all_ - few == pytest.approx(3 * 2 * 16 * 2 * width * (all_rows - seen), rel=1e-12)
