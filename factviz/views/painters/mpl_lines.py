"""The mark *lines* in matplotlib: series over x, each with its band where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factviz.views.painters import classes
from factviz.views.painters.mpl_axes import frame, key
from factviz.views.painters.text import PLAIN, Writer
from factviz.views.spec import Figure, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEXT = 8.0
MARKERS = 40  # longer lines carry no marker at every point


def size(_figure: Figure, _panel: Panel) -> tuple[float, float]:
    """Width and height of the axes, in inches."""
    return 4.6, 2.7


def _style(series: dict[str, Any], index: int) -> dict[str, Any]:
    kind = series["class"]
    colour = classes.hue(kind) if kind else classes.SERIES[index % len(classes.SERIES)]
    dash = "-" if kind else classes.DASHES[index % len(classes.DASHES)]
    return {"color": colour, "linestyle": dash, "linewidth": 1.4}


def above(_figure: Figure, _panel: Panel, _write: Writer) -> float:
    """Room between the axes and the title, in inches."""
    return 0.1


def below(_figure: Figure, _panel: Panel, _write: Writer) -> float:
    """Room that ticks and axis title take under the axes, in inches."""
    return 0.4


def paint(ax: Axes, figure: Figure, panel: Panel, write: Writer) -> None:
    """Paint a lines panel on `ax`."""
    x = figure.values(panel["x"]["values"])
    handles, labels = [], []
    for index, series in enumerate(panel["series"]):
        style = _style(series, index)
        marker = classes.marker(series["class"]) if len(x) <= MARKERS else ""
        (line,) = ax.plot(x, figure.values(series["values"]), marker=marker, markersize=3, **style)
        if series["low"] and series["high"]:
            low, high = figure.values(series["low"]), figure.values(series["high"])
            ax.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
        handles.append(line)
        prefix = f"{classes.letter(series['class'])}  " if series["class"] else ""
        labels.append(prefix + write.text(series["label"], 40))
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0.5)
    ax.set_xlabel(write.text(panel["x"]["title"], 60), fontsize=TEXT, **PLAIN)
    ax.set_ylabel(write.text(panel["unit"], 60), fontsize=TEXT, **PLAIN)
    frame(ax, write.text(panel["title"], 90))
    if len(handles) > 1 or labels[0].strip():
        key(ax, handles, labels)
