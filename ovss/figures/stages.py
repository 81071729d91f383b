"""What methods change, on one diagram of the way through the model."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.patches import FancyBboxPatch

from ovss.errors import InputError
from ovss.figures.style import LINES, WIDTH, Plot, new_figure, plain, styled

_ROW = 0.7
"""Height of a stage in inches."""
_FIRST = 1.25
"""Width of the column of stages, in columns of methods."""


@styled
def stage_figure(stages: Sequence[str], changes: Mapping[str, Mapping[str, str]]) -> Plot:
    """The stages of a pass from top to bottom, and beside each what a method does there.

    Args:
        stages: Names in the order in which a token passes them.
        changes: Method -> stage -> what it changes, in few words; a stage that is not named stays as it is.

    Returns:
        The figure, and a frame (method, stage, change).

    Raises:
        InputError: A method changes a stage that is not there.
    """
    rows = [
        {"method": method, "stage": stage, "change": change}
        for method, found in changes.items()
        for stage, change in found.items()
    ]
    for row in rows:
        if row["stage"] not in stages:
            raise InputError(f"'{row['method']}' changes stage '{row['stage']}', which is none of {', '.join(stages)}")
    figure = new_figure(_ROW * (len(stages) + 0.5))
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_xlim(0, _FIRST + len(changes))
    axis.set_ylim(len(stages), -0.5)
    letters = int(14.5 * WIDTH / (_FIRST + len(changes)))
    for number, stage in enumerate(stages):
        _box(axis, 0, number, _FIRST, plain(stage, int(_FIRST * letters)), "0.93", "0.35")
        if number:
            arrow = {"arrowstyle": "-|>", "color": "0.35", "linewidth": 0.9}
            axis.annotate("", (_FIRST / 2, number + 0.12), (_FIRST / 2, number - 0.12), arrowprops=arrow)
    for column, (method, found) in enumerate(changes.items()):
        left, colour = _FIRST + column, LINES[column % len(LINES)]
        axis.text(left + 0.5, -0.22, plain(method), ha="center", va="center", color=colour, weight="bold", fontsize=8)
        axis.plot([left + 0.5] * 2, [0.05, len(stages) - 0.05], color="0.85", linewidth=1, zorder=0)
        for stage, change in found.items():
            _box(axis, left, stages.index(stage), 1, plain(change, letters, lines=4), "white", colour)
    return Plot(figure, pd.DataFrame(rows, columns=["method", "stage", "change"]))


def _box(axis, left: float, row: int, width: float, text: str, face: str, edge: str) -> None:
    box = FancyBboxPatch(
        (left + 0.06, row + 0.14),
        width - 0.12,
        0.72,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=face,
        edgecolor=edge,
        linewidth=1.1,
    )
    axis.add_patch(box)
    axis.text(left + width / 2, row + 0.5, text, ha="center", va="center", fontsize=6.1, linespacing=1.05)
