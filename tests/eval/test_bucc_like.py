"""Mining FLORES with translations hidden: which rows are, where the threshold comes from, what a record holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.errors import InputError
from ems.eval.benchmarks.bucc_like import evaluate_bucc_like, find_folder, hide_translations
from ems.eval.intervals import intervals
from ems.eval.record import outcome_arrays
from ems.mining import mine_bitext

CODES = {"en": "eng_Latn", "de": "deu_Latn", "zh": "zho_Hans"}


class NoisyEncoder:
    """A vector for the split and row in a sentence, plus noise that depends on the sentence; counts its calls."""

    def __init__(self, noise=0.5, dimension=10):
        self.noise, self.dimension, self.calls = noise, dimension, 0

    def encode(self, sentences):
        self.calls += 1
        rows = []
        for sentence in sentences:
            _, split, row = sentence.split()
            meaning = np.random.default_rng([*f"{split} {row}".encode()]).standard_normal(self.dimension)
            rows.append(meaning + self.noise * np.random.default_rng([*sentence.encode()]).standard_normal(10))
        return np.array(rows)


def write_splits(folder, codes=CODES, sizes=(("dev", 48), ("devtest", 60))):
    for split, n in sizes:
        (folder / split).mkdir(parents=True, exist_ok=True)
        for code in codes.values():
            lines = "".join(f"{code} {split} {row}\n" for row in range(n))
            (folder / split / f"{code}.{split}").write_text(lines, encoding="utf-8")


# Which rows are hidden


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.sampled_from(["de", "fr", "yue_Hant"]), st.integers(-5, 5), st.floats(0, 1))
def test_every_row_is_gold_or_on_one_side_in_the_stated_numbers(n, language, seed, share):
    hidden = hide_translations(n, language, seed=seed, gold_share=share)
    source, target, gold = set(hidden.source_rows), set(hidden.target_rows), set(hidden.gold())
    assert source | target == set(range(n))
    assert source & target == gold
    assert len(gold) == round(n * share)
    assert len(target - gold) - len(source - gold) in (0, 1)
    for rows in (hidden.source_rows, hidden.target_rows, hidden.gold()):
        assert (np.diff(rows) > 0).all()
        assert rows.dtype == np.int64


def test_the_choice_is_the_same_everywhere():
    assert hide_translations(12, "de").source_rows.tolist() == [1, 4, 5, 6, 7, 10, 11]
    assert hide_translations(12, "de").gold().tolist() == [1, 7, 11]


def test_the_choice_depends_on_language_and_seed_and_on_nothing_else():
    def chosen(language="de", seed=0):
        return hide_translations(1000, language, seed=seed).gold().tolist()

    np.random.default_rng(0)
    assert chosen() == chosen()
    for other in (chosen("fr"), chosen(seed=1)):
        # Independent choices of a quarter share a sixteenth of the rows.
        assert 40 < len(set(chosen()) & set(other)) < 85


def test_rows_are_equally_often_gold():
    gold = np.zeros(20)
    for seed in range(2000):
        gold[hide_translations(20, "de", seed=seed).gold()] += 1
    assert abs(gold / 2000 - 0.25).max() < 0.05  # five standard deviations


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"gold_share must lie between 0 and 1, not 1\.5"):
        hide_translations(10, "de", gold_share=1.5)


# Scores


def slow_scores(language, split, n, threshold=None):
    """F1 as its definition reads, with no candidates but those of `mine_bitext`; and the best threshold if None."""
    hidden = hide_translations(n, language)
    encoder = NoisyEncoder()
    vectors = [encoder.encode([f"{CODES[code]} {split} {row}" for row in range(n)]) for code in (language, "en")]
    scores, i, j = mine_bitext(vectors[0][hidden.source_rows], vectors[1][hidden.target_rows])
    pairs = list(zip(hidden.source_rows[i].tolist(), hidden.target_rows[j].tolist(), strict=True))
    gold = {(row, row) for row in hidden.gold().tolist()}

    def f1(taken):
        return 2 * len(set(taken) & gold) / (len(taken) + len(gold))

    if threshold is None:
        best = max(range(1, len(pairs) + 1), key=lambda taken: f1(pairs[:taken]))
        threshold = (scores[best - 1] + scores[best]) / 2 if best < len(pairs) else scores[-1]
    return f1([pair for pair, score in zip(pairs, scores, strict=True) if score >= threshold]), threshold


def test_the_threshold_of_dev_is_applied_unchanged_to_devtest(tmp_path):
    write_splits(tmp_path)
    (record,) = evaluate_bucc_like(NoisyEncoder(), tmp_path)
    assert record["columns"] == ["precision", "recall", "f1_own_threshold", "f1"]
    assert list(record["scores"]) == ["de", "zh"]
    for language, row in record["scores"].items():
        _, threshold = slow_scores(language, "dev", 48)
        f1, _ = slow_scores(language, "devtest", 60, threshold)
        own_f1, own_threshold = slow_scores(language, "devtest", 60)
        assert (row["threshold"], row["f1"]) == pytest.approx((threshold, f1))
        assert (row["own_threshold"], row["f1_own_threshold"]) == pytest.approx((own_threshold, own_f1))
        assert 0.3 < row["f1"] <= row["f1_own_threshold"] < 1
        assert (row["gold"], row["n"], row["english"]) == (15, 37, 38)
    means = [np.mean([row[column] for row in record["scores"].values()]) for column in record["columns"]]
    assert [record["means"]["ems62"][column] for column in record["columns"]] == pytest.approx(means)


def test_outcomes_are_by_row_of_devtest_and_add_up(tmp_path):
    write_splits(tmp_path)
    (record,) = evaluate_bucc_like(NoisyEncoder(), tmp_path)
    for language, row in record["scores"].items():
        for column in record["columns"]:
            score, of = outcome_arrays(record["outcomes"][language][column])
            assert len(score) == record["n"] == 60
            assert score.sum() / of.sum() == pytest.approx(row[column])
            assert set(np.flatnonzero(of)) <= set(hide_translations(60, language).source_rows)
    assert record["parallel_rows"] is True
    assert json.loads(json.dumps(record)) == record
    low, high = intervals(record).means["ems62"]["f1"]
    assert low < record["means"]["ems62"]["f1"] < high


def test_an_encoder_that_knows_all_translations_finds_all_and_nothing_else(tmp_path):
    write_splits(tmp_path, sizes=(("dev", 300), ("devtest", 300)))
    row = evaluate_bucc_like(NoisyEncoder(0.05), tmp_path, languages=["de"])[0]["scores"]["de"]
    assert min(row["f1"], row["f1_own_threshold"]) > 0.98


def test_a_row_does_not_depend_on_the_other_languages(tmp_path):
    write_splits(tmp_path)
    both, alone = (evaluate_bucc_like(NoisyEncoder(), tmp_path, languages=codes)[0] for codes in (["de", "zh"], ["zh"]))
    assert both["scores"]["zh"] == alone["scores"]["zh"]
    assert both["outcomes"]["zh"] == alone["outcomes"]["zh"]
    assert both["data_digest"] != alone["data_digest"]


def test_another_seed_or_share_is_another_test_set_and_is_named(tmp_path):
    write_splits(tmp_path)
    usual, seeded, shared = (
        evaluate_bucc_like(NoisyEncoder(), tmp_path, languages=["de"], **given)[0]
        for given in ({}, {"seed": 1}, {"gold_share": 0.5})
    )
    assert usual["outcomes"] != seeded["outcomes"]
    assert shared["scores"]["de"]["gold"] == 30
    assert len({record["protocol"] for record in (usual, seeded, shared)}) == 3
    with pytest.raises(ValueError, match=r"with gold_share 0\.001 none of 48 rows of dev is gold"):
        evaluate_bucc_like(NoisyEncoder(), tmp_path, gold_share=0.001)


def test_every_file_is_encoded_once(tmp_path):
    write_splits(tmp_path)
    encoder = NoisyEncoder()
    evaluate_bucc_like(encoder, tmp_path)
    assert encoder.calls == 2 * len(CODES)


# What is missing


def test_both_splits_are_needed(tmp_path):
    write_splits(tmp_path / "flores", sizes=[("devtest", 60)])
    assert find_folder(tmp_path) is None
    with pytest.raises(InputError, match=r"no FLORES files here or in flores/dev/"):
        evaluate_bucc_like(NoisyEncoder(), tmp_path)
    write_splits(tmp_path / "flores", sizes=[("dev", 48)])
    assert find_folder(tmp_path) == tmp_path / "flores" / "devtest"


def test_a_language_without_one_of_its_files_is_skipped_or_refused(tmp_path):
    write_splits(tmp_path)
    (tmp_path / "dev" / "zho_Hans.dev").unlink()
    (record,) = evaluate_bucc_like(NoisyEncoder(), tmp_path, languages=["de", "zh", "fr"])
    assert record["skipped"] == [
        {"language": "zh", "reason": "zho_Hans.dev is missing"},
        {"language": "fr", "reason": "fra_Latn.dev is missing; fra_Latn.devtest is missing"},
    ]
    assert list(record["scores"]) == ["de"]
    with pytest.raises(InputError, match=r"zho_Hans\.dev"):
        evaluate_bucc_like(NoisyEncoder(), tmp_path, languages=["zh"], strict=True)
    with pytest.raises(InputError, match="no language to score: zh"):
        evaluate_bucc_like(NoisyEncoder(), tmp_path, languages=["zh"])


class CharacterEncoder:
    """Three letters in a row, hashed and counted: what related languages share is names and words."""

    def encode(self, sentences):
        from sklearn.feature_extraction.text import HashingVectorizer

        return HashingVectorizer(analyzer="char_wb", ngram_range=(3, 3), n_features=1024).transform(sentences).toarray()


@pytest.mark.data
@pytest.mark.slow
def test_shared_letters_mine_related_languages_and_not_others(data_folder):
    (record,) = evaluate_bucc_like(CharacterEncoder(), data_folder / "eval", languages=["fr", "ja"], strict=True)
    scores = {language: row["f1"] for language, row in record["scores"].items()}
    assert record["scores"]["fr"]["gold"] == 253
    assert scores["fr"] > 2 * scores["ja"]
    assert all(row["f1"] <= row["f1_own_threshold"] for row in record["scores"].values())
