"""How many layers a knockout takes at once, where the user does not say."""

from __future__ import annotations

import operator
from collections.abc import Iterable

from factviz.facts.errors import FactvizError

_PAPER_LAYERS = 48  # GPT-2 XL, in which the papers' windows are counted


def scaled(layers: int, n_layers: int) -> int:
    """A number of the paper's 48 layers as one of this model's, at least 1."""
    return max(1, round(layers * n_layers / _PAPER_LAYERS))


def odd(width: int) -> int:
    """The width, one more where it is even: a window with a middle."""
    return width | 1


def checked_windows(asked: int | Iterable[int] | None, default: int) -> tuple[int, ...]:
    """The widths asked for, in their order, or the default.

    Raises
    ------
    FactvizError
        If there is none, one is no whole number of layers above 0, or one stands there twice.
    """
    if asked is None:
        return (default,)
    widths = tuple(map(_width, asked if isinstance(asked, Iterable) else (asked,)))
    if not widths or len(set(widths)) < len(widths):
        raise FactvizError(f"window={asked!r}: give one width or several different ones")
    return widths


def _width(asked: object) -> int:
    try:
        width = operator.index(asked)  # type: ignore[arg-type]
    except TypeError:
        width = 0
    if width < 1 or isinstance(asked, bool):
        raise FactvizError(f"window={asked!r} holds no layer: give a whole number from 1 on")
    return width
