"""A comparison as a figure: the first two results against each other, and all agreement."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.comparison import Comparison
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

MOST = 4  # measures drawn
TOP = 40


def _points(build: FigureBuilder, result: Comparison, measure: str) -> Panel:
    data = result.dataset
    there = data["measure"].values == measure
    values = data["value"].values[there]
    x, y = ({"title": label, "unit": "", "values": values[:, i]}
            for i, label in enumerate(result.labels[:2]))  # fmt: skip
    names = data["class_name"].values[there][:, 0]
    classes = [None if name in ("", "unclassified") else str(name) for name in names]
    return build.points(
        x,
        y,
        [str(name) for name in data["name"].values[there]],
        title=measure.replace("_", " "),
        classes=classes if any(classes) else None,
    )


def _agreement(build: FigureBuilder, result: Comparison) -> list[Panel]:
    table: Any = result.agreement()
    made: list[Panel] = []
    for column, title in (
        ("spearman", "Rank correlation, beside halves of the same facts"),
        ("jaccard", "Heads of the same class in both, over in either (Jaccard)"),
    ):
        labels: list[str] = []
        values: list[float] = []
        for row in table[~table[column].isna()].head(TOP).to_dict("records"):
            pair = f"{common.short(row['first'], 20)} / {common.short(row['second'], 20)}"
            labels.append(f"{pair}: {row['measure'].replace('_', ' ')}")
            values.append(row[column])
            if not np.isnan(row["ceiling"]):
                labels.append("↳ halves")
                values.append(row["ceiling"])
        if labels:
            made.append(build.bars(labels, np.array(values), title=title, unit="agreement"))
    return made


def build(result: Comparison) -> Figure:
    """The figure of a comparison."""
    provenance = result.provenance
    builder = FigureBuilder(
        f"Comparison of {len(result.labels)} results: " + ", ".join(result.labels),
        str(provenance.get("model", "")),
        common.caption(provenance, f"{provenance.get('compared')}, matched by name"),
    )
    measures = [str(name) for name in result.dataset["measure_name"].values]
    drawn = [name for name in measures if not name.startswith("share_")][:MOST]
    panels = [*_agreement(builder, result), *(_points(builder, result, n) for n in drawn)]
    if len(result.labels) > 2:
        builder.note("The planes show the first two results; .to_frame() has all.")
    builder.note(*map(str, provenance.get("notes", [])))
    return builder.figure([panels])
