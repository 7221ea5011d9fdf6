"""Misfires as a figure: the prompt's relation against the attribute's, and both beside control."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.misfires import Misfires
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder


def build(result: Misfires) -> Figure:
    """The figure of misfires: means over facts, or one fact."""
    fact, shown = result.view_options.get("fact"), result
    if fact is not None:
        shown = Misfires(result.dataset.isel(fact=[fact]), result.provenance)
    provenance = result.provenance
    builder = FigureBuilder(
        common.title(result, "Misfires"),
        f"{provenance.get('model')} · {len(result.heads)} heads, read from subject tokens",
        common.caption(provenance, "95 % intervals: bootstrap by subject"),
    )
    lift: Any = shown.matrix()
    rows, columns = (lift[name].values.tolist() for name in lift.dims)
    panels = [
        builder.matrix(
            lift.values[None],
            title="The subject's own attribute over other subjects' of the same relation",
            rows={
                "title": "prompt asks for",
                "labels": rows,
                "keys": [{"relation": name} for name in rows],
            },
            columns={"title": "attribute of", "labels": columns, "groups": []},
            order="layer",
            top=None,
            totals=False,
        )
    ]
    rates: Any = shown.rates()
    known = rates[~rates["lift"].isna()]
    low, high = known["low"].to_numpy(), known["high"].to_numpy()
    edges: Any = {} if np.isnan(low).all() else {"low": low, "high": high}
    panels.append(
        builder.bars(
            ["asked for" if asked else "not asked for (misfire)" for asked in known["asked"]],
            known["lift"].to_numpy(),
            title="Lift of the subject's attribute over the control",
            **edges,
        )
    )
    builder.note(f"control: {provenance.get('control')}")
    builder.note("heads: " + ", ".join(result.heads))
    builder.note("A blank cell: no fact asks for the one of a subject that has the other.")
    builder.note(*map(str, provenance.get("notes", [])))
    return builder.figure([panels])
