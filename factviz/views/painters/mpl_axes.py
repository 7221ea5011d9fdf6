"""What lines and points share: a quiet frame, and a key whose labels are only text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from factviz.views.painters.text import PLAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEXT = 8.0
MOST_KEYS = 24


def frame(ax: Axes, title: str) -> None:
    """Two thin spines, small ticks, the title on the left."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        ax.spines[side].set_linewidth(0.5)
    ax.tick_params(labelsize=TEXT - 1, width=0.5, length=3)
    ax.set_title(title, loc="left", fontsize=TEXT + 1, fontweight="bold", pad=8, **PLAIN)


def key(ax: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A key to the right of `ax`."""
    handles, labels = handles[:MOST_KEYS], labels[:MOST_KEYS]
    # Numbers first: matplotlib drops labels with a leading underscore and reads "$" as formulas.
    legend = ax.legend(
        handles,
        list(map(str, range(len(labels)))),
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=TEXT,
        borderaxespad=0,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_usetex(False)
        text.set_text(label)
