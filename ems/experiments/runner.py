"""Train the runs of an experiment, one process a device, and skip what is done."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ems.errors import InputError, Interrupted, RunError
from ems.experiments.variants import Run
from ems.training.run_folder import check_run_folder

logger = logging.getLogger(__name__)

_STOPPED = 3
_PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(frozen=True)
class Device:
    """A place for one run at a time: a GPU, or some cores of the CPU.

    Attributes:
        environment: variables of its processes.
        cores: cores that its processes keep to; empty keeps to none.
    """

    environment: dict[str, str]
    cores: tuple[int, ...] = ()


def find_devices(jobs: int | None, device: str) -> list[Device]:
    """List the places where runs can take turns.

    Args:
        jobs: how many; None takes every GPU, or the whole CPU as one. A run has a thread for each core of its share, or
            fewer where OMP_NUM_THREADS says so.
        device: `run.device` of the configs; "cpu" leaves GPUs alone.

    Raises:
        InputError: more jobs than GPUs, or than cores.
    """
    import torch

    gpus = torch.cuda.device_count() if device != "cpu" else 0
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    limit, name = (gpus, "GPUs") if gpus else (len(cores), "cores")
    count = jobs if jobs is not None else max(1, gpus)
    if count > limit:
        raise InputError(f"--jobs {count}, but there are {limit} {name}")
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        return [Device({"CUDA_VISIBLE_DEVICES": number}) for number in visible[:count]]
    size = len(cores) // count
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    threads = min(size, int(wanted)) if wanted.isdecimal() and int(wanted) else size
    shares = [tuple(cores[i * size : (i + 1) * size]) for i in range(count)]
    return [Device({"OMP_NUM_THREADS": str(threads)}, share) for share in shares]


def is_done(run: Run, shared: Sequence[str]) -> bool:
    """Say whether a run is finished.

    Raises:
        InputError: its folder holds a run of another config.
    """
    from ems.config import load_config

    config = load_config(run.variant.path, run.overrides(shared))
    check_run_folder(config, resume=True)
    return (run.folder / "scores.json").is_file()


# Looked up here: a process that was forked beside other threads may do little more than call the system.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def _end_with_the_experiment() -> None:
    """Have Linux send SIGTERM to this process, a run about to start, when the thread that started it is gone.

    That thread waits for the run, so it goes first only where the experiment is killed. The signal then comes once for
    each thread that inherits the run and dies, too: the run may end at once, and goes on from its last checkpoint.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class _Workers:
    """Threads that each keep one device busy with the runs of one queue."""

    def __init__(self, runs: Sequence[Run], devices: Sequence[Device], shared: Sequence[str]) -> None:
        self.failed: list[Run] = []
        self.error: OSError | None = None  # what kept a run from being started
        self.stopping = threading.Event()
        self._shared = shared
        self._waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()
        for run in runs:
            self._waiting.put(run)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._threads = [threading.Thread(target=self._work, args=pair, daemon=True) for pair in enumerate(devices)]
        # Not `join`: one that an exception of a signal handler leaves takes the thread for ended from then on.
        self._ended = [threading.Event() for _ in devices]

    def _work(self, place: int, device: Device) -> None:
        try:
            self._take_turns(place, device)
        except OSError as error:
            self.error = error
            self.stopping.set()
        finally:
            self._ended[place].set()

    def _take_turns(self, place: int, device: Device) -> None:
        while not self.stopping.is_set():
            try:
                run = self._waiting.get_nowait()
            except queue.Empty:
                return
            status = self._train(place, run, device)
            if self.stopping.is_set():
                return
            if status == _STOPPED:  # somebody stopped that run alone; the experiment can be started again
                self.stopping.set()
            elif status != 0:
                self.failed.append(run)
                logger.warning("%s failed; %s says why", run.folder, _log(run))
            else:
                logger.info("%s is done, %d wait", run.folder, self._waiting.qsize())

    def _train(self, place: int, run: Run, device: Device) -> int:
        command = [sys.executable, "-m", "ems.cli", "train", "--resume", "--config", str(run.variant.path)]
        command += ["--set", *run.overrides(self._shared)]
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        with open(_log(run), "ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | device.environment,
                preexec_fn=_end_with_the_experiment,
                start_new_session=True,  # a Ctrl-C at the terminal reaches the experiment, which passes it on once
            )
            self._processes[place] = process
            if self.stopping.is_set():  # a signal came while it started, and passed it by
                process.send_signal(signal.SIGTERM)
            if device.cores and hasattr(os, "sched_setaffinity"):
                with contextlib.suppress(ProcessLookupError):  # it has ended already
                    os.sched_setaffinity(process.pid, device.cores)
            return process.wait()

    def run(self) -> None:
        """Work until nothing waits, or until a signal comes."""
        for thread in self._threads:
            thread.start()
        try:
            self._wait()
        except BaseException:
            self.stopping.set()
            for process in list(self._processes.values()):
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            self._wait()
            raise

    def _wait(self) -> None:
        for ended in self._ended:
            ended.wait()


def _log(run: Run) -> Path:
    return run.folder.parent / f"{run.folder.name}.log"


def train_all(runs: Sequence[Run], devices: Sequence[Device], shared: Sequence[str]) -> None:
    """Train every run that is not finished; an unfinished one goes on where it stopped.

    Args:
        runs: in the order in which they start.
        devices: each has one run at a time.
        shared: overrides of all runs.

    Raises:
        InputError: a run folder holds something else; nothing was started.
        RunError: runs failed; the others are done.
        OSError: a run could not be started, or its log not be written; those under way were finished.
        Interrupted: a signal came; the same command goes on.
    """
    left = [run for run in runs if not is_done(run, shared)]
    if not left:
        return
    logger.info("%d of %d runs to do, %d at a time", len(left), len(runs), len(devices))
    workers = _Workers(left, devices, shared)
    try:
        workers.run()
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same command goes on") from None
    if workers.error is not None:
        raise workers.error
    if workers.failed:
        names = ", ".join(str(run.folder) for run in workers.failed)
        raise RunError(f"{len(workers.failed)} runs failed, all others are done: {names}")
    if workers.stopping.is_set():
        raise Interrupted("a run was stopped; the same command goes on")
