"""Values that commands read from their arguments."""

from __future__ import annotations

import argparse

import pytest

from ems.arguments import memory, positive


def _read(kind, text):
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    return parser.parse_args([f"--value={text}"]).value


@pytest.mark.parametrize(
    ("text", "size"),
    [("2G", 2_000_000_000), ("1.5gb", 1_500_000_000), ("300M", 300_000_000), ("7", 7), ("64kb", 64_000)],
)
def test_sizes_are_read_with_decimal_units(text, size):
    assert memory(text) == size


@pytest.mark.parametrize("text", ["", "G", "2X", "-1G", "2 G", "1.2.3M", "nan", "10000000T", "9" + "0" * 400])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(argparse.ArgumentError, match="size such as 500M or 2G"):
        _read(memory, text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many"])
def test_what_is_no_positive_whole_number_is_refused(text):
    with pytest.raises(argparse.ArgumentError, match="positive whole number"):
        _read(positive, text)
