"""Figures to draw curves in, where matplotlib is installed, and how they are written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ems.files import atomic_write

logger = logging.getLogger(__name__)


def blank_figure(width: float, height: float) -> Any:
    """Return a matplotlib figure of so many inches that needs no screen.

    Returns:
        None, with a line in the log, where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        logger.warning('no curves: pip install "ems[report]" brings matplotlib')
        return None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=110)
