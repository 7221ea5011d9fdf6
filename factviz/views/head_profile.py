"""A head's profile as a figure: what it lifts, by source group; the paper's central picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.head_profile import LETTERS, ROLES, HeadProfile
from factviz.results.shown import number, token_text
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

TOP = 10
MOST = 40  # attributes of one fact


def _means(build: FigureBuilder, shown: HeadProfile) -> Panel:
    bands = shown.bands()
    labels: list[str] = []
    rows: list[list[float]] = []
    for index, group in enumerate(bands["group"].values[:2]):
        for place, role in enumerate(ROLES):
            three = [float(bands[n].values[index, place]) for n in ("mean", "low", "high")]
            if not np.isnan(three[0]):
                labels.append(f"from {group}: {LETTERS[role]}")
                rows.append(three)
    values = np.array(rows).T
    edges: Any = {} if np.isnan(values[1]).all() else {"low": values[1], "high": values[2]}
    return build.bars(
        labels, values[0], title="DLA on a, S, R and O (mean of each), by source", **edges
    )


def _attributes(build: FigureBuilder, shown: HeadProfile) -> Panel:
    """One fact's attributes, each by source group."""
    fact = shown.dataset.isel(fact=0)
    roles = fact["role"].values
    there = [i for i in range(len(roles)) if roles[i]][:MOST]
    if (more := int((roles != "").sum()) - len(there)) > 0:
        build.note(f"{len(there)} attributes are drawn, {more} more are in .to_frame().")
    labels = [
        f"{common.short(str(fact['attribute_word'].values[i]), 30)} ({LETTERS[str(roles[i])]})"
        for i in there
    ]
    groups = [str(name) for name in fact["group"].values]
    return build.matrix(
        fact["contribution"].values[:, there].T[None],
        title="DLA on each attribute, by source",
        rows={"title": "attribute", "labels": labels, "keys": [{"attribute": i} for i in there]},
        columns={"title": "read from", "labels": groups, "groups": []},
        order="layer",
        top=None,
    )


def _tokens(build: FigureBuilder, shown: HeadProfile) -> list[Panel]:
    data = shown.dataset
    made: list[Panel] = []
    for index, group in enumerate(data["group"].values[:2]):
        labels: list[str] = []
        values: list[float] = []
        for name in ("promoted", "suppressed"):
            tokens = data[f"{name}_token"].values[index][:TOP]
            labels += [token_text(str(text), 40) for text in tokens]
            values += data[name].values[index][:TOP].tolist()
        title = f"Tokens it promotes and suppresses most, from {group} tokens"
        made.append(build.bars(labels, np.array(values), title=title))
    return made


def build(result: HeadProfile) -> Figure:
    """The figure of a head's profile: means over facts, or one fact's attributes."""
    fact, shown = result.view_options.get("fact"), result
    if fact is not None:
        shown = HeadProfile(result.dataset.isel(fact=[fact]), result.provenance)
    name = f"L{result.layer}H{result.head}"
    seen = shown.dataset["attention"].values.mean(0)
    builder = FigureBuilder(
        common.title(result, name),
        f"{result.provenance.get('model')} · END's attention: "
        + ", ".join(
            f"{number(float(v))} on {g}"
            for v, g in zip(seen, shown.dataset["group"].values, strict=True)
        ),
        common.caption(result.provenance, "95 % intervals: bootstrap by subject"),
    )
    panels = [_means(builder, shown)]
    if shown.dataset.sizes["fact"] == 1:
        panels.append(_attributes(builder, shown))
    panels += _tokens(builder, shown)
    if fact is not None and result.dataset.sizes["fact"] > 1:
        builder.note("Promoted and suppressed tokens are means over all facts.")
    builder.note(*map(str, result.provenance.get("notes", [])))
    return builder.figure([panels])
