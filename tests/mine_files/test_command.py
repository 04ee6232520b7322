"""Mining files: the pairs of `mine_bitext`, bounded memory, every line counted, and the same output after any kill."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from ems.errors import InputError
from ems.mine_files import command, vector_file
from ems.mine_files.command import mine_files
from ems.mine_files.work import locked
from ems.mining import MARGINS, STRATEGIES, mine_bitext
from tests.tiny import ROOT


class Topics:
    """An encoder without a model: the vector of "de 17" and of "en 17" is near the 17th random direction."""

    name = "topics"
    fingerprint = "0123456789abcdef"

    def __init__(self, dimension=16, noise=0.5):
        self.sizes = []
        self._dimension = dimension
        self._noise = noise

    def encode(self, sentences):
        self.sizes.append(len(sentences))
        return np.array([self._vector(sentence) for sentence in sentences])

    def _vector(self, sentence):
        language, number = sentence.split()[:2]
        own = np.random.default_rng([int(number), *language.encode()]).standard_normal(self._dimension)
        return np.random.default_rng(int(number)).standard_normal(self._dimension) + self._noise * own


@pytest.fixture
def files(tmp_path):
    generator = np.random.default_rng(5)
    german = [f"de {i}" for i in generator.permutation(90)]
    english = [f"en {i}" for i in generator.permutation(120)]
    (tmp_path / "in.de").write_text("\n".join([*german, "", german[3], "  "]), encoding="utf-8")
    (tmp_path / "in.en").write_text("".join(f"{line}\n" for line in english), encoding="utf-8")
    return tmp_path / "in.de", tmp_path / "in.en"


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "pairs.tsv"


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(vector_file, "CHUNK", 16)
    monkeypatch.setattr(command, "BLOCK_ROWS", 40)


def rows_of(file):
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    return [(float(score), source, target) for score, source, target in rows]


def lines_of(file):
    return list(dict.fromkeys(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()))


def expected_rows(files, **options):
    source, target = (lines_of(file) for file in files)
    encoder = Topics()
    found = mine_bitext(encoder.encode(source), encoder.encode(target), **options)
    rows = [(score, source[i], target[j]) for score, i, j in zip(*found, strict=True)]
    return sorted(rows, key=lambda row: -row[0])


def assert_same(found, expected):
    assert [row[1:] for row in found] == [row[1:] for row in expected]
    # six decimals, and float32 products summed in another order
    np.testing.assert_allclose([row[0] for row in found], [row[0] for row in expected], atol=2e-6)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_pairs_are_those_of_mine_bitext_best_first(files, out, small_blocks, margin, strategy):
    report = mine_files(Topics(), *files, out, margin=margin, strategy=strategy, k=3)
    expected = expected_rows(files, margin=margin, strategy=strategy, k=3)
    assert report.pairs == len(expected) > 0
    assert_same(rows_of(out), expected)


@pytest.mark.parametrize("block_rows", [17, 60, 65_536])
def test_the_size_of_blocks_changes_nothing(files, out, monkeypatch, block_rows):
    monkeypatch.setattr(command, "BLOCK_ROWS", block_rows)
    mine_files(Topics(), *files, out)
    assert_same(rows_of(out), expected_rows(files))


def test_an_approximate_search_says_its_recall_and_finds_the_pairs(files, out):
    report = mine_files(Topics(), *files, out, approximate=True)
    assert min(report.recall) >= 0.95
    found, expected = rows_of(out), expected_rows(files)
    assert len({row[1:] for row in found} & {row[1:] for row in expected}) >= 0.95 * len(expected)


def test_a_threshold_holds_for_every_strategy_and_pairs_below_it_are_counted(files, out):
    whole = mine_files(Topics(), *files, out, strategy="fwd")
    scores = [row[0] for row in rows_of(out)]
    assert whole.threshold is None
    assert whole.pairs == 90
    cut = mine_files(Topics(), *files, out, strategy="fwd", threshold=scores[30])
    assert (cut.pairs, cut.below_threshold) == (30, 60)
    assert [row[0] for row in rows_of(out)] == scores[:30]
    assert mine_files(Topics(), *files, out).threshold == 0.0


def test_the_report_counts_every_line_and_nothing_else_is_left(files, out):
    report = mine_files(Topics(), *files, out)
    assert (report.source.lines.lines, report.source.lines.blank, report.source.lines.duplicates) == (93, 2, 1)
    assert (report.source.lines.sentences, report.target.lines.sentences) == (90, 120)
    saved = json.loads((out.parent / "pairs.tsv.json").read_text(encoding="utf-8"))
    assert saved["source"]["lines"]["duplicates"] == 1
    assert saved["model"] == {"name": "topics", "fingerprint": "0123456789abcdef"}
    assert (saved["pairs"], saved["dimension"], saved["recall"], saved["k"]) == (report.pairs, 16, None, 4)
    assert sorted(path.name for path in out.parent.iterdir()) == ["pairs.tsv", "pairs.tsv.json"]


def test_tabs_are_replaced_and_sentences_with_the_vector_of_an_earlier_one_are_left_out(tmp_path, out):
    (tmp_path / "in.de").write_text("de 1\tx\nde 2\nde 1 y\n", encoding="utf-8")
    (tmp_path / "in.en").write_text("en 2\nen 1\n", encoding="utf-8")
    report = mine_files(Topics(), tmp_path / "in.de", tmp_path / "in.en", out, k=2)
    assert {row[1:] for row in rows_of(out)} == {("de 1 x", "en 1"), ("de 2", "en 2")}
    assert (report.source.lines.cleaned, report.source.equal_vectors, report.target.equal_vectors) == (1, 1, 0)


def test_a_compressed_source_and_an_empty_target(files, out, tmp_path):
    (tmp_path / "in.de.gz").write_bytes(gzip.compress(files[0].read_bytes()))
    plain = mine_files(Topics(), *files, out)
    before = out.read_bytes()
    packed = mine_files(Topics(), tmp_path / "in.de.gz", files[1], out)
    assert out.read_bytes() == before
    assert packed.source.lines == plain.source.lines
    (tmp_path / "empty").write_text("\n\n")
    assert mine_files(Topics(), files[0], tmp_path / "empty", out).pairs == 0
    assert out.read_bytes() == b""


def test_given_vectors_take_the_place_of_the_encoder(files, out, tmp_path):
    encoder = Topics()
    for file in files:
        lines = file.read_text(encoding="utf-8").split("\n")
        lines = lines[:-1] if lines[-1] == "" else lines
        np.save(tmp_path / f"{file.name}.npy", [encoder._vector(line) if line.strip() else [0] * 16 for line in lines])
    source, target = (tmp_path / f"{file.name}.npy" for file in files)
    mine_files(Topics(), *files, out)
    before = out.read_bytes()
    report = mine_files(None, *files, out, source_vectors=source, target_vectors=target)
    assert out.read_bytes() == before
    assert report.model is None
    mixed = Topics()
    mine_files(mixed, *files, out, target_vectors=target)
    assert out.read_bytes() == before
    assert sum(mixed.sizes) == 90
    with pytest.raises(InputError, match=r"in.de.npy has shape \(93, 16\), but .*in.en has 120 lines"):
        mine_files(None, *files, out, source_vectors=source, target_vectors=source)
    with pytest.raises(InputError, match="sentences need a model, or vectors"):
        mine_files(None, *files, out, source_vectors=source)
    np.save(tmp_path / "narrow.npy", np.ones((120, 8)))
    with pytest.raises(InputError, match="returned dimension 16 for sentences of the input, but 8 before"):
        mine_files(mixed, *files, out, target_vectors=tmp_path / "narrow.npy")
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(InputError, match=r"text.npy: not a readable .npy array"):
        mine_files(mixed, *files, out, target_vectors=tmp_path / "text.npy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": "ration"}, "unknown margin 'ration'; did you mean 'ratio'"),
        ({"strategy": "forward"}, "unknown strategy 'forward'; did you mean 'fwd'"),
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"threshold": float("nan")}, "threshold must be a number"),
        ({"memory": 50_000}, r"memory 5e-05G is too little: 210 sentences need .*G"),
        ({"device": "gpu"}, "device 'gpu' is not known"),
    ],
)
def test_unusable_options_are_refused(files, out, options, message):
    with pytest.raises(InputError, match=message):
        mine_files(Topics(), *files, out, **options)
    assert not out.exists()


def test_unusable_places_are_refused(files, out, tmp_path):
    source, target = files
    (tmp_path / "folder").mkdir()
    for arguments, message in [
        ((tmp_path / "none", target, out), "no such file"),
        ((source, tmp_path / "folder", out), "not a file"),
        ((source, target, tmp_path / "no" / "out.tsv"), "does not exist"),
        ((source, target, tmp_path / "folder"), "is not a file"),
        ((source, target, target), "would be overwritten"),
    ]:
        with pytest.raises(InputError, match=message):
            mine_files(Topics(), *arguments)
    (tmp_path / "x.tsv.json").write_bytes(source.read_bytes())
    with pytest.raises(InputError, match="would be overwritten"):
        mine_files(Topics(), tmp_path / "x.tsv.json", target, tmp_path / "x.tsv")


def test_a_line_that_is_not_utf8_is_named_and_the_mended_file_is_mined(files, out):
    good = files[0].read_bytes()
    files[0].write_bytes(good + b"\n\xff\n")
    with pytest.raises(InputError, match=r"in.de, line 94: not UTF-8"):
        mine_files(Topics(), *files, out)
    assert list(out.parent.iterdir()) == []
    files[0].write_bytes(good)
    assert mine_files(Topics(), *files, out).pairs > 0


def test_a_second_process_on_one_output_is_refused(files, out):
    with locked(out.parent / ".pairs.tsv.work"), pytest.raises(InputError, match="another process is working in"):
        mine_files(Topics(), *files, out)


class Stopping(Topics):
    def encode(self, sentences):
        if len(self.sizes) == 5:
            raise KeyboardInterrupt
        return super().encode(sentences)


def test_a_stopped_run_embeds_only_what_is_missing(files, out, small_blocks, caplog):
    stopped, resumed = Stopping(), Topics()
    with pytest.raises(KeyboardInterrupt):
        mine_files(stopped, *files, out)
    mine_files(resumed, *files, out)
    assert sum(stopped.sizes) + sum(resumed.sizes) == 210
    assert_same(rows_of(out), expected_rows(files))


def test_unfinished_work_of_another_model_or_input_is_refused_and_kept(files, out, small_blocks):
    with pytest.raises(KeyboardInterrupt):
        mine_files(Stopping(), *files, out)
    other = Topics()
    other.fingerprint = "another"
    with pytest.raises(InputError, match="unfinished work with another model; give what it was begun with, or delete"):
        mine_files(other, *files, out)
    with pytest.raises(InputError, match="another source and another target"):
        mine_files(Topics(), *reversed(files), out)
    resumed = Topics()
    mine_files(resumed, *files, out, margin="distance", k=2)
    assert sum(resumed.sizes) == 210 - 80
    assert_same(rows_of(out), expected_rows(files, margin="distance", k=2))


def test_an_encoder_without_a_fingerprint_starts_anew(files, out, small_blocks):
    stopped, again = Stopping(), Topics()
    stopped.fingerprint = again.fingerprint = None
    with pytest.raises(KeyboardInterrupt):
        mine_files(stopped, *files, out)
    mine_files(again, *files, out)
    assert sum(again.sizes) == 210


def test_too_little_memory_is_said_before_the_embedding_and_costs_no_work(files, out):
    encoder = Topics()
    with pytest.raises(InputError, match="is too little"):
        mine_files(encoder, *files, out, memory=80_000)
    assert encoder.sizes == []
    mine_files(encoder, *files, out, memory=10_000_000)
    assert_same(rows_of(out), expected_rows(files))


# Runs attempts in processes of their own and kills each (SIGKILL) before a line of the package chosen by chance.
KILLER = textwrap.dedent(
    """
    import os, random, signal, sys
    from pathlib import Path
    import torch
    from ems.mine_files import command, vector_file
    from ems.search import approximate, blocks
    from tests.mine_files.test_command import Topics

    folder, approximately, trials = Path(sys.argv[1]), sys.argv[2] == "True", int(sys.argv[3])
    vector_file.CHUNK = 32
    command.BLOCK_ROWS, command.SHARD_ROWS, approximate.QUERY_ROWS = 40, 70, 50
    blocks.SearchState._is_due = lambda self: True
    traced = {"command.py", "work.py", "blocks.py", "approximate.py", "vector_file.py", "files.py",
              "unique_sentences.py"}

    def attempt(output, last_line):
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1]
        lines = 0

        def trace(frame, event, argument):
            nonlocal lines
            if os.path.basename(frame.f_code.co_filename) not in traced:
                return None
            lines += event == "line"
            if lines == last_line:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        command.mine_files(Topics(), folder / "in.de", folder / "in.en", output, approximate=approximately)
        sys.settrace(None)
        output.with_name("lines").write_text(str(lines))
        os._exit(0)

    def content(output):
        return {path.name: path.read_bytes() for path in output.parent.iterdir()}

    def place(name):
        (folder / name).mkdir()
        return folder / name / "pairs.tsv"

    whole = place("whole")
    assert attempt(whole, -1) == 0
    total = int((folder / "whole" / "lines").read_text())
    generator, kills = random.Random(0), 0
    for trial in range(trials):
        output = place(f"trial{trial}")
        while attempt(output, generator.randrange(total)) == signal.SIGKILL:
            kills += 1
        (output.parent / "lines").write_bytes((whole.parent / "lines").read_bytes())
        assert content(output) == content(whole), trial
    print(kills)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize(("approximately", "trials"), [(False, 10), (True, 4)])
