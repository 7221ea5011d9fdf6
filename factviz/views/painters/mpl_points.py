"""The mark *points* in matplotlib: classes by marker and letter, the outermost points named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from factviz.views.painters import classes
from factviz.views.painters.mpl_axes import frame, key
from factviz.views.painters.text import PLAIN, Writer
from factviz.views.spec import Figure, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEXT = 8.0
NAMED = 12  # points that carry their label, as far as there is room
LETTER = 5.0  # about as wide is a letter of a label, in points


def size(_figure: Figure, _panel: Panel) -> tuple[float, float]:
    """Width and height of the axes, in inches."""
    return 4.2, 3.6


def _outermost(x: np.ndarray, y: np.ndarray) -> list[int]:
    """The points furthest from zero, each axis in its own scale."""
    reach = [np.nanmax(np.abs(v), initial=0.0) or 1.0 for v in (x, y)]
    distance = np.nan_to_num(np.hypot(x / reach[0], y / reach[1]), nan=-1.0)
    return [int(i) for i in np.argsort(-distance, kind="stable")[:NAMED]]


def _with_room(ax: Axes, x: np.ndarray, y: np.ndarray, labels: list[str]) -> list[tuple[int, bool]]:
    """The outermost points whose labels do not cover one another, and whether to the left."""
    ax.autoscale_view()  # or places are asked for before the limits are known
    found: list[tuple[int, bool]] = []
    boxes: list[tuple[float, float, float]] = []
    for index in _outermost(x, y):
        if not (np.isfinite(x[index]) and np.isfinite(y[index])):
            continue
        left = bool(x[index] > (np.nanmin(x) + np.nanmax(x)) / 2)
        at, high = ax.transData.transform((x[index], y[index])) * 72 / ax.figure.dpi  # points
        wide = len(labels[index]) * LETTER + 4
        start = at - wide if left else at
        if all(
            abs(high - other) > TEXT or start + wide < begin or end < start
            for begin, end, other in boxes
        ):
            boxes.append((start, start + wide, high))
            found.append((index, left))
    return found


def _clouds(ax: Axes, x: np.ndarray, y: np.ndarray, kinds: list[str | None]) -> list[Any]:
    handles = []
    for name in [*classes.distinct(kinds), None]:
        chosen = [i for i, kind in enumerate(kinds) if (kind or None) == name]
        if chosen:
            marker, hue = classes.marker(name), classes.hue(name)
            painted = ax.scatter(
                x[chosen], y[chosen], s=18, marker=marker, color=hue, alpha=0.75, linewidths=0
            )
            handles.append(painted)
    return handles


def _axis_title(axis: dict[str, Any], write: Writer) -> str:
    unit = f" ({axis['unit']})" if axis.get("unit") else ""
    return write.text(f"{axis['title']}{unit}", 60)


def above(_figure: Figure, _panel: Panel, _write: Writer) -> float:
    """Room between the axes and the title, in inches."""
    return 0.1


def below(_figure: Figure, _panel: Panel, _write: Writer) -> float:
    """Room that ticks and axis title take under the axes, in inches."""
    return 0.4


def paint(ax: Axes, figure: Figure, panel: Panel, write: Writer) -> None:
    """Paint a points panel on `ax`."""
    x = figure.values(panel["x"]["values"]).astype(np.float64)
    y = figure.values(panel["y"]["values"]).astype(np.float64)
    kinds: list[str | None] = panel["classes"] or [None] * len(x)
    handles = _clouds(ax, x, y, kinds)
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0.5)
    ax.axvline(0, color="0.6", linewidth=0.6, zorder=0.5)
    labels = [write.text(label, 24) for label in panel["labels"]]
    for index, left in _with_room(ax, x, y, labels):
        ax.annotate(
            labels[index],
            (x[index], y[index]),
            xytext=(-4 if left else 4, 3),
            ha="right" if left else "left",
            textcoords="offset points",
            fontsize=TEXT - 1,
            **PLAIN,
        )
    ax.set_xlabel(_axis_title(panel["x"], write), fontsize=TEXT, **PLAIN)
    ax.set_ylabel(_axis_title(panel["y"], write), fontsize=TEXT, **PLAIN)
    rule = panel.get("rule")
    # A file has no slider, so the picture says which threshold it is drawn at.
    threshold = f", threshold {rule['threshold']:g}" if rule else ""
    frame(ax, write.text(panel["title"] + threshold, 90))
    names = [f"{classes.letter(k)}  {write.text(k, 32)}" for k in classes.distinct(kinds)]
    if names:
        names += ["no class"] * (len(handles) - len(names))
        key(ax, handles, names)
