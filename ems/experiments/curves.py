"""Accuracy of the variants over pairs seen and over seconds, as one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ems.experiments.table import Outcomes
from ems.training.figures import blank_figure, save_figure


def draw(outcomes: Outcomes, path: Path) -> bool:
    """Draw each variant's mean over seeds as a PNG.

    Args:
        outcomes: of one budget.
        path: file to write.

    Returns:
        False, with a line in the log, where matplotlib is not installed.
    """
    figure = blank_figure(12, 5)
    if figure is None:
        return False
    over_pairs, over_seconds = figure.subplots(1, 2, sharey=True)
    styles = ["-", "--", ":", "-."]
    for number, (name, own) in enumerate(outcomes.items()):
        mean = np.mean([outcome.curve for outcome in own], axis=0)  # (validations, 3)
        style = {"linestyle": styles[number // 10 % len(styles)], "marker": ".", "label": name}
        over_pairs.plot(mean[:, 0] / 1000, 100 * mean[:, 2], **style)
        over_seconds.plot(mean[:, 1], 100 * mean[:, 2], **style)
    over_pairs.set(xlabel="thousand pairs seen", ylabel="retrieval accuracy, %")
    over_seconds.set(xlabel="seconds of training")
    for axes in (over_pairs, over_seconds):
        axes.grid(alpha=0.3)
    over_seconds.legend(fontsize="small")
    save_figure(figure, path)
    return True
