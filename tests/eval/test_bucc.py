"""BUCC: its two thresholds, its duplicates, and what is missing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ems.errors import InputError
from ems.eval.benchmarks import bucc
from ems.eval.benchmarks.bucc import evaluate_bucc, extract_test_pairs, find_folder
from ems.eval.bitext import bucc_candidates, scan_threshold, score_at_threshold
from ems.eval.bucc_files import read_sentences
from ems.eval.intervals import intervals
from ems.eval.record import outcome_arrays
from tests.eval.bucc_corpora import SCANS_BY_HAND, name, write_noisy, write_split
from tests.eval.noisy_encoder import NoisyEncoder

# Scores


def canned(monkeypatch, by_size):
    """Make mining find 'a1:1.3 b2:1.2': source a is de-000000001, 1 is en-000000001; by number of source sentences."""

    def mine(encoder, corpus, **_):
        pairs = (entry.split(":") for entry in by_size[len(corpus.source_ids)].split())
        return [(float(score), name("de", ord(pair[0]) - 96), name("en", int(pair[1:]))) for pair, score in pairs]

    monkeypatch.setattr(bucc, "mine_corpus", mine)


def write_numbers(folder, split, n, gold, m=10):
    write_split(folder, split, [f"de {i}" for i in range(n)], [f"en {i}" for i in range(m)], gold)


def gold_pairs(pairs):
    return [(ord(pair[0]) - 96, int(pair[1:])) for pair in pairs.split()]


@pytest.mark.parametrize(("candidates", "gold", "threshold", "precision", "recall", "f1"), SCANS_BY_HAND)
def test_the_scan_worked_by_hand_stands_in_the_record(
    tmp_path, monkeypatch, candidates, gold, threshold, precision, recall, f1
):
    write_numbers(tmp_path, "training", 8, gold_pairs(gold))
    canned(monkeypatch, {8: candidates})
    (record,) = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    row = record["scores"]["de"]
    assert [row[column] for column in ("threshold", *record["columns"])] == pytest.approx(
        [threshold, precision, recall, f1]
    )
    assert record["columns"] == ["precision", "recall", "f1"]
    assert not row["at_last_candidate"]
    score, of = outcome_arrays(record["outcomes"]["de"]["f1"])
    assert score.sum() / of.sum() == pytest.approx(f1)
    assert len(score) == row["n"] == 8


def test_outcomes_of_f1_by_hand(tmp_path, monkeypatch):
    # Taken down to 0.95: a1 b2 c3 e5 right, d9 wrong; g7 missed.
    write_numbers(tmp_path, "training", 8, gold_pairs("a1 b2 c3 e5 g7"))
    canned(monkeypatch, {8: "a1:1.3 b2:1.2 c3:1.1 d9:1.05 e5:1.0 f8:0.9"})
    (record,) = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    assert record["outcomes"]["de"] == {"f1": {"score": "22202000", "of": "22212010"}}
    row = record["scores"]["de"]
    assert (row["gold"], row["candidates"], row["taken"], row["correct"], row["english"]) == (5, 6, 5, 4, 10)


def test_the_threshold_of_the_sample_is_applied_unchanged_to_training(tmp_path, monkeypatch):
    write_numbers(tmp_path, "training", 8, gold_pairs("a1 b2 c3"))
    write_numbers(tmp_path, "sample", 5, gold_pairs("a1 b2"))
    # The sample wants 1.15, half-way between 1.2 and 1.1; training by itself would want 0.85.
    canned(monkeypatch, {8: "a1:1.3 b2:1.1 c3:0.9 d4:0.8", 5: "a1:1.3 b2:1.2 c3:1.1"})
    xtreme, laser = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    assert (xtreme["task"], laser["task"]) == ("bucc-xtreme", "bucc-laser-train")
    assert xtreme["scores"]["de"]["threshold"] == pytest.approx(1.15)
    assert [xtreme["scores"]["de"][column] for column in xtreme["columns"]] == pytest.approx([1, 1 / 3, 0.5])
    assert laser["scores"]["de"]["threshold"] == pytest.approx(0.85)
    assert laser["scores"]["de"]["f1"] == 1
    assert xtreme["outcomes"]["de"]["f1"] == {"score": "20000000", "of": "21100000"}
    assert xtreme["split"] == laser["split"] == "training"
    assert xtreme["data_digest"] != laser["data_digest"]


def test_a_scan_that_is_best_at_its_last_candidate_says_so_where_its_threshold_is_used(tmp_path, monkeypatch):
    write_numbers(tmp_path, "training", 8, gold_pairs("a1"))
    write_numbers(tmp_path, "sample", 5, gold_pairs("a1 b2"))
    canned(monkeypatch, {8: "a1:1.3 b2:1.1", 5: "a1:1.3 b2:1.2"})
    xtreme, laser = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    assert xtreme["scores"]["de"]["at_last_candidate"] is True
    assert xtreme["scores"]["de"]["threshold"] == 1.2
    assert laser["scores"]["de"]["at_last_candidate"] is False


def test_the_test_split_is_scored_at_the_training_threshold_if_it_has_gold(tmp_path, monkeypatch):
    write_numbers(tmp_path, "training", 8, gold_pairs("a1 b2 c3"))
    write_numbers(tmp_path, "test", 6, gold_pairs("a1 f6"))
    canned(monkeypatch, {8: "a1:1.3 b2:1.1 c3:0.9 d4:0.8", 6: "a1:1.0 b2:0.9 f6:0.8"})
    laser, test = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    assert (test["task"], test["split"]) == ("bucc-test", "test")
    assert [test["scores"]["de"][name] for name in ("threshold", "precision", "recall")] == pytest.approx(
        [laser["scores"]["de"]["threshold"], 0.5, 0.5]
    )


def test_outcomes_are_left_out_where_one_sentence_has_too_many_pairs(tmp_path, monkeypatch):
    write_numbers(tmp_path, "training", 8, [(1, j) for j in range(1, 11)], m=10)
    canned(monkeypatch, {8: "b2:1.3"})  # ten pairs of one sentence are missed
    (record,) = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    assert record["outcomes"] == {"de": {}}
    canned(monkeypatch, {8: "a1:1.3 b2:1.2"})  # 2 + 9
    (record,) = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    assert record["outcomes"] == {"de": {}}
    assert record["scores"]["de"]["f1"] == pytest.approx(2 / 11)


class AxisEncoder:
    """Every word is an axis of its own; translations share one."""

    words = (("eins", "one"), ("zwei", "two"), ("drei", "three"), ("vier", "four"))

    def encode(self, sentences):
        axes = {word: axis for axis, pair in enumerate(self.words) for word in pair}
        return np.eye(4)[[axes[sentence.strip()] for sentence in sentences]]


def test_duplicates_cost_recall(tmp_path):
    # "zwei" twice is mined once and has no id; so has "vier", which is there in two spellings that strip to one.
    sources = ["eins", "zwei", "drei", "zwei", "vier ", "vier"]
    write_split(tmp_path, "training", sources, ["one", "two", "three", "four"], [(1, 1), (2, 2), (3, 3), (5, 4)])
    (record,) = evaluate_bucc(AxisEncoder(), tmp_path, languages=["de"], margin="absolute")
    row = record["scores"]["de"]
    assert (row["candidates"], row["taken"], row["correct"], row["gold"]) == (2, 2, 2, 4)
    assert (row["precision"], row["recall"], row["f1"]) == (1, 0.5, pytest.approx(2 / 3))
    assert record["outcomes"]["de"]["f1"] == {"score": "202000", "of": "212010"}
    assert (record["margin"], record["k"]) == ("absolute", 4)


def test_a_record_equals_mining_and_scanning_by_hand(tmp_path):
    write_noisy(tmp_path / "bucc2018" / "de-en")
    encoder = NoisyEncoder()
    xtreme, laser = evaluate_bucc(encoder, tmp_path, languages=["de"])
    candidates, gold = {}, {}
    for split, n in (("training", 40), ("sample", 30)):
        foreign, english = (
            read_sentences(tmp_path / "bucc2018" / "de-en" / f"de-en.{split}.{side}", side) for side in ("de", "en")
        )
        candidates[split] = bucc_candidates(
            encoder.encode(foreign[1]),
            encoder.encode(english[1]),
            source_ids=foreign[0],
            source_sentences=foreign[1],
            target_ids=english[0],
            target_sentences=english[1],
        )
        gold[split] = {(name("de", i), name("en", i)) for i in range(1, n // 2 + 1)}
    expected = scan_threshold(candidates["training"], gold["training"])
    assert laser["scores"]["de"]["f1"] == expected.f1
    assert 0.3 < expected.f1 < 1
    threshold = scan_threshold(candidates["sample"], gold["sample"]).threshold
    assert xtreme["scores"]["de"]["f1"] == score_at_threshold(candidates["training"], gold["training"], threshold).f1
    assert xtreme["means"]["chosen"]["f1"] == xtreme["scores"]["de"]["f1"]
    assert json.loads(json.dumps(xtreme)) == xtreme
    low, high = intervals(xtreme).scores["de"]["f1"]
    assert low < xtreme["scores"]["de"]["f1"] < high


def test_each_distinct_line_is_encoded_once(tmp_path):
    sources = ["de 1", "de 2", "de 1", "de 1 "]
    write_split(tmp_path, "training", [f"{s}" if not s.endswith(" ") else " de 1" for s in sources], ["en 1"], [(2, 1)])
    encoder = NoisyEncoder()
    evaluate_bucc(encoder, tmp_path, languages=["de"])
    assert encoder.seen == [["de 1", "de 2", " de 1"], ["en 1"]]


# Folders, languages, what is missing


@pytest.mark.parametrize("layout", ["bucc2018/de-en", "bucc/de-en", "de-en", "", "bucc2018"])
def test_layouts_are_found(tmp_path, layout):
    write_noisy(tmp_path / layout)
    assert find_folder(tmp_path) is not None
    assert [record["task"] for record in evaluate_bucc(NoisyEncoder(), tmp_path)] == ["bucc-xtreme", "bucc-laser-train"]


def test_no_files_names_what_was_looked_for(tmp_path):
    (tmp_path / "bucc2018").mkdir()
    assert find_folder(tmp_path) is None
    for function in (lambda: evaluate_bucc(NoisyEncoder(), tmp_path), lambda: extract_test_pairs(None, tmp_path, "x")):
        with pytest.raises(InputError, match=r"no BUCC files here, in bucc2018/ or in bucc/ \(de-en/de-en\.training"):
            function()


def test_only_training_gives_only_the_second_protocol(tmp_path):
    write_noisy(tmp_path, sizes=[("training", 40)])
    (record,) = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    assert (record["task"], record["skipped"]) == ("bucc-laser-train", [])
    with pytest.raises(InputError, match=r"de-en\.sample\.de is missing"):
        evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"], strict=True)


def test_a_missing_file_is_named_in_the_records_it_affects(tmp_path):
    write_noisy(tmp_path / "bucc")
    write_noisy(tmp_path / "bucc", "fr", sizes=[("training", 40)])
    write_noisy(tmp_path / "bucc", "ru", gold_file=False)
    xtreme, laser = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de", "fra", "ru", "fi", "en"])
    assert (list(xtreme["scores"]), list(laser["scores"])) == (["de"], ["de", "fr"])
    no_fi, no_gold = {"language": "fi", "reason": "not in BUCC"}, "ru-en.training.gold missing"
    assert laser["skipped"] == [no_fi, {"language": "ru", "reason": no_gold}]
    assert xtreme["skipped"] == [
        no_fi,
        {"language": "fr", "reason": "fr-en.sample.fr and fr-en.sample.en and fr-en.sample.gold missing"},
        {"language": "ru", "reason": f"ru-en.sample.gold missing; {no_gold}"},
    ]
    assert (xtreme["means"]["chosen"]["languages"], xtreme["means"]["chosen"]["of"]) == (1, 3)
    assert laser["means"]["chosen"]["f1"] == np.mean([laser["scores"][language]["f1"] for language in ("de", "fr")])
    assert laser["n"] == 60


def test_all_four_languages_are_the_set_that_tables_show(tmp_path):
    for language in ("de", "fr", "ru", "zh"):
        write_noisy(tmp_path / f"{language}-en", language)
    xtreme, _ = evaluate_bucc(NoisyEncoder(), tmp_path, strict=True)
    assert xtreme["language_set"] == "bucc4"
    assert xtreme["means"]["bucc4"]["languages"] == 4


def test_languages_that_cannot_be_scored_are_refused(tmp_path):
    write_noisy(tmp_path)
    with pytest.raises(InputError, match="unknown language 'xx'"):
        evaluate_bucc(NoisyEncoder(), tmp_path, languages=["xx"])
    with pytest.raises(InputError, match=r"no language to score: fi \(not in BUCC\)"):
        evaluate_bucc(NoisyEncoder(), tmp_path, languages=["fi"])
    with pytest.raises(ValueError, match="unknown margin 'ration'; did you mean 'ratio'"):
        evaluate_bucc(NoisyEncoder(), tmp_path, margin="ration")


def test_every_file_is_checked_before_anything_is_encoded(tmp_path):
    write_noisy(tmp_path)
    write_noisy(tmp_path, "zh")
    (tmp_path / "zh-en.sample.gold").write_text("en-000000001\tzh-000000001\n")
    encoder = NoisyEncoder()
    with pytest.raises(InputError, match=r"zh-en\.sample\.gold, line 1: columns are swapped"):
        evaluate_bucc(encoder, tmp_path)
    assert encoder.seen == []


def test_the_digest_changes_with_the_gold_pairs_only_of_the_splits_used(tmp_path):
    write_noisy(tmp_path)
    before = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    (tmp_path / "de-en.sample.gold").write_text(f"{name('de', 1)}\t{name('en', 1)}\n")
    after = evaluate_bucc(NoisyEncoder(), tmp_path, languages=["de"])
    assert [a["data_digest"] == b["data_digest"] for a, b in zip(before, after, strict=True)] == [False, True]


# Test pairs


def test_test_pairs_are_written_at_the_training_threshold(tmp_path, monkeypatch):
    write_numbers(tmp_path, "training", 8, gold_pairs("a1 b2 c3"))
    write_numbers(tmp_path, "test", 6, None)
    canned(monkeypatch, {8: "a1:1.3 b2:1.1 c3:0.9 d4:0.8", 6: "f6:1.0 b2:0.86 a1:0.84"})  # the threshold is 0.85
    written = extract_test_pairs(NoisyEncoder(), tmp_path, tmp_path / "new" / "out")
    assert list(written) == ["de"]
    expected = f"{name('de', 6)}\t{name('en', 6)}\n{name('de', 2)}\t{name('en', 2)}\n"
    assert written["de"].read_bytes().decode() == expected
    assert [path.name for path in (tmp_path / "new" / "out").iterdir()] == ["de-en.test.tsv"]


def test_test_pairs_need_the_test_sentences(tmp_path):
    write_numbers(tmp_path, "training", 8, gold_pairs("a1"))
    with pytest.raises(InputError, match=r"no language to score: de \(de-en\.test\.de and de-en\.test\.en missing\)"):
        extract_test_pairs(NoisyEncoder(), tmp_path, tmp_path / "out", languages=["de"])
    with pytest.raises(InputError, match=r"de-en\.test\.de is missing"):
        extract_test_pairs(NoisyEncoder(), tmp_path, tmp_path / "out", languages=["de"], strict=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.data
def test_scores_and_pairs_equal_the_field_s_program(tmp_path, golden_folder):
    arrays = np.load(golden_folder / "eval" / "mining_clean.npz")
    reference = json.loads((golden_folder / "eval" / "mining_clean.json").read_text("utf-8"))
    vectors = dict(zip(reference["src_text"] + reference["tgt_text"], [*arrays["src"], *arrays["tgt"]], strict=True))

    class Lookup:
        def encode(self, sentences):
            return np.array([vectors[sentence] for sentence in sentences])

    gold = [tuple(int(entry[3:]) for entry in line.split("\t")) for line in reference["gold"]]
    for split in ("training", "sample", "test"):
        write_split(tmp_path, split, reference["src_text"], reference["tgt_text"], gold, language="fr")
    records = evaluate_bucc(Lookup(), tmp_path, languages=["fr"])
    expected = reference["bucc"]["ratio/max"]
    for record in records:  # all splits are one text here
        row = record["scores"]["fr"]
        assert row["threshold"] == pytest.approx(expected["threshold"], abs=2e-6)
        for score in record["columns"]:
            assert 100 * row[score] == pytest.approx(expected[score], abs=1e-9)
    written = extract_test_pairs(Lookup(), tmp_path, tmp_path / "out", languages=["fr"])["fr"].read_text()
    assert sorted(written.splitlines()) == sorted(expected["extracted"])
