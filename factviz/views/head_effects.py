"""Head effects as a figure: DLA against ablation effect, and the largest gaps."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.head_effects import HeadEffects
from factviz.results.shown import number
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

TOP = 12


def _gaps(build: FigureBuilder, bands: Any) -> Panel:
    gap, low, high = (bands[f"gap{edge}"].values.ravel() for edge in ("", "_low", "_high"))
    heads = bands.sizes["head"]
    best = np.argsort(-np.abs(gap), kind="stable")[:TOP]
    edges: Any = {} if np.isnan(low[best]).all() else {"low": low[best], "high": high[best]}
    return build.bars(
        [f"L{i // heads}H{i % heads}" for i in best],
        gap[best],
        title="DLA − effect: what later parts make up for (or what runs through them, if negative)",
        keys=[{"layer": int(i // heads), "head": int(i % heads)} for i in best],
        **edges,
    )


def build(result: HeadEffects) -> Figure:
    """The figure of head effects: means over facts, or one fact."""
    fact, shown = result.view_options.get("fact"), result
    if fact is not None:
        shown = HeadEffects(result.dataset.isel(fact=[fact]), result.provenance)
    bands = shown.bands()
    heads = bands.sizes["head"]
    keys = [{"layer": i // heads, "head": i % heads} for i in range(bands["dla"].size)]
    builder = FigureBuilder(
        common.title(result, "DLA and ablation"),
        f"{result.provenance.get('model')} · correlation over heads {number(shown.correlation)}",
        common.caption(result.provenance, "95 % intervals: bootstrap by subject"),
    )
    points = builder.points(
        {"title": "DLA on the answer", "unit": "logits", "values": bands["dla"].values.ravel()},
        {
            "title": f"fall of its logit, {result.provenance.get('mode')} ablation",
            "unit": "logits",
            "values": bands["effect"].values.ravel(),
        },
        [f"L{key['layer']}H{key['head']}" for key in keys],
        title="Each head: what it writes, and what its ablation costs",
        keys=keys,
    )
    builder.note(*map(str, result.provenance.get("notes", [])))
    return builder.figure([[points, _gaps(builder, bands)]])
