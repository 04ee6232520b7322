"""Sizes in messages, and that the size asked for is enough."""

from __future__ import annotations

import re

import pytest

from ems.arguments import memory
from ems.errors import InputError
from ems.mine_files.memory import rows_at_a_time, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1K"),
        (71_840, "71.9K"),
        (50_000_000, "50M"),
        (2_000_000_001, "2.01G"),
        (7e12, "7T"),
        (5e15, "5000T"),
    ],
)
def test_sizes_have_a_unit_that_fits_and_are_rounded_up(size, text):
    assert size_text(size) == text
    assert memory(text) >= size


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize("num_rows", [2, 210, 54_321, 10**8])
def test_the_memory_that_a_message_asks_for_is_enough(num_rows, approximate):
    with pytest.raises(InputError, match="memory 1K is too little") as caught:
        rows_at_a_time(1000, num_rows, 4, 100, approximate)
    needed = re.search(rf"{num_rows} sentences need ([0-9.]+[KMGT]?)$", str(caught.value)).group(1)
    assert rows_at_a_time(memory(needed), num_rows, 4, 100, approximate) >= 256
