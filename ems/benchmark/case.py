"""What a speed benchmark is run with: a config, its text, and how often."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ems.benchmark.workload import Workload, random_workload, text_workload
from ems.config import Config, load_config


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

    def open(self, steps: int) -> tuple[Config, Workload]:
        """Load the config and make the batches of so many steps."""
        config = load_config(self.config, self.overrides)
        if self.text:
            return config, text_workload(config, [Path(path) for path in self.text], steps)
        return config, random_workload(config, steps, length=self.length, num_languages=self.languages)

    def to_json(self) -> str:
        """Write the case down for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Case:
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields | {name: tuple(fields[name]) for name in ("overrides", "text")})
