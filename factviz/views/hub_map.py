"""A hub map as a figure: layers × heads, and how prevalent such heads are in each layer."""

from __future__ import annotations

import numpy as np

from factviz.results.hub_map import HubMap
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

_PAGES = ("above random tokens", "subjects' tokens", "random tokens")


def _matrix(build: FigureBuilder, result: HubMap) -> Panel:
    data = result.dataset
    share, control = data["share"].values, data["control"].values
    rows = common.picked_layers(len(share))
    if len(rows) < len(share):
        build.note(f"{len(rows)} of {len(share)} layers are drawn; .share holds all.")
    return build.matrix(
        np.stack([share - control, share, control])[:, rows],
        title="Heads that map a subject's tokens to its attributes",
        unit="share of subjects",
        pages={"label": "share", "options": list(_PAGES)},
        rows={
            "title": "layer",
            "labels": [f"L{data['layer'].values[row]}" for row in rows],
            "keys": [{"layer": int(data["layer"].values[row])} for row in rows],
        },
        columns={
            "title": "head",
            "labels": [f"H{head}" for head in data["head"].values],
            "groups": [],
        },
        order="layer",
        top=None,
        totals=False,
    )


def _prevalence(build: FigureBuilder, result: HubMap) -> Panel:
    data, bands = result.dataset, result.bands()
    known = not np.isnan(bands["prevalence_low"].values).any()
    band = {
        "low": bands["prevalence_low"].values if known else None,
        "high": bands["prevalence_high"].values if known else None,
    }
    return build.lines(
        data["layer"].values,
        [
            {"label": "subjects' tokens", "values": data["prevalence"].values, **band},
            {"label": "random tokens", "values": data["prevalence_control"].values},
        ],
        title="Any head of the layer",
        x_title="layer",
        unit="share of subjects",
    )


def build(result: HubMap) -> Figure:
    """The figure of a hub map."""
    provenance = result.provenance
    builder = FigureBuilder(
        f"Hub map: {result.dataset.sizes['subject']} subjects",
        f"{provenance.get('model')} · {provenance.get('target')}",
        common.caption(provenance, "From the weights alone; 95 % bands, bootstrap by subject"),
    )
    builder.note(*map(str, provenance.get("notes", [])))
    panels = [_matrix(builder, result)]
    if result.dataset.sizes["layer"] > 1:
        panels.append(_prevalence(builder, result))
    return builder.figure([panels])
