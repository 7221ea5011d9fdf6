"""Gradient × input as a figure: layers × positions."""

from __future__ import annotations

import xarray as xr

from factviz.results.gradients import Gradients
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel


def build(result: Gradients) -> Figure:
    """The figure of gradients; several facts become a choice."""
    provenance = result.provenance

    def panels(build: FigureBuilder, fact: xr.Dataset) -> list[Panel]:
        rows = common.picked_layers(fact.sizes["layer"])
        if len(rows) < fact.sizes["layer"]:
            build.note(f"{len(rows)} of {fact.sizes['layer']} layers are drawn; .values holds all.")
        matrix = build.matrix(
            fact["values"].values[None, rows, : common.length(fact)],
            title="Gradient × input of the state that enters each layer",
            unit=result.unit,
            rows={
                "title": "layer",
                "labels": [f"L{fact['layer'].values[row]}" for row in rows],
                "keys": [{"layer": int(fact["layer"].values[row])} for row in rows],
            },
            columns=common.position_columns(fact),
            order="layer",
            top=None,
            totals=False,
        )
        return [matrix]

    builder = FigureBuilder(
        common.title(result, "Gradient × input"),
        f"{provenance.get('model')} · {provenance.get('target')}",
        common.caption(provenance, f"To first order, in {result.unit}"),
    )
    return common.by_fact(result, builder, panels)
