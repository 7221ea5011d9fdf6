"""The figure spec: what to draw, apart from how.

A spec is small JSON; numbers never stand in it but in one little-endian buffer, as
``{"array": k}``. The JavaScript and the matplotlib painters both read it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from factviz.views.colours import COLOURS

VERSION = 1

Panel = dict[str, Any]
Numbers = Float[np.ndarray, "..."] | Int[np.ndarray, "..."]


@dataclass
class Arrays:
    """Arrays packed one after the other, each with dtype, shape and byte offset."""

    index: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    buffer: bytearray = field(default_factory=bytearray)

    def add(self, values: Numbers) -> dict[str, int]:
        """Pack `values` (as float32, or int32 if whole) and return what stands for them."""
        array = np.asarray(values)
        kind = "int32" if array.dtype.kind in "iu" else "float32"
        packed = np.ascontiguousarray(array, dtype=np.dtype(kind).newbyteorder("<"))
        self.index.append({"dtype": kind, "shape": list(array.shape), "offset": len(self.buffer)})
        self.buffer += packed.tobytes()
        return {"array": len(self.index) - 1}


@dataclass(frozen=True)
class Figure:
    """A spec with its arrays."""

    spec: dict[str, Any]
    arrays: list[dict[str, Any]]
    buffer: bytes

    def transport(self) -> dict[str, Any]:
        """What travels beside the buffer."""
        return {"spec": self.spec, "arrays": self.arrays}

    def values(self, reference: dict[str, int]) -> Numbers:
        """The array that ``{"array": k}`` stands for."""
        entry = self.arrays[reference["array"]]
        dtype = np.dtype(entry["dtype"]).newbyteorder("<")
        count = int(np.prod(entry["shape"], dtype=np.int64))
        flat = np.frombuffer(self.buffer, dtype=dtype, count=count, offset=entry["offset"])
        return flat.reshape(entry["shape"]).astype(dtype.newbyteorder("="))


class FigureBuilder:
    """Collects panels, then makes the figure.

    Parameters
    ----------
    title, subtitle, caption
        Any text; painters show it as text.
    """

    def __init__(self, title: str, subtitle: str = "", caption: str = "") -> None:
        self.arrays = Arrays()
        self.notes: list[str] = []
        self._texts = {"title": title, "subtitle": subtitle, "caption": caption}

    def note(self, *sentences: str) -> None:
        """Say something under the figure, once."""
        self.notes += [text for text in sentences if text and text not in self.notes]

    def matrix(
        self,
        values: Float[np.ndarray, "page row column"],
        *,
        title: str,
        rows: dict[str, Any],
        columns: dict[str, Any],
        pages: dict[str, Any] | None = None,
        unit: str = "logits",
        order: str = "contribution",
        top: int | None = 20,
        limit: float | None = None,
        totals: bool = True,
    ) -> Panel:
        """A heatmap; `rows` are in layer order whatever `order` says."""
        return {
            "mark": "matrix",
            "title": title,
            "unit": unit,
            "pages": pages,
            "rows": rows,
            "columns": columns,
            "values": self.arrays.add(np.asarray(values, dtype=np.float32)),
            "totals": totals,
            "limit": limit,
            "order": order,
            "top": top,
            "detail": "matrix-row",
        }

    def bars(
        self,
        labels: Sequence[str],
        values: Float[np.ndarray, " bar"],
        *,
        title: str,
        unit: str = "logits",
        low: Float[np.ndarray, " bar"] | None = None,
        high: Float[np.ndarray, " bar"] | None = None,
        keys: Sequence[Any] | None = None,
        classes: Sequence[str | None] | None = None,
        total: bool = False,
    ) -> Panel:
        """Signed horizontal bars, with intervals where `low` and `high` are given.

        With `total`, the last bar is the sum of the others and is set apart.
        """
        return {
            "mark": "bars",
            "title": title,
            "unit": unit,
            "labels": list(labels),
            "keys": None if keys is None else list(keys),
            "values": self.arrays.add(values),
            "low": self._maybe(low),
            "high": self._maybe(high),
            "classes": None if classes is None else list(classes),
            "total": total,
        }

    def lines(
        self, x: Numbers, series: Sequence[dict[str, Any]], *, title: str, x_title: str, unit: str
    ) -> Panel:
        """Lines over `x`; a series is a dict of label, values, and low, high, class if any."""
        return {
            "mark": "lines",
            "title": title,
            "unit": unit,
            "x": {"title": x_title, "values": self.arrays.add(x)},
            "series": [
                {
                    "label": one["label"],
                    "values": self.arrays.add(one["values"]),
                    "low": self._maybe(one.get("low")),
                    "high": self._maybe(one.get("high")),
                    "class": one.get("class"),
                }
                for one in series
            ],
        }

    def points(
        self,
        x: dict[str, Any],
        y: dict[str, Any],
        labels: Sequence[str],
        *,
        title: str,
        keys: Sequence[Any] | None = None,
        classes: Sequence[str | None] | None = None,
    ) -> Panel:
        """Points; `x` and `y` are dicts of title, unit, values."""
        return {
            "mark": "points",
            "title": title,
            "x": x | {"values": self.arrays.add(x["values"])},
            "y": y | {"values": self.arrays.add(y["values"])},
            "labels": list(labels),
            "keys": None if keys is None else list(keys),
            "classes": None if classes is None else list(classes),
        }

    def _maybe(self, values: Numbers | None) -> dict[str, int] | None:
        return None if values is None else self.arrays.add(values)

    def figure(self, panels: list[list[Panel]], choose: dict[str, Any] | None = None) -> Figure:
        """The figure; one list of panels for each option of `choose`, else one list."""
        spec = {
            "version": VERSION,
            **self._texts,
            "notes": self.notes,
            "choose": choose,
            "colours": COLOURS,
            "panels": panels,
        }
        return Figure(spec, self.arrays.index, bytes(self.arrays.buffer))


def has_plus(figure: Figure, panel: Panel) -> bool:
    """Whether bars show the sign of positive values: shares and ranks are never negative."""
    sides = (panel[side] for side in ("values", "low", "high") if panel[side])
    return panel["unit"] == "logits" or any((figure.values(side) < 0).any() for side in sides)


def json_for_html(value: Any) -> str:
    """JSON that can stand in a script element: ASCII, with no character that HTML would read."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def figure_json(figure: Figure) -> str:
    """The whole figure as JSON for a script element, its buffer in base64."""
    packed = base64.b64encode(figure.buffer).decode("ascii")
    return json_for_html(figure.transport() | {"buffer": packed})
