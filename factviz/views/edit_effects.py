"""Edits of heads as a figure: what recall loses under each, beside random heads' edits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from factviz.results.edit_effects import LOSSES, EditEffects
from factviz.results.shown import number
from factviz.views import common
from factviz.views.causal import TOP
from factviz.views.spec import Figure, FigureBuilder, Panel

_TITLES = {
    "top1": "Change of top-1",
    "probability": "Change of the target's probability",
    "rank": "Change of its rank, in doublings (positive: worse)",
    "logit": "Change of its centred logit",
}


def _bars(build: FigureBuilder, rows: pd.DataFrame, measure: str) -> Panel:
    """Each edit's change, its control's, and the paired difference of the two."""
    labels: list[str] = []
    values: list[list[float]] = []
    for row in rows.to_dict("records"):
        parts = [(str(row["component"]), "effect", ("low", "high"))]
        if not np.isnan(row["control"]):
            parts.append(("↳ random heads", "control", ("control_low", "control_high")))
            edges = ("difference_low", "difference_high")
            parts.append(("↳ difference", "difference", edges))
        for label, name, edges in parts:
            labels.append(label)
            values.append([row[name], row[edges[0]], row[edges[1]]])
    table = np.array(values, dtype=np.float64)
    edges: Any = {} if np.isnan(table[:, 1]).all() else {"low": table[:, 1], "high": table[:, 2]}
    return build.bars(labels, table[:, 0], title=_TITLES[measure], unit=LOSSES[measure], **edges)


def build(result: EditEffects) -> Figure:
    """The figure of edits: four losses, means over facts, or one fact."""
    options, said = result.view_options, result.provenance
    chosen = options.get("fact")
    data = result.dataset if chosen is None else result.dataset.isel(fact=[chosen])
    shown = EditEffects(data, said)
    table = shown.losses()
    own: Any = table[table["measure"] == options.get("measure", "probability")]
    order = np.argsort(-np.abs(np.nan_to_num(own["effect"].to_numpy())), kind="stable")
    names = [str(own["component"].iloc[i]) for i in order[: options.get("top", TOP)]]
    base = number(float(data["probability"].isel(run=0).mean()), 3)
    builder = FigureBuilder(
        common.title(result, f"Edits of heads, {said.get('edit')}"),
        f"{said.get('model')} · mean P(target) {base} in the clean model · {said.get('target')}",
        common.caption(said, "95 % intervals: bootstrap by subject, relations alike"),
    )
    builder.note(f"control: {said.get('control')}", f"size of a change: {said.get('size')}")
    if len(names) < len(own):
        builder.note(f"{len(names)} of {len(own)} edits are drawn; .losses() has all of them")
    builder.note(*map(str, said.get("notes", [])))
    panels: list[Panel] = []
    for measure in LOSSES:
        rows = table[table["measure"] == measure].set_index("component").loc[names].reset_index()
        panels.append(_bars(builder, rows, measure))
    return builder.figure([panels])
