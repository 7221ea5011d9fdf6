"""A sublayer knockout as a figure: layers × tokens where asked for, and curves with controls."""

from __future__ import annotations

import numpy as np
import xarray as xr

from factviz.results.shown import number
from factviz.results.sublayer_knockout import SublayerKnockout
from factviz.views import common, knockouts
from factviz.views.spec import Figure, FigureBuilder, Panel

_NAMES = {"attention": "attention updates", "mlp": "MLP updates"}


def _heat(build: FigureBuilder, fact: xr.Dataset, unit: str) -> Panel:
    """One prompt: updates cancelled at one token at a time [layer, token], a page each kind."""
    named = fact[["tokens", "base"]].rename(source_group="group")
    count = common.length(named)
    rows = common.picked_layers(named.sizes["layer"])
    if len(rows) < named.sizes["layer"]:
        build.note(f"{len(rows)} of {named.sizes['layer']} layers are drawn; .tokens holds all.")
    values = named["tokens"].transpose("sublayer", "layer", "position").values[:, rows, :count]
    base = float(named["base"])
    layers = [int(named["layer"].values[row]) for row in rows]
    return build.matrix(
        values - base,
        title=f"Updates cancelled at one token, change of {number(base)}",
        pages={
            "label": "cancelled",
            "options": [_NAMES.get(str(s), str(s)) for s in named["sublayer"].values],
        },
        rows={
            "title": "layer",
            "labels": [f"L{layer}" for layer in layers],
            "keys": [{"layer": layer} for layer in layers],
        },
        columns=common.position_columns(named, "token"),
        unit=unit,
        order="layer",
        top=None,
        totals=False,
    )


def build(result: SublayerKnockout) -> Figure:
    """The figure: curves over layers; for one prompt also a heat map, if ``tokens`` were run."""
    shown, said = knockouts.chosen(result), result.provenance
    data = shown.dataset
    measure = shown.measure.replace("_", " ")
    builder = FigureBuilder(
        common.title(result, "Sublayer knockout"),
        f"{said.get('model')} · clean {measure} {number(float(np.mean(data['base'])))} · "
        f"{said.get('mode')}",
        common.caption(
            said,
            f"{knockouts.bands_said(shown)}; {said.get('target')}; {said.get('window_rule')}; "
            f"control: {said.get('control')}",
        ),
    )
    panels: list[Panel] = []
    if "tokens" in data and data.sizes["fact"] == 1:
        unit = "probability" if shown.measure == "probability" else "fraction"
        panels.append(_heat(builder, data.isel(fact=0), unit))
    panels.append(
        knockouts.curves(
            builder,
            shown.curves(),
            "sublayer",
            names=_NAMES,
            title=f"Updates cancelled at {said.get('at')}, windows of {said.get('window')}",
            x_title="first layer of the window",
        )
    )
    builder.note(*map(str, said.get("notes", [])))
    return builder.figure([panels])
