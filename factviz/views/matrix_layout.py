"""Which rows and columns of a matrix a picture shows, and what is summed up beside them.

Shared by the table and the matplotlib painter, so that they show the same figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from factviz.views.spec import Figure, Panel


@dataclass(frozen=True)
class Line:
    """A row or a column: its label, the indices it sums over, and (columns) its group."""

    label: str
    members: tuple[int, ...]
    group: str = ""
    rest: bool = False


@dataclass(frozen=True)
class Layout:
    """The shown part of one page.

    Attributes
    ----------
    values
        [row, column] contributions; a rest row or column is a sum, or 0 where sums mean nothing.
        There NaN stays, for a cell that was not measured.
    row_totals, column_totals
        Over *all* columns and *all* rows, whatever is shown.
    total
        The sum of everything.
    limit
        The value at full colour.
    sums
        Whether adding up values means anything (contributions yes, probabilities no).
    """

    rows: list[Line]
    columns: list[Line]
    values: Float[np.ndarray, "row column"]
    row_totals: Float[np.ndarray, " row"]
    column_totals: Float[np.ndarray, " column"]
    total: float
    limit: float
    count: int
    sums: bool

    def unsaid(self, row: Line, column: Line) -> bool:
        """Whether a cell stands for several values that have no sum."""
        return not self.sums and (row.rest or column.rest)


def column_groups(panel: Panel) -> list[str]:
    """The group name of each column, ``""`` where none is given."""
    names = [""] * len(panel["columns"]["labels"])
    for group in panel["columns"].get("groups") or []:
        for position in group["positions"]:
            names[position] = group["name"]
    return names


def _rows(panel: Panel, values: Float[np.ndarray, "row column"], most: int) -> list[Line]:
    labels = panel["rows"]["labels"]
    order = np.arange(len(labels))
    strength = np.abs(values.sum(axis=1))
    best = np.argsort(-strength, kind="stable")
    top = min(most, panel["top"] or len(labels))
    chosen = best[:top] if panel["order"] == "contribution" else np.sort(best[:top])
    lines = [Line(labels[i], (int(i),)) for i in chosen]
    rest = np.setdiff1d(order, chosen)
    if len(rest):
        word = panel["rows"]["title"]
        name = f"{len(rest)} more {word}{'s' if len(rest) > 1 else ''}"
        lines.append(Line(name, tuple(map(int, rest)), rest=True))
    return lines


def _columns(panel: Panel, values: Float[np.ndarray, "row column"], most: int) -> list[Line]:
    """All columns, or those with most in them, in order, and one for the others."""
    labels, groups = panel["columns"]["labels"], column_groups(panel)
    chosen = np.arange(len(labels))
    if len(labels) > most:
        weight = np.abs(values).sum(axis=0)
        chosen = np.sort(np.argsort(-weight, kind="stable")[:most])
    lines = [Line(labels[i], (int(i),), groups[i]) for i in chosen]
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    if len(rest):
        lines.append(Line(f"{len(rest)} other tokens", tuple(map(int, rest)), rest=True))
    return lines


def layout(
    figure: Figure, panel: Panel, *, page: int = 0, most_rows: int = 30, most_columns: int = 40
) -> Layout:
    """Lay out one page of a matrix panel."""
    measured = figure.values(panel["values"])[page].astype(np.float64)
    values = np.nan_to_num(measured)
    rows, columns = _rows(panel, values, most_rows), _columns(panel, values, most_columns)
    sums = bool(panel["totals"])

    def cell(row: Line, column: Line) -> float:
        if sums:
            return values[np.ix_(row.members, column.members)].sum()
        return 0.0 if row.rest or column.rest else measured[row.members[0], column.members[0]]

    shown = np.array([[cell(r, c) for c in columns] for r in rows], dtype=np.float64)
    shown = shown.reshape(len(rows), len(columns))
    return Layout(
        rows=rows,
        columns=columns,
        values=shown,
        row_totals=np.array([values[list(r.members)].sum() for r in rows]),
        column_totals=np.array([values[:, list(c.members)].sum() for c in columns]),
        total=float(values.sum()),
        limit=float(panel["limit"] or np.abs(values).max(initial=0.0) or 1.0),
        count=len(values),
        sums=sums,
    )


def runs(names: list[str]) -> list[tuple[str, int, int]]:
    """Neighbours of one name: (name, first, one past the last)."""
    found: list[tuple[str, int, int]] = []
    for i, name in enumerate(names):
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], i + 1)
        else:
            found.append((name, i, i + 1))
    return found


def first_panels(spec: dict[str, Any]) -> list[Panel]:
    """The panels of the option that is shown first."""
    return spec["panels"][0]
