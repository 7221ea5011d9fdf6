"""What every result is: labelled arrays with their provenance, that draw and save themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import xarray as xr

from factviz.results import presenter, tables
from factviz.results.files import checked_suffix, write_whole
from factviz.results.shown import shown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

TABLES = {".csv": tables.csv_bytes, ".parquet": tables.parquet_bytes}
PICTURES = (".html", ".svg", ".png", ".pdf")


def plain_json(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance as JSON would give it back, so that an opened result equals the saved one."""
    return json.loads(json.dumps(dict(provenance)))


class Result:
    """Labelled arrays and where they came from.

    Attributes
    ----------
    dataset
        The arrays (`xarray.Dataset`), positions and not token text as coordinates.
    provenance
        Model, weight hash, projection, modes, tokens and versions, as plain JSON.
    """

    kind: ClassVar[str] = "Result"

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        self.dataset = dataset
        self.provenance = plain_json(provenance)
        self.view_options: dict[str, Any] = {}

    def to_frame(self) -> pd.DataFrame:
        """The values as a tidy table."""
        raise NotImplementedError

    def _summary(self) -> list[str]:
        """The lines of the plain text, not yet made safe to print."""
        raise NotImplementedError

    def _with_view(self, **chosen: Any) -> Self:
        """The same result, drawn differently; nothing is copied."""
        twin = type(self)(self.dataset, self.provenance)
        # NumPy's numbers are no JSON, and the choices travel with a figure.
        plain = {n: v.item() if isinstance(v, np.generic) else v for n, v in chosen.items()}
        twin.view_options = self.view_options | plain
        return twin

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result to a file; the suffix says what kind.

        Parameters
        ----------
        path
            ``.html`` (interactive, self-contained, holds the arrays: `open_result` reads it),
            ``.svg``, ``.png``, ``.pdf`` (pictures), ``.csv``, ``.parquet`` (the tidy table).

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        FactvizError
            If the suffix is none of these, or the file cannot be written. An older file of that
            name is then still whole.
        """
        suffix = checked_suffix(path, (*PICTURES, *TABLES))
        if suffix in TABLES:
            return write_whole(path, TABLES[suffix](self.to_frame()))
        return write_whole(path, presenter.views().render(self, suffix))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the main panel with matplotlib, for people who restyle.

        Parameters
        ----------
        ax
            Where to draw; a new figure (never pyplot's) without it.
        """
        return presenter.views().plot(self, ax)

    def widget(self) -> Any:
        """The same view as a live widget, with its selection as a trait."""
        return presenter.widgets().result_widget(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return presenter.views().mimebundle(self, include, exclude)

    def _display_(self) -> Any:
        # marimo's hook: it does not run scripts in HTML, so it gets the widget.
        return self.widget()

    def __repr__(self) -> str:
        return "\n".join(shown(line, limit=400) for line in self._summary())
