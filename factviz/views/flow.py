"""Enrichment, propagation and extraction of a fact, one above the other on one layer axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from factviz.results.recall_flow import RecallFlow
from factviz.results.shown import token_text
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

_CLASSES = {"subject": "S", "relation": "R", "non_subject": "R"}
_NAMES = {"attention": "attention", "mlp": "MLP"}


def _enrichment(build: FigureBuilder, fact: xr.Dataset) -> Panel:
    ranks = fact["subject_rank"].values.astype(np.float64)
    series: list[dict[str, Any]] = [
        {"label": f"{common.short(str(fact['target_token'].item()), 20).strip()}: 1 / rank",
         "values": 1 / ranks},
    ]  # fmt: skip
    for name, label in (("recall", "attributes found"), ("recall_shuffled", "shuffled subject")):
        if not np.isnan(fact[name].values).all():
            series.append({"label": label, "values": fact[name].values})
    return build.lines(
        fact["layer"].values,
        series,
        title="1 · Enrichment: what the last subject token's state holds behind each layer",
        x_title="layer",
        unit="fraction",
    )


def _propagation(build: FigureBuilder, fact: xr.Dataset) -> Panel:
    series: list[dict[str, Any]] = []
    for index, group in enumerate(str(name) for name in fact["group"].values):
        words = "END itself" if group == "last" else group.replace("_", " ")
        series.append(
            {
                "label": words,
                "values": fact["change"].values[index],
                "class": _CLASSES.get(group),
            }
        )
        control = fact["control"].values[index]
        if group == "subject" and not np.isnan(control).all():
            series.append({"label": "as many random keys", "values": control})
    return build.lines(
        fact["layer"].values,
        series,
        title="2 · Propagation: what the answer loses when END may not read, around each layer",
        x_title="layer",
        unit="percent of P",
    )


def _extraction(build: FigureBuilder, fact: xr.Dataset) -> Panel:
    series = [
        {"label": _NAMES.get(str(kind), str(kind)), "values": 1 / ranks.astype(np.float64)}
        for kind, ranks in zip(fact["sublayer"].values, fact["rank"].values, strict=True)
    ]
    return build.lines(
        fact["layer"].values,
        series,
        title="3 · Extraction: the answer in the updates at END (1: on top, an event)",
        x_title="layer",
        unit="1 / rank",
    )


def _note_events(build: FigureBuilder, fact: xr.Dataset) -> None:
    for index, kind in enumerate(fact["sublayer"].values):
        layers = np.flatnonzero(fact["event"].values[index])
        if len(layers):
            token = token_text(str(fact["target_token"].item()), 20)
            where = ", ".join(f"L{fact['layer'].values[layer]}" for layer in layers)
            build.note(f"{_NAMES.get(str(kind), kind)} extracts {token} in {where}")


def _panels(build: FigureBuilder, fact: xr.Dataset) -> list[Panel]:
    return [_enrichment(build, fact), _propagation(build, fact), _extraction(build, fact)]


def build(result: RecallFlow) -> Figure:
    """The figure of a flow; several facts become a choice."""
    said = f"{result.provenance.get('model')} · target: {result.provenance.get('target')}"
    windows = result.provenance.get("windows")
    width = f"{windows[0]} layer{'s' if windows[0] > 1 else ''}" if windows else ""
    blocked = f", {width} blocked at once" if width else ""
    builder = FigureBuilder(
        common.title(result, "Recall, layer by layer"),
        said,
        common.caption(result.provenance, f"Three steps on one layer axis{blocked}"),
    )
    chosen = result.view_options.get("fact")
    if chosen is not None or result.dataset.sizes["fact"] == 1:
        _note_events(builder, result.dataset.isel(fact=chosen or 0))
    return common.by_fact(result, builder, _panels)
