"""Shared attributes as a figure: answers × heads of one layer, pairs, and all layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.shared_attributes import SharedAttributes
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

TOP = 12
MOST = 200  # answers drawn


def _profile(build: FigureBuilder, result: SharedAttributes, layer: int) -> Panel:
    data = result.dataset
    values = data["dla"].values[:, layer]
    order = np.sort(np.argsort(-np.abs(values).max(1), kind="stable")[:MOST])
    labels = [f"{data['word'].values[i]} ({data['relation'].values[i]})" for i in order]
    if len(order) < len(values):
        build.note(f"{len(order)} of {len(values)} answers are drawn; .dla holds all.")
    return build.matrix(
        values[order][None],
        title=f"What the heads of layer {layer} write for each answer",
        rows={"title": "answer", "labels": labels, "keys": [{"answer": name} for name in labels]},
        columns={
            "title": "head",
            "labels": [f"H{head}" for head in range(values.shape[1])],
            "groups": [],
        },
        top=20,
        totals=False,
    )


def _pairs(build: FigureBuilder, result: SharedAttributes) -> Panel | None:
    pairs: Any = result.pairs()
    best = pairs[pairs["shared"] > 0].head(TOP).to_dict("records")
    labels: list[str] = []
    values: list[float] = []
    for row in best:
        labels.append(f"L{row['layer']} H{row['head']} and H{row['other']}, {row['shared']} shared")
        labels.append("↳ shuffled, 95 %")
        values += [row["similarity"], row["null"]]
    if not labels:
        return None
    return build.bars(
        labels, np.array(values), title="Pairs of heads most alike over answers", unit="correlation"
    )


def build(result: SharedAttributes) -> Figure:
    """The figure of shared attributes."""
    provenance = result.provenance
    layers: Any = result.layers()
    layer = int(result.view_options.get("layer", int(layers["shared"].to_numpy().argmax())))
    builder = FigureBuilder(
        f"Shared attributes: {result.dataset.sizes['attribute']} answers",
        f"{provenance.get('model')} · layer {layer}: {layers['shared'].iloc[layer]} of "
        f"{layers['attributes'].iloc[layer]} answers are written by two heads or more",
        common.caption(provenance, f"A head writes an answer from {result.least:g} logits on"),
    )
    panels = [_profile(builder, result, layer)]
    if (pairs := _pairs(builder, result)) is not None:
        panels.append(pairs)
    panels.append(
        builder.bars(
            [f"layer {row}" for row in layers["layer"]],
            layers["shared"].to_numpy(np.float64),
            title="Answers that two heads of the layer or more write",
            unit="answers",
        )
    )
    builder.note(f"null: {provenance.get('control')}")
    builder.note(*map(str, provenance.get("notes", [])))
    return builder.figure([panels])
