"""Suppressors as a figure: direct effects, ablations beside random parts, and what they promote."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.shown import token_text
from factviz.results.suppressors import Suppressors
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

TOP = 20
UNITS = {"effect": "logits", "ablation": "logits", "correlation": "r"}
TOKENS = 8
FEW = 3  # parts whose tokens are drawn


def _order(result: Suppressors) -> list[int]:
    """Suppressors first, then the most negative effects."""
    effect, found = result.of("effect")["mean"].values, set(result.components)
    names = [str(name) for name in result.dataset["part"].values]
    return sorted(range(len(names)), key=lambda i: (names[i] not in found, effect[i]))


def _bars(
    build: FigureBuilder, result: Suppressors, order: list[int], measure: str, title: str
) -> Panel:
    names, found = result.dataset["part"].values, set(result.components)
    bands = result.of(measure)
    mean, low, high = (bands[edge].values for edge in ("mean", "low", "high"))
    labels, rows, classes = [], [], []
    for part in order:
        name = str(names[part])
        labels.append(name)
        classes.append("suppressing" if name in found else None)
        rows.append((mean[part], low[part], high[part]))
        if measure == "ablation":
            own = result.of("control").isel(part=part)
            if not np.isnan(own["mean"].item()):
                labels.append("↳ random parts")
                classes.append(None)
                rows.append(tuple(own[edge].item() for edge in ("mean", "low", "high")))
    values = np.array(rows, dtype=np.float64).T
    edges: Any = {} if np.isnan(values[1]).all() else {"low": values[1], "high": values[2]}
    return build.bars(labels, values[0], title=title, unit=UNITS[measure], classes=classes, **edges)


def _attention(build: FigureBuilder, result: Suppressors, order: list[int]) -> Panel | None:
    data = result.dataset
    heads = [part for part in order if str(data["kind"].values[part]) == "head"]
    if not heads:
        return None
    return build.matrix(
        data["attention"].values[heads][None],
        title="Where they look from END",
        unit="fraction",
        rows={
            "title": "head",
            "labels": [str(data["part"].values[part]) for part in heads],
            "keys": [{"part": str(data["part"].values[part])} for part in heads],
        },
        columns={
            "title": "source",
            "labels": [str(name) for name in data["group"].values],
            "groups": [],
        },
        order="layer",
        top=None,
        totals=False,
    )


def _tokens(build: FigureBuilder, result: Suppressors, part: int) -> Panel:
    data = result.dataset.isel(part=part)
    labels: list[str] = []
    values: list[float] = []
    for name in ("promoted", "suppressed"):
        labels += [token_text(str(t), 40) for t in data[f"{name}_token"].values[:TOKENS]]
        values += data[name].values[:TOKENS].tolist()
    title = f"{data['part'].item()}: tokens it promotes and suppresses most"
    return build.bars(labels, np.array(values), title=title)


def build(result: Suppressors) -> Figure:
    """The figure of suppressors."""
    provenance, data = result.provenance, result.dataset
    found, whole = result.components, _order(result)
    order = whole[:TOP]
    said = f"suppressors: {', '.join(found)}" if found else "no suppressor found"
    builder = FigureBuilder(
        f"What holds the answer back: {data.sizes['fact']} facts",
        f"{provenance.get('model')} · {said}",
        common.caption(provenance, "95 % intervals: bootstrap by subject, mean over relations"),
    )
    if len(order) < len(whole):
        builder.note(f"{len(order)} of {len(whole)} parts are drawn; .to_frame() holds all.")
    bars = (
        ("effect", "Direct effect on a − mean(R)"),
        ("ablation", "Change of a − mean(R) under mean ablation"),
    )
    panels = [_bars(builder, result, order, *one) for one in bars]
    known = ~np.isnan(result.of("correlation")["mean"].values)
    if some := [part for part in order if known[part]]:
        title = "Pearson's r of the effect with P(answer), within relations"
        panels.append(_bars(builder, result, some, "correlation", title))
    if (seen := _attention(builder, result, order)) is not None:
        panels.append(seen)
    panels += [_tokens(builder, result, part) for part in order[: max(1, min(FEW, len(found)))]]
    builder.note(str(provenance.get("rule", "")), f"control: {provenance.get('control')}")
    builder.note(*map(str, provenance.get("notes", [])))
    return builder.figure([panels])
