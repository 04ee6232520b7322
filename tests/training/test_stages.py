"""Stages are timed when a stopwatch runs, and cost nothing when none does."""

from __future__ import annotations

import time

import pytest

from ems.training.stages import STAGES, stage, stopwatch


def test_time_is_given_to_its_stage_and_the_rest_to_other():
    with stopwatch() as seconds:
        for _ in range(2):
            with stage("encoder"):
                time.sleep(0.02)
        with stage("losses"):
            time.sleep(0.01)
        time.sleep(0.03)
    assert seconds.keys() == {*STAGES, "other"}
    assert seconds["encoder"] >= 0.04
    assert seconds["losses"] >= 0.01
    assert seconds["other"] >= 0.03
    assert seconds["backward"] == 0


def test_a_stage_that_fails_is_counted_and_its_error_passes():
    def fail():
        with stage("data"):
            time.sleep(0.01)
            raise KeyError

    with stopwatch() as seconds, pytest.raises(KeyError):
        fail()
    assert seconds["data"] >= 0.01


def test_without_a_stopwatch_nothing_is_kept():
    with stopwatch() as seconds:
        pass
    before = dict(seconds)
    with stage("encoder"):
        time.sleep(0.01)
    assert seconds == before
