"""The mark *matrix* in matplotlib: rows × columns, brackets above, totals beside and below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from factviz.results.shown import digits_for, number
from factviz.views import colours
from factviz.views.matrix_layout import Layout, layout, runs
from factviz.views.painters.text import PLAIN, Writer
from factviz.views.spec import Figure, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = (0.42, 0.2)  # inches
MOST_ROWS = 60
MOST_COLUMNS = 48
LONGEST_GROUP = 18
GAP = 0.35  # between the cells and their totals, in cells
TEXT = 8.0
# A path a cell keeps small figures sharp at any size; a large one would be a slow file.
MOST_PATHS = 4000


def matrix_layout(figure: Figure, panel: Panel, page: int = 0) -> Layout:
    """The part that files show; all of `top` rows if that many were asked for."""
    most = max(MOST_ROWS, panel["top"] or 0)
    return layout(figure, panel, page=page, most_rows=most, most_columns=MOST_COLUMNS)


def size(figure: Figure, panel: Panel) -> tuple[float, float]:
    """Width and height of the axes, in inches."""
    found = matrix_layout(figure, panel)
    rows, columns = len(found.rows), len(found.columns)
    return (columns + GAP + 1.4) * CELL[0], (rows + GAP + 1 + 1.1) * CELL[1]


def _fits(text: str, columns: int) -> bool:
    """Whether a group's name has room over its columns; else it stands slanted."""
    return len(text) * 0.06 <= columns * CELL[0]


def above(figure: Figure, panel: Panel, write: Writer) -> float:
    """Room that brackets and group names take over the axes, in inches."""
    found = runs([column.group for column in matrix_layout(figure, panel).columns])
    texts = [(write.text(name, LONGEST_GROUP), stop - start) for name, start, stop in found]
    slanted = [len(text) for text, columns in texts if not _fits(text, columns)]
    return 0.2 + max(slanted, default=0) * 0.06 * 0.5


def below(figure: Figure, panel: Panel, write: Writer) -> float:
    """Room that the slanted token labels take under the axes, in inches."""
    longest = max(map(len, _column_names(matrix_layout(figure, panel), write)))
    return 0.1 + longest * 0.065 * 0.71


def _cells(ax: Axes, found: Layout) -> None:
    rows, columns = found.values.shape
    painted = np.array([[colours.rgba(float(v), found.limit) for v in row] for row in found.values])
    mesh = ax.pcolormesh(np.arange(columns + 1), np.arange(rows + 1), painted, linewidth=0)
    mesh.set_rasterized(rows * columns > MOST_PATHS)
    for edge in range(columns + 1):
        ax.plot([edge, edge], [0, rows], color="0.5", alpha=0.18, linewidth=0.5, zorder=0.5)
    for edge in range(rows + 1):
        ax.plot([0, columns], [edge, edge], color="0.5", alpha=0.18, linewidth=0.5, zorder=0.5)


def _totals(ax: Axes, found: Layout) -> None:
    rows, columns = found.values.shape
    digits = digits_for(float(np.abs(found.row_totals).max(initial=0.0)))
    right, below = columns + GAP + 1.1, rows + GAP + 0.5
    style: dict[str, Any] = {"fontsize": TEXT - 1, "va": "center", **PLAIN}
    for row, value in enumerate(found.row_totals):
        ax.text(right, row + 0.5, number(float(value), digits), ha="right", **style)
    for column, value in enumerate(found.column_totals):
        ax.text(column + 0.5, below, number(float(value), digits), ha="center", **style)
    ax.text(right, below, number(found.total, digits), ha="right", fontweight="bold", **style)
    ax.text(right, -0.5, "total", ha="right", **style)


