"""Steps of variants are measured in turn with those of the reference, on text that is prepared already."""

from __future__ import annotations

from pathlib import Path

import pytest

from ems.data.preparation import prepare_corpus
from ems.experiments.runner import find_devices
from ems.experiments.step_seconds import seconds_of_a_step
from ems.experiments.variants import read_variants
from tests.experiments.test_command import shared, write_variants


@pytest.mark.slow
def test_a_variant_of_eight_layers_takes_longer_than_one_of_one_and_nothing_is_written(tmp_path: Path) -> None:
    paths = write_variants(tmp_path, full="", deep="model:\n  num_layers: 8\n")
    overrides = [key for key in shared(tmp_path) if not key.startswith("model.num_layers")]
    full, deep = read_variants(paths, overrides).values()
    prepare_corpus(full.config)
    (device,) = find_devices(1, "cpu")
    found = seconds_of_a_step([full, deep], full, overrides, device, rounds=5)
    assert found.keys() == {"full", "deep"}
    assert found["full"] == 1
    assert found["deep"] > 2
    assert not (tmp_path / "run").exists()
