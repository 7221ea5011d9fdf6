"""A reversal as a figure: recall both ways, and where the answer's logit comes from in each."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.reversal import Reversal
from factviz.results.shown import number, token_text
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder


def build(result: Reversal) -> Figure:
    """The figure of a reversal: means over facts, or one fact."""
    fact, shown = result.view_options.get("fact"), result
    if fact is not None:
        shown = Reversal(result.dataset.isel(fact=[fact]), result.provenance)
    data, provenance = shown.dataset, result.provenance
    rows: list[dict[str, Any]] = shown.table().to_dict("records")
    builder = FigureBuilder(
        common.title(result, "Reversal"),
        f"{provenance.get('model')} · "
        + ", ".join(f"{r['direction']} P {number(r['probability'])}" for r in rows),
        common.caption(provenance, "95 % intervals: bootstrap by subject, mean over relations"),
    )
    panels = []
    for name, title in (("recall", "Answer on top"), ("probability", "Probability of the answer")):
        low, high = (np.array([row[f"{name}_{edge}"] for row in rows]) for edge in ("low", "high"))
        edges: Any = {} if np.isnan(low).all() else {"low": low, "high": high}
        unit = "share of facts" if name == "recall" else "probability"
        values = np.array([row[name] for row in rows])
        labels = [str(row["direction"]) for row in rows]
        panels.append(builder.bars(labels, values, title=title, unit=unit, **edges))
    parts = [str(name) for name in data["part"].values]
    values = np.array([[row[part] for part in parts] for row in rows]).T
    panels.append(
        builder.matrix(
            np.concatenate([values, values.sum(0, keepdims=True)])[None],
            title="Where the answer's logit comes from",
            rows={
                "title": "part",
                "labels": [*parts, "= centred logit"],
                "keys": [{"part": name} for name in [*parts, "logit"]],
            },
            columns={"title": "asked", "labels": ["forward", "backward"], "groups": []},
            order="layer",
            top=None,
            totals=False,
        )
    )
    if data.sizes["fact"] == 1:
        for column, direction in enumerate(("forward", "backward")):
            builder.note(
                f"{direction}: {data['asked'].values[0, column]} → "
                f"{data['expected'].values[0, column]}; the model says "
                f"{token_text(str(data['top'].values[0, column]), 40)}"
            )
    builder.note(*map(str, provenance.get("notes", [])))
    return builder.figure([panels])
