"""An empty figure to draw curves in, where matplotlib is installed."""

from __future__ import annotations

import logging
from typing import Any

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
