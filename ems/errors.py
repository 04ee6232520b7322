"""The exceptions that commands report in one line, and the nearest valid word to name in such a line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: object, choices: Iterable[str], *, at_least: float = 0.0) -> str:
    """Return the choice that is spelled most like what was given, or "" where none is alike enough.

    Args:
        word: what was given; its spelling as `str` gives it.
        choices: what is valid.
        at_least: similarity to ask for, from 0 (any choice will do) to 1 (the same letters); see
            `difflib.get_close_matches`.
    """
    return next(iter(difflib.get_close_matches(str(word), list(choices), n=1, cutoff=at_least)), "")


class InputError(ValueError):
    """Report unusable arguments, configuration or input in one line a person can act on.

    The message names the file, the line and the key where there are such, the value found, and the nearest valid one.
    Commands print it without a traceback and exit with status 2.
    """


class RunError(RuntimeError):
    """Report in one line that a run failed while it ran; commands exit with status 1."""


class Interrupted(Exception):  # noqa: N818  (not an error: the work is saved)
    """Report that a signal stopped a run early, after its state was saved; commands exit with status 3."""


class ToldElsewhere(RunError):  # noqa: N818  (says where, as the others say what)
    """End a process whose reason another process of the same run has printed; this one prints nothing."""
