"""What a speed benchmark is run with: a config, its text, and how often."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ems.benchmark.workload import Workload, random_workload, text_workload
from ems.config import Config, load_config
from ems.errors import InputError
from ems.inference import choose_device
from ems.model.dual_encoder import DualEncoder
from ems.training.build import build_model


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        config: YAML file.
        overrides: as after --set.
        text: corpus files; none draws random ids.
        length: tokens of every sentence, with random ids only; None takes the lengths of real text.
        languages: number of languages, with random ids only.
        rounds: counted steps of every implementation.
    """

    config: str
    overrides: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    length: int | None = None
    languages: int = 2
    rounds: int = 5

    def load(self) -> Config:
        """Load the config.

        Raises:
            InputError: it cannot be used, or the sentences would be cut.
        """
        config = load_config(self.config, self.overrides)
        if self.length is not None and self.length > config.model.max_tokens:
            raise InputError(f"--length {self.length} is above model.max_tokens {config.model.max_tokens}")
        return config

    def open(self, steps: int) -> tuple[Config, Workload]:
        """Load the config and make the batches of so many steps."""
        config = self.load()
        if self.text:
            return config, text_workload(config, [Path(path) for path in self.text], steps)
        return config, random_workload(config, steps, length=self.length, num_languages=self.languages)

    def device(self, config: Config) -> torch.device:
        """Return the device of the config."""
        return choose_device(None if config.run.device == "auto" else config.run.device)

    def model(self, config: Config, workload: Workload) -> DualEncoder:
        """Build the model with its initial weights on its device."""
        return build_model(config, workload.vocab_size, workload.num_languages).to(self.device(config))

    @contextmanager
    def with_tokenizer(self) -> Iterator[Case]:
        """Yield the case with a tokenizer that needs not be trained anew by every process that opens it."""
        if not self.text:
            yield self
            return
        with tempfile.TemporaryDirectory() as folder:
            _, workload = self.open(1)
            assert workload.tokenizer is not None
            workload.tokenizer.save(folder)
            yield replace(self, overrides=(*self.overrides, f"tokenizer.model={folder}"))
