"""Whole figures as SVG, PNG and PDF: title, panels one under the other, caption and notes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure as MplFigure

from factviz.views.matrix_layout import first_panels
from factviz.views.painters import mpl_bars, mpl_lines, mpl_matrix, mpl_points
from factviz.views.painters.text import PLAIN, Writer, families
from factviz.views.spec import Figure, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAINTERS: dict[str, ModuleType] = {
    "matrix": mpl_matrix,
    "bars": mpl_bars,
    "lines": mpl_lines,
    "points": mpl_points,
}
DPI = 200
LEFT = 1.9  # inches kept for row labels; the file is cut to what is drawn
TITLE = 0.42  # inches for a panel's title
MOST_NOTES = 6
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": "black",
    "axes.facecolor": "none",
    "axes.labelcolor": "black",
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "pdf.fonttype": 42,  # text stays text, which journals ask for
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "factviz",  # the same figure gives the same bytes
    "text.color": "black",
    "text.usetex": False,
    "xtick.color": "black",
    "ytick.color": "black",
}
# No date and no generator's address: the bytes depend on the figure alone.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None},
    "png": {},
}


@contextmanager
def _style() -> Generator[None]:
    with mpl.rc_context({**_STYLE, "font.family": families()}), warnings.catch_warnings():
        # SVG text is drawn by the viewer's fonts; that ours lack a glyph matters to nobody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def _text_block(drawn: MplFigure, text: str, top: float, points: float, **style: Any) -> float:
    """Lines of text from `top` (inches from the top edge) down; gives where they end."""
    if not text:
        return top
    high = drawn.get_size_inches()[1]
    drawn.text(0, 1 - top / high, text, fontsize=points, va="top", ha="left", **style, **PLAIN)
    return top + (text.count("\n") + 1) * points * 1.35 / 72


def _footer(figure: Figure, write: Writer, width: int) -> str:
    spec = figure.spec
    choose = spec["choose"]
    lines: list[str] = []
    if choose:
        options = choose["options"]
        lines.append(f"{choose['label']} 1 of {len(options)}: {options[0]}")
    lines += [spec["caption"], *spec["notes"][:MOST_NOTES]]
    if (left := len(spec["notes"]) - MOST_NOTES) > 0:
        lines.append(f"{left} more note{'s' if left > 1 else ''}: see the saved page.")
    return "\n".join(write.wrapped(line, width, 500) for line in lines if line)


def _compose(figure: Figure, panels: list[Panel], write: Writer, *, texts: bool) -> MplFigure:
    sizes = [PAINTERS[panel["mark"]].size(figure, panel) for panel in panels]
    wide = LEFT + max(width for width, _ in sizes)
    over = [TITLE + PAINTERS[p["mark"]].above(figure, p, write) for p in panels]
    under = [PAINTERS[p["mark"]].below(figure, p, write) for p in panels]
    high = sum(height for _, height in sizes) + sum(over) + sum(under) + 2.5
    drawn = MplFigure(figsize=(wide, high))
    top = 0.0
    if texts:
        title = write.wrapped(figure.spec["title"], int(wide * 10), 300)
        top = _text_block(drawn, title, top, 11, fontweight="bold")
        top = _text_block(
            drawn, write.wrapped(figure.spec["subtitle"], int(wide * 14), 300), top, 8
        )
    for panel, (width, height), upper, lower in zip(panels, sizes, over, under, strict=True):
        top += upper
        box = (LEFT / wide, 1 - (top + height) / high, width / wide, height / high)
        PAINTERS[panel["mark"]].paint(drawn.add_axes(box), figure, panel, write)
        top += height + lower
    if texts:
        _text_block(drawn, _footer(figure, write, int(wide * 17)), top + 0.15, 6.5, color="0.3")
    return drawn


def _saved(drawn: MplFigure, kind: str, title: str) -> bytes:
    stream = io.BytesIO()
    metadata = _METADATA[kind] | {"Title": title}
    drawn.savefig(
        stream, format=kind, dpi=DPI, bbox_inches="tight", pad_inches=0.08, metadata=metadata
    )
    return stream.getvalue()


def render(figure: Figure, kind: str) -> bytes:
    """The figure (its first option and page) as the bytes of an svg, png or pdf."""
    write = Writer(viewer_fonts=kind == "svg")
    with _style():
        drawn = _compose(figure, first_panels(figure.spec), write, texts=True)
        return _saved(drawn, kind, write.text(figure.spec["title"], 300))


def panel_svg(figure: Figure, panel: Panel) -> bytes:
    """One panel as an SVG image on white."""
    write = Writer(viewer_fonts=True)
    with _style():
        drawn = _compose(figure, [panel], write, texts=False)
        return _saved(drawn, "svg", write.text(panel["title"], 300))


def plot(figure: Figure, ax: Axes | None = None) -> Axes:
    """Paint the first panel on `ax`, in the user's own style."""
    panel = first_panels(figure.spec)[0]
    painter = PAINTERS[panel["mark"]]
    if ax is None:
        width, height = painter.size(figure, panel)
        drawn = MplFigure(figsize=(width + LEFT + 0.8, height + 1.6))
        whole = drawn.get_size_inches()
        box = (LEFT / whole[0], 1 / whole[1], width / whole[0], height / whole[1])
        ax = drawn.add_axes(box)
    painter.paint(ax, figure, panel, Writer())
    return ax
