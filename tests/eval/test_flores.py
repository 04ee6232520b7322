"""FLORES: released layouts, both directions, xsim, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from ems.errors import InputError
from ems.eval.benchmarks.flores import evaluate_flores
from ems.eval.retrieval import retrieval_accuracy, xsim_error_rate
from ems.languages import LANGUAGES

CODES = {"en": "eng_Latn", "de": "deu_Latn", "zh": "zho_Hans", "ku": "kmr_Latn"}


class NoisyEncoder:
    """A vector for each row number in a sentence, plus noise that depends on the sentence. Counts its calls."""

    def __init__(self, noise=0.9, dimension=12):
        self.noise, self.dimension, self.calls = noise, dimension, 0

    def encode(self, sentences):
        self.calls += 1
        rows = []
        for sentence in sentences:
            language, row = sentence.rsplit(" ", 1)
            meaning = np.random.default_rng(int(row)).standard_normal(self.dimension)
            own = np.random.default_rng([int(row), *language.encode()]).standard_normal(self.dimension)
            rows.append(meaning + self.noise * own)
        return np.array(rows)


def write_split(folder, split="devtest", codes=CODES, n=30):
    folder.mkdir(parents=True, exist_ok=True)
    for code in codes.values():
        lines = "".join(f"{code} {row}\n" for row in range(n))
        (folder / f"{code}.{split}").write_text(lines, encoding="utf-8")


def embeddings(language, n=30):
    return NoisyEncoder().encode([f"{CODES[language]} {row}" for row in range(n)])


def test_p_at_1_and_xsim_equal_the_metrics_of_each_direction(tmp_path):
    write_split(tmp_path / "flores" / "devtest")
    nearest, xsim = evaluate_flores(NoisyEncoder(), tmp_path)
    assert list(nearest["scores"]) == ["de", "ku", "zh"]
    for language, scores in nearest["scores"].items():
        forward = retrieval_accuracy(embeddings(language), embeddings("en"))
        backward = retrieval_accuracy(embeddings("en"), embeddings(language))
        assert scores == {"x->en": forward, "en->x": backward, "mean": (forward + backward) / 2}
        assert xsim["scores"][language]["x->en"] == xsim_error_rate(embeddings(language), embeddings("en"))
        assert xsim["scores"][language]["errors"] == round(30 * xsim["scores"][language]["x->en"])
    assert 0 < nearest["means"]["ems62"]["mean"] < 1
    means = [np.mean([row[column] for row in nearest["scores"].values()]) for column in ("x->en", "en->x")]
    assert [nearest["means"]["ems62"][column] for column in ("x->en", "en->x")] == pytest.approx(means)
    assert nearest["means"]["ems62"]["languages"] == 3
    assert nearest["means"]["ems62"]["of"] == 61


@pytest.mark.parametrize("margin", ["ratio", "distance", "absolute"])
def test_xsim_takes_any_margin_and_says_which(tmp_path, margin):
    write_split(tmp_path / "devtest")
    _, xsim = evaluate_flores(NoisyEncoder(), tmp_path, languages=["de"], margin=margin)
    assert xsim["scores"]["de"]["x->en"] == xsim_error_rate(embeddings("de"), embeddings("en"), margin=margin)
    assert (xsim["margin"], xsim["k"], xsim["higher_is_better"]) == (margin, 4, False)
    assert margin in xsim["protocol"]


def test_xsim_in_text_mode_forgives_duplicates(tmp_path):
    write_split(tmp_path / "devtest", n=6)
    for code in ("eng_Latn", "deu_Latn"):
        (tmp_path / "devtest" / f"{code}.devtest").write_text("".join(f"x {row // 2}\n" for row in range(6)))
    text = evaluate_flores(NoisyEncoder(), tmp_path, languages=["de"])[1]
    index = evaluate_flores(NoisyEncoder(), tmp_path, languages=["de"], text_mode=False)[1]
    assert (text["scores"]["de"]["errors"], index["scores"]["de"]["errors"]) == (0, 3)
    assert "text mode" in text["protocol"]
    assert "index mode" in index["protocol"]


def test_all_pairs_equal_the_accuracy_of_each_direction(tmp_path):
    write_split(tmp_path / "devtest")
    record = evaluate_flores(NoisyEncoder(), tmp_path, all_pairs=True)[2]
    everything = []
    for source in CODES:
        for target in set(CODES) - {source}:
            expected = retrieval_accuracy(embeddings(source), embeddings(target))
            assert record["matrix"][source][target] == expected
            everything.append(expected)
    assert record["direction"] == "all pairs"
    mean = record["means"]["ems62"]
    assert mean["to others"] == pytest.approx(np.mean(everything))
    assert mean["from others"] == pytest.approx(np.mean(everything))
    to_german = [record["matrix"][other]["de"] for other in ("en", "zh", "ku")]
    assert record["scores"]["de"]["from others"] == pytest.approx(np.mean(to_german))


def test_every_language_is_encoded_once(tmp_path):
    write_split(tmp_path / "devtest")
    encoder = NoisyEncoder()
    evaluate_flores(encoder, tmp_path, all_pairs=True)
    assert encoder.calls == len(CODES)


@pytest.mark.parametrize("layout", ["", "devtest", "flores/devtest", "flores200_dataset/devtest", "flores200/devtest"])
def test_released_layouts_are_found(tmp_path, layout):
    write_split(tmp_path / layout)
    assert evaluate_flores(NoisyEncoder(0.0), tmp_path, languages=["de"])[0]["scores"]["de"]["mean"] == 1


def test_splits_are_kept_apart(tmp_path):
    write_split(tmp_path / "flores" / "devtest")
    write_split(tmp_path / "flores" / "dev", split="dev", n=20)
    devtest, dev = (evaluate_flores(NoisyEncoder(), tmp_path, split=split)[0] for split in ("devtest", "dev"))
    assert (devtest["n"], dev["n"], devtest["split"], dev["split"]) == (30, 20, "devtest", "dev")
    assert devtest["data_digest"] != dev["data_digest"]
    with pytest.raises(InputError, match="unknown FLORES split 'test'"):
        evaluate_flores(NoisyEncoder(), tmp_path, split="test")


def test_languages_are_resolved_and_unknown_file_codes_are_kept(tmp_path):
    write_split(tmp_path / "devtest", codes={**CODES, "zu": "zul_Latn"})
    record = evaluate_flores(NoisyEncoder(), tmp_path, languages=["zho_Hans", "zul_Latn", "en", "deu"])[0]
    assert list(record["scores"]) == ["zh", "zul_Latn", "de"]
    assert record["language_set"] == "chosen"
    with pytest.raises(InputError, match="unknown language 'xx'"):
        evaluate_flores(NoisyEncoder(), tmp_path, languages=["xx"])


def test_a_missing_language_is_skipped_and_listed_or_refused_if_strict(tmp_path):
    write_split(tmp_path / "devtest")
    record = evaluate_flores(NoisyEncoder(), tmp_path, languages=["de", "fr"])[0]
    assert record["skipped"] == [{"language": "fr", "reason": "fra_Latn.devtest is missing"}]
    assert record["means"]["chosen"]["languages"] == 1
    with pytest.raises(InputError, match=r"fra_Latn\.devtest: cannot be read"):
        evaluate_flores(NoisyEncoder(), tmp_path, languages=["de", "fr"], strict=True)


def test_english_is_always_needed(tmp_path):
    write_split(tmp_path / "devtest")
    (tmp_path / "devtest" / "eng_Latn.devtest").unlink()
    with pytest.raises(InputError, match=r"eng_Latn\.devtest: cannot be read"):
        evaluate_flores(NoisyEncoder(), tmp_path)
    with pytest.raises(InputError, match="no FLORES files here"):
        evaluate_flores(NoisyEncoder(), tmp_path / "elsewhere")


def test_unequal_files_are_refused_by_name_and_count(tmp_path):
    write_split(tmp_path / "devtest")
    (tmp_path / "devtest" / "deu_Latn.devtest").write_text("deu 0\n")
    with pytest.raises(InputError, match=r"eng_Latn\.devtest has 30 lines, but .*deu_Latn\.devtest has 1;"):
        evaluate_flores(NoisyEncoder(), tmp_path)


@pytest.mark.parametrize("options", [{"margin": "ration"}, {"k": 0}, {"margin": "absolute", "k": -1}])
def test_an_unknown_margin_or_k_is_refused_before_anything_is_encoded(tmp_path, options):
    write_split(tmp_path / "devtest")
    encoder = NoisyEncoder()
    with pytest.raises(ValueError, match=r"did you mean 'ratio'|k must be at least 1"):
        evaluate_flores(encoder, tmp_path, **options)
    assert encoder.calls == 0


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (["fr"], r"devtest: no language to score: fr \(fra_Latn\.devtest is missing\)"),
        (["en"], "no language to score: English is the other side"),
        ([], "no language to score: English is the other side"),
        (["fr", "it", "pt", "es", "ro", "ca", "gl"], r"ro \(ron_Latn.devtest is missing\); and 2 more"),
    ],
)
def test_a_record_without_any_score_is_refused(tmp_path, languages, message):
    write_split(tmp_path / "devtest")
    encoder = NoisyEncoder()
    with pytest.raises(InputError, match=message):
        evaluate_flores(encoder, tmp_path, languages=languages)
    assert encoder.calls == 0


def test_an_encoder_that_fails_is_named_with_language_and_row(tmp_path):
    class NotFinite(NoisyEncoder):
        def encode(self, sentences):
            return np.array([[np.nan if "deu_Latn 17" in sentence else 1.0, 2.0] for sentence in sentences])

    class Changing(NoisyEncoder):
        def encode(self, sentences):
            self.dimension -= 1
            return super().encode(sentences)

    write_split(tmp_path / "devtest")
    with pytest.raises(ValueError, match=r"encoder NotFinite returned nan for row 17 of deu_Latn \('deu_Latn 17'\)"):
        evaluate_flores(NotFinite(), tmp_path)
    with pytest.raises(
        ValueError, match="encoder Changing returned dimension 10 for sentences of deu_Latn, but 11 before"
    ):
        evaluate_flores(Changing(), tmp_path)


@pytest.mark.data
def test_the_released_files_are_read_whole(data_folder):
    class Lengths:
        def encode(self, sentences):
            return np.array([[1.0, len(sentence), sentence.count(" ")] for sentence in sentences])

    for split, n in (("dev", 997), ("devtest", 1012)):
        record = evaluate_flores(Lengths(), data_folder / "eval", split=split, strict=True)[0]
        assert record["n"] == n
        assert set(record["scores"]) == set(LANGUAGES) - {"en"}
        assert record["skipped"] == []
