"""Preparing in several processes: stopped, killed, waiting for each other, in bounded memory."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ems.data import shard_writer, tokenise
from ems.data.corpus import Rules, find_files
from ems.data.shards import open_shards, prepare
from ems.errors import InputError, RunError
from ems.languages import LANGUAGES
from tests.data.shard_rows import flip, without_stamps
from tests.data.small_corpus import (
    DyingTokenizer,
    WordTokenizer,
    numbered,
    prepare_all,
    write_jsonl,
    write_tsv,
)


class StoppedTokenizer(WordTokenizer):
    """Is interrupted at its third block, as by Ctrl-C."""

    def encode_flat(self, sentences: list[str]) -> tuple[np.ndarray, np.ndarray]:
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().encode_flat(sentences)


def test_an_interrupted_run_leaves_only_whole_shards_and_the_next_one_takes_them_over(
    tmp_path: Path, corpus: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare_all(corpus, out, StoppedTokenizer())
    with pytest.raises(InputError, match=r"manifest\.json"):
        open_shards(out, "words")
    assert len(list((out / "files").iterdir())) == 2
    # One of the two is damaged meanwhile.
    flip(next((out / "files").glob("a*/tokens.bin")))
    tokenizer = WordTokenizer()
    manifest = prepare_all(corpus, out, tokenizer)
    assert tokenizer.calls == 3
    assert without_stamps(manifest) == without_stamps(prepare_all(corpus, tmp_path / "fresh", WordTokenizer()))


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    (out / "files" / ".a.123.tmp").mkdir(parents=True)
    (out / "files" / ".a.123.tmp" / "tokens.bin").write_bytes(b"half")
    manifest = prepare_all(corpus, out, WordTokenizer())
    assert {path.name for path in (out / "files").iterdir()} == {shard.shard for shard in manifest.files}


def test_a_dead_worker_is_an_error_and_not_a_wait(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(RunError, match="process died"):
        prepare_all(corpus, tmp_path / "out", DyingTokenizer(), workers=1)
    assert not list((tmp_path / "out" / "files").iterdir())


SCRIPT = """
import signal
import sys
from pathlib import Path
from tests.data.small_corpus import WordTokenizer, prepare_all

class SlowTokenizer(WordTokenizer):
    def encode_flat(self, sentences):
        import time
        time.sleep(0.2)
        return super().encode_flat(sentences)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    prepare_all(Path(sys.argv[1]), Path(sys.argv[2]), SlowTokenizer(), workers=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_leaves_no_process_behind_and_the_next_one_finishes(
    tmp_path: Path, corpus: Path, how: signal.Signals
) -> None:
    write_tsv(corpus, {"e.en-cs.tsv": numbered("en-cs", 120_000)})  # some ten blocks
    (tmp_path / "run.py").write_text(SCRIPT)
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(corpus), str(out)], env=environment, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while not list((out / "files").glob("c*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(how)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert not (out / "manifest.json").exists()
    assert not psutil.wait_procs(children, timeout=10)[1]
    tokenizer = WordTokenizer()
    manifest = prepare_all(corpus, out, tokenizer)
    assert manifest.pairs == 120_098
    assert {path.name for path in (out / "files").iterdir()} == {shard.shard for shard in manifest.files}


MEMORY_SCRIPT = """
import signal
import sys
from pathlib import Path
from tests.data.small_corpus import WordTokenizer, prepare_all

if __name__ == "__main__":
    prepare_all(Path(sys.argv[1]), Path(sys.argv[2]), WordTokenizer())
    # Not getrusage: that remembers what the parent had before it started this program.
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(MEMORY_SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    peaks = []
    for lines in (80_000, 200_000):
        corpus = tmp_path / str(lines)
        corpus.mkdir()
        languages = ["de", "fr", "cs"]
        write_jsonl(
            corpus / "mixed.jsonl",
            [("en", languages[i % 3], f"one two three {i}", f"a b c d {i}") for i in range(lines)],
        )
        script = [sys.executable, str(tmp_path / "run.py"), str(corpus)]
        commands = [[*script, str(tmp_path / f"out{lines}.{attempt}")] for attempt in range(2)]
        found = [subprocess.run(command, env=environment, check=True, capture_output=True) for command in commands]
        # What the allocator happens to keep differs by some MB from one process to the next.
        peaks.append(min(int(result.stdout) for result in found) / 1024)
    # The larger corpus holds 9 MB more of tokens, offsets and digests; the smaller one already fills all buffers, which
    # takes two blocks of the reader and two of 32,768 rows when rows are put in order.
    assert peaks[1] - peaks[0] < 3, peaks


def test_a_second_process_waits_for_the_first(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = threading.Event()

    def second() -> None:
        prepare_all(corpus, out, WordTokenizer())
        done.set()

    thread = threading.Thread(target=second)
    with open(out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread.start()
        assert not done.wait(0.3)
        assert not (out / "manifest.json").exists()
    assert done.wait(10)
    thread.join()


def test_little_text_starts_no_process_and_much_takes_all_cores(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def remember(files: object, block_tokeniser: object, workers: int) -> object:
        asked.append(workers)
        return tokenise.tokenised(files, block_tokeniser, 0)  # type: ignore[arg-type]

    monkeypatch.setattr(shard_writer, "tokenised", remember)
    files = find_files(["*.tsv"], corpus, registry=LANGUAGES)
    prepare(files, WordTokenizer(), tmp_path / "a", registry=LANGUAGES, rules=Rules())
    monkeypatch.setattr(shard_writer, "file_size", lambda file: 1 << 30)
    prepare(files, WordTokenizer(), tmp_path / "b", registry=LANGUAGES, rules=Rules())
    assert asked == [0, len(os.sched_getaffinity(0))]