def test_a_run_killed_anywhere_and_resumed_writes_the_same_bytes(files, approximately, trials):
    command = [sys.executable, "-c", KILLER, str(files[0].parent), str(approximately), str(trials)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= trials


MEMORY_USE = textwrap.dedent(
    """
    import sys, threading, time
    from pathlib import Path
    import numpy as np, psutil, torch
    from ems.mine_files import command
    from ems.mine_files.command import mine_files

    folder = Path(sys.argv[1])
    generator = np.random.default_rng(0)
    for name, rows in (("many", 150_000), ("few", 500)):
        (folder / name).write_text("".join(f"{name} {i}\\n" for i in range(rows)))
        np.save(folder / f"{name}.npy", generator.standard_normal((rows, 256), dtype=np.float32))
    def run(source, **options):
        return mine_files(None, folder / source, folder / "few", folder / "out.tsv",
                          source_vectors=folder / f"{source}.npy", target_vectors=folder / "few.npy", **options)
    approximately = sys.argv[3] == "True"
    run("few", approximate=approximately)  # what PyTorch and BLAS keep is there before we look
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss
    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], process.memory_info().rss)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    run("many", memory=int(sys.argv[2]), approximate=approximately)
    done.set()
    watcher.join()
    print(peak[0] - before)
    """
)


@pytest.mark.slow
@pytest.mark.parametrize(("approximately", "limit"), [(False, 100_000_000), (True, 150_000_000)])
def test_memory_stays_near_the_limit_whatever_the_size_of_the_files(tmp_path, approximately, limit):
    command = [sys.executable, "-c", MEMORY_USE, str(tmp_path), str(limit), str(approximately)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    # A chunk of 16,384 vectors to be written, its copies, and the pages that are read come on top. Read whole, the
    # vectors of "many" alone would bring 154 MB.
    assert 0 < int(result.stdout) < limit + 60_000_000


@pytest.mark.data
def test_shuffled_translations_of_real_text_are_found_exactly_and_approximately(data_folder, tmp_path, out):
    texts = {
        code: (data_folder / "eval" / "flores" / "devtest" / f"{code}.devtest").read_text(encoding="utf-8").splitlines()
        for code in ("deu_Latn", "eng_Latn")
    }
    generator = np.random.default_rng(0)
    numbers = {line.strip(): number for lines in texts.values() for number, line in enumerate(lines)}

    class Translator(Topics):
        def _vector(self, sentence):
            return super()._vector(f"{sentence[:5].replace(' ', '_')} {numbers[sentence]}")

    for code, lines in texts.items():
        shuffled = [lines[i] for i in generator.permutation(len(lines))]
        (tmp_path / code).write_text("\n".join([*shuffled, *shuffled[:50]]), encoding="utf-8")
    files = tmp_path / "deu_Latn", tmp_path / "eng_Latn"
    written = {}
    for approximate in (False, True):
        report = mine_files(Translator(dimension=64), *files, out, approximate=approximate)
        assert (report.source.lines.duplicates, report.source.lines.sentences) == (50, len(texts["deu_Latn"]))
        written[approximate] = {row[1:] for row in rows_of(out)}
    right = {(a.strip(), b.strip()) for a, b in zip(texts["deu_Latn"], texts["eng_Latn"], strict=True)}
    assert len(written[False] & right) > 0.99 * len(right)
    assert len(written[False] & written[True]) > 0.95 * len(right)
