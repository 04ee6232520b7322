"""MTEB, the real package, takes a model folder as it is and gets the scores that `ems.eval` gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import ems
from ems.data.grammar import held_out
from ems.eval.retrieval import bitext_f1, bitext_metrics
from ems.mining import mutual_neighbours, unit_rows

# What a user does to score a folder: open it with sentence-transformers, hand it to MTEB. The rest is a task that needs
# no download. Sockets are refused, so that nothing can come from a hub. No cache: MTEB has no name for a model from a
# local folder, and would hand the scores of one to the next.
SCRIPT = textwrap.dedent(
    """
    import json, socket, sys

    def refuse(*args):
        raise AssertionError(f"a connection was opened to {args[1:]}")

    socket.socket.connect = socket.socket.connect_ex = refuse

    import mteb
    from datasets import Dataset, DatasetDict
    from sentence_transformers import SentenceTransformer

    folder, texts_file, output = sys.argv[1:]
    with open(texts_file, encoding="utf-8") as file:
        texts = json.load(file)

    class Local(mteb.abstasks.AbsTaskBitextMining):
        metadata = mteb.TaskMetadata(
            name="Local", description="Sentences of a small grammar.", reference=None, type="BitextMining",
            category="t2t", modalities=["text"], main_score="f1", eval_splits=["test"], date=None, domains=None,
            task_subtypes=None, license=None, annotations_creators=None, dialect=None, sample_creation=None,
            bibtex_citation=None, dataset={"path": "none", "revision": "none"},
            eval_langs=texts["codes"],
        )

        def load_data(self, **kwargs):
            self.dataset = {
                pair: DatasetDict({"test": Dataset.from_dict({"sentence1": foreign, "sentence2": english})})
                for pair, (foreign, english) in texts["pairs"].items()
            }
            self.data_loaded = True

    model = SentenceTransformer(folder, device="cpu")
    (result,) = mteb.evaluate(model, [Local()], cache=None, show_progress_bar=False).task_results
    with open(output, "w", encoding="utf-8") as file:
        json.dump({row["hf_subset"]: row for row in result.scores["test"]}, file)
    """
)
CODES = {"de-en": ["deu-Latn", "eng-Latn"], "es-en": ["spa-Latn", "eng-Latn"], "en-en": ["eng-Latn", "eng-Latn"]}


@pytest.fixture(scope="module")
def pairs():
    """More rows than MTEB compares at a time, and a pair that an untrained model can do in part."""
    texts = held_out(130)
    return {
        "de-en": (texts["de"], texts["en"]),
        "es-en": (texts["es"], texts["en"]),
        "en-en": ([sentence.split(" ", 1)[1] for sentence in texts["en"]], texts["en"]),
    }


@pytest.fixture(scope="module")
def scores_of_mteb(tiny_model, pairs, tmp_path_factory):
    """Scores by language pair, from a process of its own."""
    folder = tmp_path_factory.mktemp("mteb")
    (folder / "texts.json").write_text(json.dumps({"pairs": pairs, "codes": CODES}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_model), str(folder / "texts.json"), str(folder / "scores.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "MTEB_CACHE": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "scores.json").read_text("utf-8"))


@pytest.mark.slow
def test_metrics_of_mteb_equal_ours_on_the_same_model(tiny_model, pairs, scores_of_mteb):
    encoder = ems.load(tiny_model, device="cpu")
    assert set(scores_of_mteb) == set(pairs)
    for pair, (foreign, english) in pairs.items():
        source, target = encoder.encode(foreign), encoder.encode(english)
        theirs = scores_of_mteb[pair]
        found = mutual_neighbours(unit_rows(source), unit_rows(target), 1)[0].nearest()
        ours = bitext_metrics(np.arange(len(found)), found)
        assert {name: theirs[name] for name in ours} == pytest.approx(ours, abs=1e-6)
        assert theirs["main_score"] == pytest.approx(bitext_f1(source, target), abs=1e-6)
    # Some right and some wrong, and hubs, without which F1 would be no more than accuracy.
    assert 0 < scores_of_mteb["en-en"]["f1"] < scores_of_mteb["en-en"]["accuracy"] < 1
