"""Mining in processes of their own: the same bytes after any kill, and memory near its limit."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.tiny import ROOT

# Runs attempts in processes of their own and kills each (SIGKILL) before a line of the package chosen by chance.
KILLER = textwrap.dedent(
    """
    import os, random, signal, sys
    from pathlib import Path
    import torch
    from ems.mine_files import command, memory, vector_file
    from ems.search import approximate, blocks
    from tests.mine_files.topics import Topics

    folder, approximately, trials = Path(sys.argv[1]), sys.argv[2] == "True", int(sys.argv[3])
    vector_file.CHUNK = 32
    memory.BLOCK_ROWS, memory.SHARD_ROWS, approximate.QUERY_ROWS = 40, 70, 50
    blocks.SearchState._is_due = lambda self: True
    traced = {"command.py", "memory.py", "folder.py", "work.py", "blocks.py", "approximate.py", "vector_file.py",
              "files.py", "unique_sentences.py"}

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
    generator, kills = random.Random(trials), 0
    for trial in range(trials):
        output = place(f"trial{trial}")
        while attempt(output, generator.randrange(total)) == signal.SIGKILL:
            kills += 1
        (output.parent / "lines").write_bytes((whole.parent / "lines").read_bytes())
        assert content(output) == content(whole), trial
    print(kills)
    """
)


LONG = [pytest.param(way, 30, marks=[pytest.mark.survival, pytest.mark.timeout(1800)]) for way in (False, True)]


@pytest.mark.slow
@pytest.mark.parametrize(("approximately", "trials"), [(False, 4), (True, 2), *LONG])
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


LARGE = pytest.param(True, 150_000_000, marks=pytest.mark.survival)


@pytest.mark.slow
@pytest.mark.parametrize(("approximately", "limit"), [(False, 100_000_000), LARGE])
def test_memory_stays_near_the_limit_whatever_the_size_of_the_files(tmp_path, approximately, limit):
    command = [sys.executable, "-c", MEMORY_USE, str(tmp_path), str(limit), str(approximately)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    # A chunk of 16,384 vectors to be written, its copies, and the pages that are read come on top. Read whole, the
    # vectors of "many" alone would bring 154 MB.
    assert 0 < int(result.stdout) < limit + 60_000_000
