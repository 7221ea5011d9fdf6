"""MLP boosts as a figure: a, S, R and O by layer, how evenly R is lifted, tokens, neurons."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.head_profile import LETTERS, ROLES
from factviz.results.mlp_boosts import MLPBoosts
from factviz.results.shown import number, token_text
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

TOP_NEURONS = 20


def _layers(build: FigureBuilder, bands: Any) -> Panel:
    series: list[dict[str, Any]] = []
    for index, role in enumerate(ROLES):
        mean, low, high = (bands[name].values[index] for name in ("mean", "low", "high"))
        if not np.isnan(mean).all():
            known = not np.isnan(low).any()
            edges = {"low": low, "high": high} if known else {}
            series.append({"label": _role(role), "values": mean, **edges})
    return build.lines(
        bands["layer"].values,
        series,
        title="What each MLP adds at END",
        x_title="layer",
        unit="logits",
    )


def _role(role: str) -> str:
    return "a, the answer" if role == "answer" else f"mean of {LETTERS[role]}"


def _totals(build: FigureBuilder, bands: Any) -> Panel:
    rows = [
        (_role(role), *(float(bands[f"total{edge}"].values[i]) for edge in ("", "_low", "_high")))
        for i, role in enumerate(ROLES)
    ]
    for name, label in (("lift", "R over O"), ("single", "a over R")):
        rows.append((label, *(float(bands[f"{name}{edge}"]) for edge in ("", "_low", "_high"))))
    known = [row for row in rows if not np.isnan(row[1])]
    labels, values, low, high = zip(*known, strict=True)
    edges: Any = {} if np.isnan(low).all() else {"low": np.array(low), "high": np.array(high)}
    return build.bars(labels, np.array(values), title="All MLPs together", **edges)


def _tokens(build: FigureBuilder, result: MLPBoosts) -> Panel:
    data = result.dataset
    labels = [token_text(str(text), 40) for text in data["lifted_token"].values]
    return build.bars(labels, data["lifted"].values, title="Tokens that all MLPs lift most")


def _neurons(build: FigureBuilder, result: MLPBoosts) -> Panel:
    top: Any = result.top_neurons(TOP_NEURONS)
    labels = [f"L{i}N{j}" for i, j in zip(top["layer"], top["neuron"], strict=True)]
    return build.bars(labels, top["lift"].to_numpy(), title="Neurons that lift R over O most")


def build(result: MLPBoosts) -> Figure:
    """The figure of MLP boosts: means over facts, or one fact."""
    fact, shown = result.view_options.get("fact"), result
    if fact is not None:
        shown = MLPBoosts(result.dataset.isel(fact=[fact]), result.provenance)
    bands = shown.bands()
    provenance = result.provenance
    builder = FigureBuilder(
        common.title(result, "MLP boosts"),
        f"{provenance.get('model')} · spread over R {number(float(bands['spread']))} logits, a "
        f"above {number(100 * float(bands['share_below']), 0)} % of R",
        common.caption(provenance, "95 % intervals: bootstrap by subject, mean over relations"),
    )
    panels = [_layers(builder, bands)] if shown.dataset.sizes["layer"] > 1 else []
    panels += [_totals(builder, bands), _tokens(builder, result)]
    if "neurons" in result.dataset:
        panels.append(_neurons(builder, result))
    builder.note(*map(str, provenance.get("notes", [])))
    return builder.figure([panels])
