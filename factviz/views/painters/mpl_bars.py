"""The mark *bars* in matplotlib: signed horizontal bars, with intervals where there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from factviz.results.shown import digits_for, number
from factviz.views import colours
from factviz.views.painters.text import PLAIN, Writer
from factviz.views.spec import Figure, Panel, has_plus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR = 0.2  # inches a bar, with the gap to the next
TEXT = 8.0
MOST_BARS = 60


def shown_bars(panel: Panel) -> int:
    """Bars that a file shows: all, up to 60."""
    return min(len(panel["labels"]), MOST_BARS)


def size(_figure: Figure, panel: Panel) -> tuple[float, float]:
    """Width and height of the axes, in inches."""
    return 4.2, max(1.0, (shown_bars(panel) + 1) * BAR)


def _intervals(ax: Axes, figure: Figure, panel: Panel, count: int) -> None:
    if not (panel["low"] and panel["high"]):
        return
    low, high = figure.values(panel["low"])[:count], figure.values(panel["high"])[:count]
    for row, (start, stop) in enumerate(zip(low, high, strict=True)):
        ax.plot([start, stop], [row, row], color="0.25", linewidth=1.0, zorder=3)


def _numbers(ax: Axes, values: np.ndarray, edges: np.ndarray, plus: bool) -> None:
    """Each value beyond the end of its bar (or of its interval)."""
    digits = digits_for(float(np.nanmax(np.abs(values), initial=0.0)))
    for row, (value, edge) in enumerate(zip(map(float, values), map(float, edges), strict=True)):
        ax.annotate(
            number(value, digits, sign=plus),
            (edge, row),
            xytext=(-3 if value < 0 else 3, 0),
            textcoords="offset points",
            ha="right" if value < 0 else "left",
            va="center",
            fontsize=TEXT - 1,
            **PLAIN,
        )


def _labels(ax: Axes, panel: Panel, count: int, write: Writer) -> None:
    classes = (panel["classes"] or [None] * count)[:count]
    labels = [
        write.text(label, 48) + (f"  {write.text(kind, 12)}" if kind else "")
        for label, kind in zip(panel["labels"][:count], classes, strict=True)
    ]
    more = len(panel["labels"]) - count
    ax.set_yticks(range(count))
    ax.set_yticklabels(labels, fontsize=TEXT, **PLAIN)
    unit = write.text(panel["unit"], 40) + (f" ({more} more are not drawn)" if more else "")
    ax.set_xlabel(unit, fontsize=TEXT, **PLAIN)


def above(_figure: Figure, _panel: Panel, _write: Writer) -> float:
    """Room between the axes and the title, in inches."""
    return 0.1


def below(_figure: Figure, _panel: Panel, _write: Writer) -> float:
    """Room that ticks and axis title take under the axes, in inches."""
    return 0.4


def paint(ax: Axes, figure: Figure, panel: Panel, write: Writer) -> None:
    """Paint a bars panel on `ax`."""
    count = shown_bars(panel)
    values = figure.values(panel["values"])[:count].astype(np.float64)
    painted = [colours.rgba(v, abs(v) or 1.0) for v in map(float, values)]
    ax.barh(np.arange(count), np.nan_to_num(values), height=0.72, color=painted)
    _intervals(ax, figure, panel, count)
    ends = [values]
    if panel["low"] and panel["high"]:
        ends += [figure.values(panel[side])[:count].astype(np.float64) for side in ("low", "high")]
    edges = np.where(values < 0, np.nanmin([*ends, values], 0), np.nanmax([*ends, values], 0))
    _numbers(ax, values, edges, has_plus(figure, panel))
    _labels(ax, panel, count, write)
    if panel["total"] and count == len(panel["labels"]):
        ax.axhline(count - 1.5, color="0.3", linewidth=0.6)
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.set_ylim(count - 0.4, -0.6)
    ax.margins(x=0.16)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=TEXT - 1, width=0.5, length=3)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_linewidth(0.5)
    ax.set_title(
        write.text(panel["title"], 90),
        loc="left",
        fontsize=TEXT + 1,
        fontweight="bold",
        pad=8,
        **PLAIN,
    )
