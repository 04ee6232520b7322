"""The run folder: claimed by one run, refused to any other."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ems.config import Config, dump_config, load_config, with_max_tokens
from ems.errors import InputError
from ems.files import atomic_write

logger = logging.getLogger(__name__)

# What may change when a run goes on: where it runs, how often it saves, how steps are cut to fit into memory, and what
# becomes of a step that would stop it; never what a good step computes.
_FREE_ON_RESUME = {
    "batching.max_tokens",
    "run.device",
    "run.folder",
    "corpus.workers",
    "training.checkpoint_every_steps",
    "training.keep_checkpoints",
    "training.max_skipped_steps",
    "training.spike_factor",
}


WRITTEN = ("config.yaml", "metrics.jsonl", "scores.json", "report.md", "curves.png", "model")


def _flat(config: Config) -> dict[str, object]:
    return {
        f"{section}.{key}": value
        for section, values in config.model_dump(mode="json").items()
        for key, value in values.items()
    }


def as_started(config: Config, folder: Path) -> Config:
    """Replace `batching.max_tokens: auto` by the number that the run in `folder` has used so far, if it has one."""
    path = folder / "config.yaml"
    if config.batching.max_tokens != "auto" or not path.exists():
        return config
    used = load_config(path).batching.max_tokens
    if used is None:
        return config
    logger.info("batching.max_tokens: %s, as before", used)
    return with_max_tokens(config, used)


def _refuse_other_config(path: Path, config: Config) -> None:
    then, now = _flat(load_config(path)), _flat(config)

    def shown(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)  # as YAML has it

    for key, value in now.items():
        if value != then[key] and key not in _FREE_ON_RESUME:
            raise InputError(
                f"--resume: {key} is {shown(value)}, but the run in {path.parent} was started with {shown(then[key])}; "
                "set it back, or start anew in another run.folder (docs/reliability.md lists what may change)"
            )
    for key, value in now.items():
        if value != then[key] and key not in ("run.folder", "batching.max_tokens"):
            logger.info("%s: %s, was %s", key, shown(value), shown(then[key]))


def check_run_folder(config: Config, *, resume: bool) -> Path:
    """Say whether this run may use its folder; writes nothing.

    Args:
        config: complete configuration.
        resume: go on in a folder that holds this run already; without one, start it.

    Returns:
        The run folder.

    Raises:
        InputError: the folder holds another run, or the same one and `resume` is False, or it cannot be written.
    """
    folder = Path(config.run.folder)
    path = folder / "config.yaml"
    if path.exists() and not resume:
        raise InputError(f"{folder} already holds a run; continue it with --resume or choose another run.folder")
    if path.exists():
        _refuse_other_config(path, config)
    for name in ("model", "checkpoints", "metrics.jsonl"):
        if not path.exists() and (folder / name).exists():
            raise InputError(f"{folder} holds {name} but no config.yaml of a run; choose another run.folder")
    above = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"run.folder {folder} cannot be written")
    return folder


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep the run folder to this process; the lock ends with the process, however it ends.

    Raises:
        InputError: another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a")  # noqa: SIM115  (closed below; opening is what may fail)
    except OSError as error:
        raise InputError(f"run.folder {folder} cannot be written: {error.strerror or error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another process is using run.folder {folder}") from None
        yield


def claim_run_folder(config: Config) -> None:
    """Make the run folder and write the resolved config into it, which marks it as taken.

    Raises:
        InputError: it cannot be written.
    """
    folder = Path(config.run.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / "config.yaml", "w") as file:
            file.write(dump_config(config))
    except OSError as error:
        raise InputError(f"run.folder {folder} cannot be written: {error.strerror or error}") from None
