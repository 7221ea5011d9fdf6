"""How classes look in matplotlib: letter and marker first, hue on top."""

from __future__ import annotations

from collections.abc import Sequence

from factviz.results.shown import shown
from factviz.views.colours import CLASS_COLOURS, OTHER_CLASS

_MARKERS = {"S": "o", "R": "s", "M": "D"}
# For series and points that have no class: apart in lightness too, so that grey prints work.
SERIES: tuple[str, ...] = ("#4b3fa0", "#d1670a", "#0b7f6d", "#a03070", "#6b6b6b", "#1f77b4")
DASHES: tuple[str, ...] = ("-", "--", "-.", ":")


def letter(name: str | None) -> str:
    """The letter of a class: S, R, M; a small one for any other name, as "suppressing" has."""
    if name in ("S", "R", "M", "subject", "relation", "mixed"):
        return name[0].upper()
    return shown(name or "")[:1].lower()


def marker(name: str | None) -> str:
    """Circle for S, square for R, diamond for M, triangle for the others."""
    return _MARKERS.get(letter(name), "^") if name else "o"


def hue(name: str | None) -> tuple[float, float, float]:
    """The class's colour, 0 to 1."""
    red, green, blue = CLASS_COLOURS.get(letter(name), OTHER_CLASS)
    return red / 255, green / 255, blue / 255


def distinct(classes: Sequence[str | None]) -> list[str]:
    """The classes that occur, in order."""
    return list(dict.fromkeys(kind for kind in classes if kind))
