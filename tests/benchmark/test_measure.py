"""What every benchmark rests on: rates, growth, and cases in processes of their own."""

from __future__ import annotations

import json

import pytest

from ems.benchmark.measure import growth_exponent, in_own_process, matmul_rate, print_case, seconds


@pytest.mark.parametrize("exponent", [0, 1, 1.5, 2])
def test_the_growth_exponent_is_the_slope_in_logarithms(exponent):
    sizes = [10, 100, 1000]
    assert growth_exponent(sizes, [7 * size**exponent for size in sizes]) == pytest.approx(exponent, abs=1e-9)


def test_the_matmul_rate_is_that_of_a_processor_and_not_of_a_clock_that_stands():
    assert 1e8 < matmul_rate(16, rows=64, repeats=3) < 1e14


def test_seconds_times_one_call():
    calls = []
    assert seconds(lambda: calls.append(1)) >= 0
    assert calls == [1]


def test_a_case_is_one_json_line_with_four_digits(capsys):
    print_case({"case": "c", "seconds": 1.234567, "bytes": 123456789})
    assert json.loads(capsys.readouterr().out) == {"case": "c", "seconds": 1.235, "bytes": 123456789}


def test_a_failing_case_is_an_error():
    with pytest.raises(RuntimeError, match=r"ems\.benchmark\.mining"):
        in_own_process("ems.benchmark.mining", "no number")