def _brackets(ax: Axes, found: Layout, write: Writer) -> None:
    for name, start, stop in runs([column.group for column in found.columns]):
        if not name:
            continue
        left, right = start + 0.12, stop - 0.12
        ax.plot([left, left, right, right], [-0.2, -0.4, -0.4, -0.2], color="0.4", linewidth=0.8)
        text = write.text(name, LONGEST_GROUP)
        fits = _fits(text, stop - start)
        ax.text(
            (left + right) / 2 if fits else left,
            -0.6,
            text,
            ha="center" if fits else "left",
            va="bottom",
            rotation=0 if fits else 30,
            rotation_mode="anchor",
            fontsize=TEXT,
            **PLAIN,
        )


def _column_names(found: Layout, write: Writer) -> list[str]:
    return [write.text(c.label, 24) if c.rest else write.token(c.label, 18) for c in found.columns]


def _labels(ax: Axes, panel: Panel, found: Layout, write: Writer) -> None:
    rows, columns = found.values.shape
    places, names = [*(np.arange(rows) + 0.5)], [write.text(r.label, 24) for r in found.rows]
    if panel["totals"]:
        places.append(rows + GAP + 0.5)
        names.append(f"all {found.count} {write.text(panel['rows']['title'], 20)}s")
    ax.set_yticks(places)
    ax.set_yticklabels(names, fontsize=TEXT, **PLAIN)
    ax.set_xticks(np.arange(columns) + 0.5)
    turned = {"rotation": 45, "ha": "right", "va": "top", "rotation_mode": "anchor"}
    ax.set_xticklabels(_column_names(found, write), fontsize=TEXT, **turned, **PLAIN)
    ax.tick_params(length=0, pad=3)


def _inches(ax: Axes) -> tuple[float, float]:
    """The width and height of the axes as they stand."""
    box, drawn = ax.get_position(), ax.get_figure(root=True)
    whole = drawn.get_size_inches() if drawn is not None else (6.4, 4.8)
    return box.width * whole[0], box.height * whole[1]


def _scale(ax: Axes, panel: Panel, found: Layout, write: Writer) -> None:
    """A key to the colours, to the right of the totals."""
    height = min(len(found.rows), 12) * CELL[1]
    wide, high = _inches(ax)
    key = ax.inset_axes((1 + 0.2 / wide, 0.5 - height / high / 2, 0.13 / wide, height / high))
    levels = np.linspace(found.limit, -found.limit, 101)
    ramp = np.array([[colours.rgba(float(v), found.limit)] for v in levels])
    key.imshow(ramp, aspect="auto", extent=(0, 1, -found.limit, found.limit))
    digits = digits_for(found.limit)
    key.set_xticks([])
    key.yaxis.tick_right()
    key.yaxis.set_label_position("right")
    ticks = [-found.limit, 0.0, found.limit]
    key.set_yticks(ticks)
    key.set_yticklabels(
        [number(t, digits if t else 0, sign=True) for t in ticks], fontsize=TEXT - 1
    )
    key.set_ylabel(write.text(panel["unit"], 40), fontsize=TEXT - 1, **PLAIN)
    for spine in key.spines.values():
        spine.set_linewidth(0.4)
    key.tick_params(length=2, width=0.4, pad=2)


def paint(ax: Axes, figure: Figure, panel: Panel, write: Writer) -> None:
    """Paint the first page of a matrix panel on `ax`."""
    found = matrix_layout(figure, panel)
    rows, columns = found.values.shape
    _cells(ax, found)
    _brackets(ax, found, write)
    if panel["totals"]:
        _totals(ax, found)
    _labels(ax, panel, found, write)
    ax.set_xlim(0, columns + GAP + 1.4)
    ax.set_ylim(rows + GAP + 1, -1.1)
    for spine in ax.spines.values():
        spine.set_visible(False)
    _scale(ax, panel, found, write)
    pages = panel["pages"]
    title = panel["title"] + (f": {pages['options'][0]}" if pages else "")
    style = {"fontsize": TEXT + 1, "fontweight": "bold"}
    pad = above(figure, panel, write) * 72
    ax.set_title(write.text(title, 90), loc="left", pad=pad, **style, **PLAIN)
