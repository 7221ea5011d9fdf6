"""A result as a live widget: the saved figure's own painters, with the selection as a trait.

The figure travels as a small JSON spec and one buffer of bytes. There are no child widgets: hosts
other than Jupyter cannot show them.
"""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from factviz.results import presenter
from factviz.results.base import Result
from factviz.results.shown import shown
from factviz.views import bundle

_REOPENED = "A live view: it needs its kernel. Run this cell again, or show the result itself."


class ResultWidget(anywidget.AnyWidget):
    """The figure of a result, live.

    Attributes
    ----------
    figure
        ``{"spec": …, "arrays": …}``: what to draw, and where the numbers lie in `buffer`.
    buffer
        The numbers, little-endian.
    selection
        What is selected, ``{"panel": 0, "row": 28, "key": {"layer": 3, "head": 4}}``, or None. Set
        it to select from Python; observe it to follow the user.
    error
        What went wrong while the selection was handled; shown in the widget. ``""`` when nothing.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    figure = traitlets.Dict().tag(sync=True)
    buffer = traitlets.Bytes().tag(sync=True)
    selection = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)

    def __init__(self, figure: dict[str, Any], buffer: bytes, summary: str = "") -> None:
        self._summary = summary
        super().__init__(figure=figure, buffer=buffer)

    @traitlets.default("_esm")
    def _painters(self) -> str:
        # Not a class attribute: the bundle is read for the first widget, not for the import.
        return bundle.source()

    def __repr__(self) -> str:
        # Also the text/plain that a reopened notebook shows in the widget's place.
        return ". ".join(part for part in (self._summary, _REOPENED) if part)


def result_widget(result: Result) -> ResultWidget:
    """The live view of any result.

    Parameters
    ----------
    result
        What an analysis returned.

    Returns
    -------
    ResultWidget
        Shows itself as the last line of a cell; its `selection` is a trait.
    """
    figure, buffer = presenter.views().figure(result)
    title = figure["spec"].get("title", "")
    return ResultWidget(figure, buffer, summary=shown(str(title), limit=200))
