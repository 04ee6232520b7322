"""xsim++: the released files of altered sentences, the errors by kind, and what does not fit together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.errors import InputError
from ems.eval.benchmarks.flores import evaluate_flores
from ems.eval.benchmarks.xsimpp import evaluate_xsimpp, find_folder, read_augmentation, read_errtypes
from ems.eval.record import outcome_arrays
from ems.eval.retrieval import xsimpp_error_rate

N = 12
ORIGINALS = [f"eng {row}" for row in range(N)]
FLORES = {
    "eng_Latn": ORIGINALS,
    "deu_Latn": [f"deu {row}" for row in range(N)],
    "fra_Latn": [f"fra {r}" for r in range(N)],
}
KINDS = ("number_replacement", "entity_mention_replacement")
ERRTYPES = {f"eng {row} altered {kind}": {"src": f"eng {row}", "errtype": kind} for row in range(N) for kind in KINDS}


class NoisyEncoder:
    """Near each other: sentences with one number, most of all those of one language. Keeps what it encoded."""

    name = "noisy"

    def __init__(self, noise=0.8):
        self.noise, self.calls = noise, []

    def encode(self, sentences):
        self.calls.append(list(sentences))
        rows = []
        for sentence in sentences:
            row = next((int(word) for word in sentence.split() if word.isdigit()), 0)
            meaning = np.random.default_rng(row).standard_normal(16)
            own = np.random.default_rng([*sentence.encode()]).standard_normal(16)
            rows.append(meaning + self.noise * own)
        return np.array(rows)


def write_flores(folder, split="devtest", files=FLORES):
    (folder / split).mkdir(parents=True)
    for code, lines in files.items():
        (folder / split / f"{code}.{split}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_altered(folder, split="devtest", errtypes=ERRTYPES, lines=None):
    altered = folder / f"{split}_augmented"
    altered.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in (errtypes if lines is None else lines))
    (altered / f"eng_Latn_augmented.{split}").write_text(text, encoding="utf-8")
    (altered / f"eng_Latn_errtype.{split}.json").write_text(json.dumps(errtypes), encoding="utf-8")
    return altered


@pytest.fixture
def data(tmp_path):
    write_flores(tmp_path / "flores")
    write_altered(tmp_path / "flores")
    return tmp_path


def test_rates_and_kinds_equal_the_metric_of_each_language(data):
    (record,) = evaluate_xsimpp(NoisyEncoder(), data)
    assert list(record["scores"]) == ["de", "fr"]
    texts = [*ORIGINALS, *ERRTYPES]
    for language, code in (("de", "deu_Latn"), ("fr", "fra_Latn")):
        source, target = NoisyEncoder().encode(FLORES[code]), NoisyEncoder().encode(texts)
        expected = xsimpp_error_rate(source, target, target_texts=texts, errtypes=ERRTYPES)
        assert 0 < expected.error_rate < 1
        assert record["scores"][language] == {"x->en": expected.error_rate, "errors": expected.errors}
        assert record["by_type"][language] == expected.by_type
        assert sum(expected.by_type.values()) == expected.errors
    totals = {kind: sum(row.get(kind, 0) for row in record["by_type"].values()) for kind in record["by_type_total"]}
    assert record["by_type_total"] == totals
    assert sum(totals.values()) == sum(row["errors"] for row in record["scores"].values())
    assert record["means"]["ems62"] == {
        "languages": 2,
        "of": 61,
        "x->en": np.mean([row["x->en"] for row in record["scores"].values()]),
    }


def test_the_record_names_its_protocol_and_what_it_was_scored_on(data):
    (record,) = evaluate_xsimpp(NoisyEncoder(), data, languages=["de"])
    assert (record["task"], record["split"], record["direction"]) == ("flores-xsimpp", "devtest", "x->en")
    assert (record["margin"], record["k"], record["n"], record["higher_is_better"]) == ("ratio", 4, N, False)
    assert "text mode, 12 English sentences and 24 altered ones" in record["protocol"]
    assert record["augmentation"] == {
        "lines": 24, "with_kind": 24, "of_unknown_original": 0, "unaltered": 0, "repeated": 0, "originals": 12,
    }  # fmt: skip


def test_outcomes_and_confusions_are_the_rows_that_err(data):
    (record,) = evaluate_xsimpp(NoisyEncoder(), data)
    for language, row in record["scores"].items():
        wrong, every = outcome_arrays(record["outcomes"][language]["x->en"])
        assert wrong.sum() / every.sum() == row["x->en"]
        for confusion in (entry for entry in record["confusions"] if entry["language"] == language):
            assert wrong[confusion["row"]] == 1
            assert confusion["found"] != confusion["expected"] == ORIGINALS[confusion["row"]]


@pytest.mark.parametrize("margin", ["ratio", "distance", "absolute"])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_any_margin_and_k_is_taken_and_named(data, margin, k):
    (record,) = evaluate_xsimpp(NoisyEncoder(), data, languages=["de"], margin=margin, k=k)
    texts = [*ORIGINALS, *ERRTYPES]
    source, target = NoisyEncoder().encode(FLORES["deu_Latn"]), NoisyEncoder().encode(texts)
    expected = xsimpp_error_rate(source, target, target_texts=texts, errtypes=ERRTYPES, margin=margin, k=k)
    assert record["scores"]["de"]["errors"] == expected.errors
    assert (record["margin"], record["k"]) == (margin, k)
    assert f"{margin} margin among k = {k}" in record["protocol"]


def test_every_file_is_encoded_once_and_the_originals_as_flores_does(data):
    ours, flores = NoisyEncoder(), NoisyEncoder()
    evaluate_xsimpp(ours, data)
    evaluate_flores(flores, data)
    assert len(ours.calls) == 4
    assert [call for call in ours.calls if call not in flores.calls] == [list(ERRTYPES)]


@pytest.mark.parametrize("layout", ["", "flores", "flores200_dataset", "flores200"])
def test_released_layouts_are_found(tmp_path, layout):
    write_flores(tmp_path / layout)
    assert find_folder(tmp_path, "devtest") is None
    folder = write_altered(tmp_path / layout)
    assert find_folder(tmp_path, "devtest") == folder
    assert find_folder(tmp_path, "dev") is None
    assert evaluate_xsimpp(NoisyEncoder(), tmp_path, languages=["de"])[0]["n"] == N


def test_splits_are_kept_apart(data):
    write_flores(data / "flores", "dev", {code: lines[:5] for code, lines in FLORES.items()})
    write_altered(data / "flores", "dev", dict(list(ERRTYPES.items())[:10]))
    devtest, dev = (evaluate_xsimpp(NoisyEncoder(), data, split=split)[0] for split in ("devtest", "dev"))
    assert (devtest["n"], dev["n"], dev["split"], dev["augmentation"]["lines"]) == (N, 5, "dev", 10)
    assert devtest["data_digest"] != dev["data_digest"]
    with pytest.raises(InputError, match="unknown FLORES split 'test'"):
        evaluate_xsimpp(NoisyEncoder(), data, split="test")


def test_a_base_file_without_last_newline_is_not_glued_to_the_first_altered_line(data):
    (whole,) = evaluate_xsimpp(NoisyEncoder(), data)
    for path in data.rglob("eng_Latn*.devtest"):
        path.write_bytes(path.read_bytes().removesuffix(b"\n").replace(b"\n", b"\r\n"))
    assert evaluate_xsimpp(NoisyEncoder(), data) == [whole]


def test_an_altered_line_equal_to_an_original_is_counted_and_no_error(data):
    repeated = {**{ORIGINALS[row]: {"src": ORIGINALS[row], "errtype": "none"} for row in range(N)}, **ERRTYPES}
    write_altered(data / "flores", errtypes=repeated, lines=[*ORIGINALS, *ERRTYPES, *list(ERRTYPES)[:3]])
    records = {m: evaluate_xsimpp(NoisyEncoder(), data, languages=["de"], margin=m)[0] for m in ("absolute", "ratio")}
    counts = records["ratio"]["augmentation"]
    assert (counts["unaltered"], counts["repeated"], counts["lines"]) == (12, 3, 39)
    assert 0 < records["ratio"]["scores"]["de"]["errors"] < N
    assert "none" not in records["ratio"]["by_type_total"]
    # By cosine alone a copy of a candidate changes nothing.
    write_altered(data / "flores")
    (plain,) = evaluate_xsimpp(NoisyEncoder(), data, languages=["de"], margin="absolute")
    assert records["absolute"]["outcomes"] == plain["outcomes"]
    assert records["absolute"]["by_type"] == plain["by_type"]


def test_a_winner_elsewhere_with_the_right_text_is_no_confusion(data):
    copies = {text: {"src": text, "errtype": "none"} for text in ORIGINALS}
    write_altered(data / "flores", errtypes=copies)  # of equal candidates the ratio margin takes the last, a copy
    (record,) = evaluate_xsimpp(NoisyEncoder(0.0), data, languages=["de"])
    assert (record["scores"]["de"]["errors"], record["confusions"]) == (0, [])


def test_lines_without_a_kind_are_counted_and_their_errors_misaligned(data, caplog):
    (before,) = evaluate_xsimpp(NoisyEncoder(), data, languages=["de"])
    known = {altered: entry for altered, entry in ERRTYPES.items() if entry["errtype"] == KINDS[0]}
    write_altered(data / "flores", errtypes=known, lines=ERRTYPES)
    (record,) = evaluate_xsimpp(NoisyEncoder(), data, languages=["de"])
    assert record["scores"] == before["scores"]
    assert before["by_type"]["de"][KINDS[1]] > 0
    moved = before["by_type"]["de"][KINDS[1]] + before["by_type"]["de"].get("Misaligned", 0)
    assert record["by_type"]["de"]["Misaligned"] == moved
    assert (record["augmentation"]["lines"], record["augmentation"]["with_kind"]) == (24, 12)
    assert "no kind for 12 of 24 altered lines" in caplog.text


def test_originals_that_are_not_there_are_counted_and_their_errors_misaligned(data, caplog):
    other = {altered: {**entry, "src": entry["src"].replace("eng 3", "eng 3 ")} for altered, entry in ERRTYPES.items()}
    write_altered(data / "flores", errtypes=other)
    (record,) = evaluate_xsimpp(NoisyEncoder(), data, languages=["de"])
    assert record["augmentation"]["of_unknown_original"] == 2
    assert record["augmentation"]["originals"] == 11
    assert "'src' of 2 altered lines is no original" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"errtype\.devtest\.json, line 1: not JSON"),
        (b'{"a": {"src": "b",\n "errtype": c}}', r"errtype\.devtest\.json, line 2: not JSON"),
        (b"", "no sentences in it"),
        (b'{"\xff": 1}', "line 1: not UTF-8"),
        (b"[]", "must be an object of altered sentences"),
        (b"{}", "must be an object of altered sentences"),
        (b'{"a": "number"}', "'a' must have an object with 'src' and 'errtype', not 'number'"),
        (b'{"a": {"source": "b", "errtype": "c"}}', "'a' has no 'src'; it has 'source'"),
        (b'{"a": {"src": "b", "type": "c"}}', "'a' has no 'errtype'; it has 'type'"),
        (b'{"a": {}}', "'a' has no 'src'$"),
        (b'{"a": {"src": "b", "errtype": 3}}', "'errtype' of 'a' must be text, not 3"),
        (b'{"a": {"src": "b", "errtype": "c"}, "a": {"src": "d", "errtype": "c"}}', "'a' stands in it twice"),
        (b"[" * 100_000, "errtype"),
    ],
)
def test_an_unusable_file_of_kinds_is_named(data, content, message):
    (data / "flores" / "devtest_augmented" / "eng_Latn_errtype.devtest.json").write_bytes(content)
    encoder = NoisyEncoder()
    with pytest.raises(InputError, match=message):
        evaluate_xsimpp(encoder, data)
    assert encoder.calls == []


def test_files_that_do_not_belong_together_are_refused(data):
    folder = data / "flores" / "devtest_augmented"
    write_altered(data / "flores", lines=["one", "two"])
    with pytest.raises(InputError, match=r"holds none of the 2 sentences of eng_Latn_augmented\.devtest"):
        read_augmentation(folder, "devtest", ORIGINALS)
    write_altered(data / "flores")
    with pytest.raises(InputError, match="no 'src' is an English sentence of devtest, such as 'eng 0'"):
        read_augmentation(folder, "devtest", ["another", "text"])


def test_missing_and_empty_files_are_named(data):
    folder = data / "flores" / "devtest_augmented"
    (folder / "eng_Latn_augmented.devtest").write_bytes(b"")
    with pytest.raises(InputError, match=r"eng_Latn_augmented\.devtest: no sentences"):
        evaluate_xsimpp(NoisyEncoder(), data)
    (folder / "eng_Latn_augmented.devtest").unlink()
    with pytest.raises(InputError, match=r"eng_Latn_augmented\.devtest: cannot be read"):
        evaluate_xsimpp(NoisyEncoder(), data)
    (folder / "eng_Latn_errtype.devtest.json").unlink()
    with pytest.raises(InputError, match=r"no altered sentences in devtest_augmented/ or flores/devtest_augmented/"):
        evaluate_xsimpp(NoisyEncoder(), data)
    with pytest.raises(InputError, match="no FLORES files here"):
        evaluate_xsimpp(NoisyEncoder(), folder)


def test_sources_must_match_the_originals_by_row(data):
    (data / "flores" / "devtest" / "deu_Latn.devtest").write_text("deu 0\n" * 40)
    with pytest.raises(InputError, match=r"eng_Latn\.devtest has 12 lines, but .*deu_Latn\.devtest has 40"):
        evaluate_xsimpp(NoisyEncoder(), data)


def test_languages_are_skipped_and_listed_and_none_is_an_error(data):
    (record,) = evaluate_xsimpp(NoisyEncoder(), data, languages=["de", "it"])
    assert record["skipped"] == [{"language": "it", "reason": "ita_Latn.devtest is missing"}]
    assert record["means"]["chosen"]["of"] == 2
    with pytest.raises(InputError, match=r"ita_Latn\.devtest: cannot be read"):
        evaluate_xsimpp(NoisyEncoder(), data, languages=["de", "it"], strict=True)
    with pytest.raises(InputError, match=r"no language to score: it \(ita_Latn\.devtest is missing\)"):
        evaluate_xsimpp(NoisyEncoder(), data, languages=["it"])


@pytest.mark.parametrize(
    ("options", "message"), [({"margin": "ration"}, "did you mean 'ratio'"), ({"k": 0}, "k must be")]
)
def test_unknown_margins_are_refused_before_anything_is_encoded(data, options, message):
    encoder = NoisyEncoder()
    with pytest.raises(ValueError, match=message):
        evaluate_xsimpp(encoder, data, **options)
    assert encoder.calls == []


def test_an_encoder_that_fails_on_altered_lines_is_named(data):
    class Fails(NoisyEncoder):
        def encode(self, sentences):
            vectors = super().encode(sentences)
            vectors[[index for index, sentence in enumerate(sentences) if "altered" in sentence][5:]] = np.inf
            return vectors

    with pytest.raises(ValueError, match="encoder noisy returned inf for row 5 of the altered eng_Latn"):
        evaluate_xsimpp(Fails(), data)


texts = st.text('a"\\ é中\u2028😀', max_size=8)


@settings(max_examples=40)
@given(st.dictionaries(texts, st.fixed_dictionaries({"src": texts, "errtype": texts}), min_size=1))
def test_kinds_are_read_back_as_they_were_written(tmp_path_factory, errtypes):
    path = tmp_path_factory.mktemp("kinds") / "errtype.json"
    path.write_text(json.dumps(errtypes, ensure_ascii=False, indent=1), encoding="utf-8")
    assert read_errtypes(path) == errtypes


@pytest.mark.data
def test_scores_equal_the_field_s_program_from_files(tmp_path, golden_folder):
    arrays = np.load(golden_folder / "eval" / "xsimpp.npz")
    record = json.loads((golden_folder / "eval" / "xsimpp.json").read_text("utf-8"))
    errtypes = json.loads((golden_folder / "eval" / "xsimpp_errtype.json").read_text("utf-8"))
    n = record["source_count"]
    sources = [f"Satz {row}" for row in range(n)]
    write_flores(tmp_path, files={"eng_Latn": record["tgt_text"][:n], "deu_Latn": sources})
    write_altered(tmp_path, errtypes=errtypes, lines=record["tgt_text"][n:])
    vectors = dict(zip(sources, arrays["src"], strict=True)) | dict(zip(record["tgt_text"], arrays["tgt"], strict=True))

    class Lookup:
        def encode(self, sentences):
            return np.array([vectors[sentence] for sentence in sentences])

    for margin, expected in record["xsimpp"].items():
        (found,) = evaluate_xsimpp(Lookup(), tmp_path, languages=["de"], margin=margin)
        assert found["scores"]["de"]["errors"] == expected["errors"]
        assert found["by_type"]["de"] == expected["by_type"]
        assert found["scores"]["de"]["x->en"] * 100 == pytest.approx(expected["error_rate"])
