"""How results show themselves, as a call or for the length of a ``with`` block."""

from __future__ import annotations

from types import TracebackType
from typing import Literal, get_args

from factviz.facts.errors import FactvizError

Display = Literal["html", "table", "png"]

_current: dict[str, Display] = {"display": "html"}


def display() -> Display:
    """The display in force."""
    return _current["display"]


class options:  # noqa: N801 - called like a function, and a context manager as well
    """Choose how a result is shown as the last line of a cell.

    Parameters
    ----------
    display
        ``"html"``: the interactive figure; ``"table"``: the coloured table alone, without scripts;
        ``"png"``: an image, where HTML is not shown.

    Raises
    ------
    FactvizError
        If `display` is none of these.

    Examples
    --------
    >>> options(display="png")          # from here on
    >>> with options(display="table"):  # inside only
    ...     display(attribution)
    """

    def __init__(self, *, display: Display) -> None:
        if display not in get_args(Display):
            known = ", ".join(map(repr, get_args(Display)))
            raise FactvizError(f"unknown display {display!r}: choose one of {known}")
        self._before: Display = _current["display"]
        self._chosen: Display = display
        _current["display"] = display

    def __enter__(self) -> options:
        _current["display"] = self._chosen
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current["display"] = self._before

    def __repr__(self) -> str:
        return f"options(display={self._chosen!r})"
