"""The one constant behind every painter: one hue for each sign.

The colour of a value is its sign's hue with an opacity that grows with |value|, over whatever
background there is, so that zero *is* the background and no painter asks which theme is on. Orange
and purple stay apart in all common colour-vision deficiencies; opacity stops where black and white
text both keep a contrast of 4.5 on it (tested).
"""

from __future__ import annotations

import math
from typing import TypedDict

RGB = tuple[int, int, int]


class Colours(TypedDict):
    """Hues as 0–255 red, green, blue, and the opacity of the largest value."""

    positive: list[int]
    negative: list[int]
    max_opacity: float


COLOURS: Colours = {"positive": [228, 104, 0], "negative": [122, 84, 206], "max_opacity": 0.7}

# Classes are told apart by letter and marker first; these hues repeat that.
CLASS_COLOURS: dict[str, RGB] = {"S": (0, 114, 178), "R": (213, 94, 0), "M": (0, 138, 98)}
OTHER_CLASS: RGB = (110, 110, 110)


def opacity(value: float, limit: float) -> float:
    """Opacity of a value when `limit` is drawn at full colour."""
    if not (math.isfinite(value) and limit > 0):
        return 0.0
    return COLOURS["max_opacity"] * min(1.0, abs(value) / limit)


def hue(value: float) -> list[int]:
    """The hue of the value's sign, 0–255."""
    return COLOURS["negative" if value < 0 else "positive"]


def css(value: float, limit: float) -> str:
    """``rgba(…)`` of a value.

    Written with a leading zero and without exponent: JupyterLab's sanitiser drops ``.43``.
    """
    red, green, blue = hue(value)
    return f"rgba({red},{green},{blue},{opacity(value, limit):.2f})"


def rgba(value: float, limit: float) -> tuple[float, float, float, float]:
    """Red, green, blue, opacity, each 0 to 1, of a value (for matplotlib)."""
    red, green, blue = hue(value)
    return (red / 255, green / 255, blue / 255, opacity(value, limit))
