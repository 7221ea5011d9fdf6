"""A logit lens as a figure: layers × positions, and the answer's rank on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from factviz.results.lens import LogitLens
from factviz.results.shown import token_text
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel


def _row(fact: xr.Dataset, index: int, end: int) -> str:
    """A layer with the token that is on top at END behind it."""
    layer = int(fact["layer"].values[index])
    name = "embedding" if layer < 0 else f"L{layer}"
    return f"{name} → {token_text(str(fact['top_token'].values[index, end]), 14)}"


def _matrix(build: FigureBuilder, fact: xr.Dataset) -> Panel:
    count = common.length(fact)
    pages = [int(i) for i in np.flatnonzero(fact["role"].values != "")]
    rows = common.picked_layers(fact.sizes["layer"])
    if len(rows) < fact.sizes["layer"]:
        build.note(f"{len(rows)} of {fact.sizes['layer']} states are drawn; .logits holds all.")
    labels = [
        f"{common.short(str(fact['attribute_word'].values[page]))} ({fact['role'].values[page]})"
        for page in pages
    ]
    return build.matrix(
        fact["logits"].values[pages][:, rows, :count],
        title="Centred logit behind each layer (→ the top token at END)",
        pages={"label": "attribute", "options": labels},
        rows={
            "title": "layer",
            "labels": [_row(fact, row, count - 1) for row in rows],
            "keys": [{"layer": int(fact["layer"].values[row])} for row in rows],
        },
        columns=common.position_columns(fact),
        order="layer",
        top=None,
        totals=False,
    )


def _ranks(build: FigureBuilder, fact: xr.Dataset) -> Panel:
    groups = fact["group"].values
    series: list[dict[str, Any]] = []
    for group, label in (("end", "END"), ("subject", "last subject token")):
        found = np.flatnonzero(groups == group)
        if len(found):
            ranks = fact["ranks"].values[0, :, found[-1]]
            series.append({"label": label, "values": np.log10(ranks.astype(np.float64))})
    word = common.short(str(fact["attribute_word"].values[0]))
    return build.lines(
        fact["layer"].values,
        series,
        title=f"Rank of {word} in the vocabulary (0 is the top, 3 the thousandth)",
        x_title="layer (−1 is the embedding)",
        unit="log10 of rank",
    )


def _panels(build: FigureBuilder, fact: xr.Dataset) -> list[Panel]:
    return [_matrix(build, fact), *([_ranks(build, fact)] if fact.sizes["layer"] > 1 else [])]


def build(result: LogitLens) -> Figure:
    """The figure of a logit lens; several facts become a choice."""
    provenance = result.provenance
    said = f"{provenance.get('model')} · {provenance.get('target')}"
    builder = FigureBuilder(
        common.title(result, "Logit lens"), said, common.caption(provenance, "Centred logits")
    )
    return common.by_fact(result, builder, _panels)
