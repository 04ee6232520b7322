"""Implementations run in processes of their own, do what they are told, and end."""

from __future__ import annotations

import os

import numpy as np
import psutil
import pytest

from ems.benchmark.worker import Worker, workers
from ems.errors import InputError, RunError


def add_to(name, start):
    total = [start]

    def work(number):
        total[0] += number
        return name, total[0], os.getpid()

    return work


def hold(megabytes):
    return lambda _: float(np.ones(megabytes * 125_000).sum())


def refuse(name):
    raise InputError("no such thing")


def break_later():
    return lambda piece: 1 / piece


def test_workers_keep_their_state_apart_from_each_other():
    with workers(["a", "b"], add_to, 10) as running:
        assert running["a"].do(1)[:2] == ("a", 11)
        assert running["b"].do(5)[:2] == ("b", 15)
        name, total, process = running["a"].do(1)
    assert (name, total) == ("a", 12)
    assert process != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_peak_memory_is_that_of_the_worker():
    worker = Worker(hold, 400)
    before = worker.peak()
    worker.do(True)
    assert worker.peak() - before > 300e6
    worker.close()


def test_errors_come_back_as_what_they_are():
    with pytest.raises(InputError, match="no such thing"), workers(["x"], refuse):
        pass
    worker = Worker(break_later)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        worker.do(0)
    worker.close()


def test_a_worker_that_dies_is_reported():
    worker = Worker(os_exit)
    with pytest.raises(RuntimeError, match="a measured process ended"):
        worker.do(1)
    worker.close()


def os_exit():
    return os._exit


def fail_a_run():
    def work(_):
        raise RunError("step 3 is not finite")

    return work


def test_a_failed_run_says_so_in_its_own_words_and_an_ended_process_is_told():
    worker = Worker(fail_a_run)
    with pytest.raises(RunError, match=r"^step 3 is not finite$"):
        worker.do(1)
    killed = Worker(hold, 1)
    psutil.Process(killed._process.pid).kill()
    killed._process.join()
    with pytest.raises(RuntimeError, match="a measured process ended"):
        killed.do(1)
    for one in (worker, killed):
        one.close()
