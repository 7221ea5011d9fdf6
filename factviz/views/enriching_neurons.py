"""Enriching neurons as a figure: what MLPs write of the attributes, and which neurons do."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.enriching_neurons import EnrichingNeurons
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

TOP_NEURONS = 20


def _maybe(values: Any) -> Any:
    return None if np.isnan(values).all() else values


def _layers(build: FigureBuilder, result: EnrichingNeurons) -> Panel:
    bands = result.bands()
    series = [
        {"label": label, "values": bands[name].values, "low": _maybe(bands[low].values),
         "high": _maybe(bands[high].values)}
        for label, name, low, high in (
            ("own attributes", "mean", "low", "high"),
            ("other subjects' attributes", "control", "control_low", "control_high"),
        )
        if not np.isnan(bands[name].values).all()
    ]  # fmt: skip
    return build.lines(
        bands["layer"].values,
        series,
        title="What each MLP writes of the attributes at the last subject token",
        x_title="layer",
        unit="raw projection",
    )


def _neurons(build: FigureBuilder, result: EnrichingNeurons) -> Panel:
    frame: Any = result.to_frame()
    frame["contrast"] = frame["contribution"] - frame["control"].fillna(0)
    count = result.dataset.sizes["fact"]
    means = frame.groupby(["layer", "neuron"])["contrast"].sum() / count
    best = means.sort_values(ascending=False, kind="stable").head(TOP_NEURONS)
    keys = [{"layer": int(layer), "neuron": int(neuron)} for layer, neuron in best.index]
    alone = "own attributes minus the other subjects'"
    return build.bars(
        [f"L{key['layer']}N{key['neuron']}" for key in keys],
        best.to_numpy(dtype=np.float32),
        title=f"Neurons: {alone}" + (", mean over facts" if count > 1 else ""),
        unit="raw projection",
        keys=keys,
    )


def build(result: EnrichingNeurons) -> Figure:
    """The figure of enriching neurons: a mean over facts, or one fact."""
    fact, shown = result.view_options.get("fact"), result
    if fact is not None:
        shown = EnrichingNeurons(result.dataset.isel(fact=[fact]), result.provenance)
    provenance = result.provenance
    builder = FigureBuilder(
        common.title(result, "Enriching neurons"),
        f"{provenance.get('model')} · {provenance.get('target')}",
        common.caption(provenance, "95 % bands: bootstrap by subject, mean over relations"),
    )
    builder.note(*map(str, provenance.get("notes", [])))
    if shown.dataset.sizes["fact"] > 1:
        builder.note("A neuron counts as 0 for facts where it is not among those kept.")
    panels = [_layers(builder, shown)] if shown.dataset.sizes["layer"] > 1 else []
    return builder.figure([[*panels, _neurons(builder, shown)]])
