"""Named sets: found before training or refused, and scored as the metric functions say."""

from __future__ import annotations

import numpy as np
import pytest

import ems
from ems.config import ScoringConfig, ValidationConfig
from ems.data.grammar import held_out
from ems.errors import InputError
from ems.eval.retrieval import retrieval_accuracy
from ems.languages import LANGUAGES
from ems.training.scoring import find_sets, open_sets

SENTENCES = held_out(20)
CODES = ("de", "en", "es")


@pytest.fixture(scope="module")
def encoder(tiny_model):
    return ems.load(tiny_model, device="cpu")


@pytest.fixture
def data(tmp_path):
    for split in ("dev", "devtest"):
        (tmp_path / "flores" / split).mkdir(parents=True)
        for lang in CODES:
            path = tmp_path / "flores" / split / f"{LANGUAGES[lang].flores}.{split}"
            path.write_text("\n".join(SENTENCES[lang]) + "\n", encoding="utf-8")
    (tmp_path / "tatoeba").mkdir()
    for end, lang in (("deu", "de"), ("eng", "en")):
        (tmp_path / "tatoeba" / f"tatoeba.deu-eng.{end}").write_text(
            "\n".join(SENTENCES[lang]) + "\n", encoding="utf-8"
        )
    return tmp_path


def both_ways(encoder, a, b):
    left, right = encoder.encode(SENTENCES[a]), encoder.encode(SENTENCES[b])
    return (retrieval_accuracy(left, right) + retrieval_accuracy(right, left)) / 2


@pytest.mark.parametrize("name", ["flores", "flores-dev"])
def test_flores_ranks_every_language_against_every_other(encoder, data, name):
    score = open_sets(ScoringConfig(sets=[name], folder=str(data)), "evaluation", LANGUAGES, CODES)[name](encoder)
    assert score.candidates == 20
    assert set(score.by_pair) == {"de-en", "de-es", "en-es"}
    assert score.by_pair["de-es"] == pytest.approx(both_ways(encoder, "de", "es"))
    assert score.mean == pytest.approx(np.mean(list(score.by_pair.values())))
    assert set(score.by_direction) == {"de->en", "en->de", "de->es", "es->de", "en->es", "es->en"}


@pytest.mark.parametrize(
    ("metric", "advice"), [("flores-dev", "validation.metric: held_out"), ("held_out", "out of the sets")]
)
def test_a_set_without_files_says_what_to_leave_out_and_what_to_choose_by_then(tmp_path, metric, advice):
    config = ValidationConfig(sets=["flores-dev"], metric=metric, folder=str(tmp_path))
    with pytest.raises(InputError, match=rf"no files of set 'flores-dev' below .*{advice}$"):
        find_sets(config)


def test_tatoeba_scores_what_has_files_and_names_what_has_not(encoder, data, caplog):
    score = open_sets(ScoringConfig(sets=["tatoeba"], folder=str(data)), "evaluation", LANGUAGES, CODES)["tatoeba"](
        encoder
    )
    assert score.by_pair == {"en-de": pytest.approx(both_ways(encoder, "de", "en"))}
    assert "es is left out" in caplog.text


def test_the_grammar_has_other_sentences_for_validation_than_for_evaluation(encoder):
    config = ScoringConfig(sets=["embedded:grammar"])
    scores = [
        open_sets(config, stage, LANGUAGES, CODES)["embedded:grammar"](encoder)
        for stage in ("validation", "evaluation")
    ]
    assert [score.candidates for score in scores] == [1000, 1000]
    assert scores[0].by_pair != scores[1].by_pair


@pytest.mark.parametrize(
    ("name", "languages", "message"),
    [
        ("flores", CODES, "no FLORES files"),
        ("tatoeba", CODES, "no Tatoeba files"),
        ("embedded:grammar", ("sw", "en"), "has no two of this run's languages"),
    ],
)
def test_a_set_that_is_not_there_is_refused_before_training(tmp_path, name, languages, message):
    with pytest.raises(InputError, match=message):
        open_sets(ScoringConfig(sets=[name], folder=str(tmp_path)), "evaluation", LANGUAGES, languages)
