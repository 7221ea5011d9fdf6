"""Mover heads as a figure: attention to the topic against what is written of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.results.movers import MoverHeads
from factviz.results.shown import number
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

TOP = 12
MOST = 200  # prompts drawn of one head
_UNIT = "logits × final scale"


def _name(row: dict[str, Any]) -> str:
    return f"L{row['layer']}H{row['head']}"


def _keys(rows: list[dict[str, Any]]) -> list[dict[str, int]]:
    return [{"layer": int(row["layer"]), "head": int(row["head"])} for row in rows]


def _plane(build: FigureBuilder, frame: Any, written: str) -> Panel:
    rows = frame.to_dict("records")
    column = "effect" if written == "topic" else "write_answer"
    return build.points(
        {
            "title": "END's attention to the topic",
            "unit": "fraction",
            "values": frame["attention"].to_numpy(np.float32),
        },
        {
            "title": f"write of the {written}",
            "unit": _UNIT,
            "values": frame[column].to_numpy(np.float32),
        },
        [_name(row) for row in rows],
        title=f"Heads: attention to the topic against what they write of the {written}",
        keys=_keys(rows),
        classes=["mover" if row["mover"] else None for row in rows],
    )


def _correlations(build: FigureBuilder, frame: Any, written: str) -> Panel | None:
    r, p = f"r_{written}", "p_corrected" if written == "topic" else "p_answer_corrected"
    best = frame.dropna(subset=[r]).sort_values(r, ascending=False, kind="stable")
    rows = best.head(TOP).to_dict("records")
    if not rows:
        return None
    return build.bars(
        [f"{_name(row)}, p {number(row[p], 3)}" for row in rows],
        np.array([row[r] for row in rows]),
        title=f"Pearson's r of attention with the write of the {written}; p for all heads",
        unit="r",
        low=np.array([row[f"{r}_low"] for row in rows]),
        high=np.array([row[f"{r}_high"] for row in rows]),
        keys=_keys(rows),
        classes=["mover" if row["mover"] else None for row in rows],
    )


def _evidence(build: FigureBuilder, rows: list[dict[str, Any]]) -> Panel:
    """What the same heads write of others' topics, and of the answer, beside their own."""
    names = {
        "effect": "topic",
        "control": "other topics",
        "write_answer": "answer",
        "write_other_answers": "other answers",
    }
    return build.matrix(
        np.array([[row[name] for name in names] for row in rows])[None],
        title="What they write, mean over prompts",
        unit=_UNIT,
        rows={"title": "head", "labels": [_name(row) for row in rows], "keys": _keys(rows)},
        columns={"title": "direction", "labels": list(names.values()), "groups": []},
        order="layer",
        top=None,
        totals=False,
    )


def _foremost(frame: Any, written: str) -> list[dict[str, Any]]:
    """Movers first, then the largest correlations."""
    order = frame.sort_values(["mover", f"r_{written}"], ascending=False, kind="stable")
    return order.head(TOP).to_dict("records")


def _sources(build: FigureBuilder, result: MoverHeads, rows: list[dict[str, Any]]) -> Panel:
    groups: Any = result.groups()
    pages = {"attention": "attention", "share": "weighted by ‖v W_O‖"}
    names = [str(name) for name in result.dataset["group"].values]
    values = np.zeros((len(pages), len(rows), len(names)))
    for place, row in enumerate(rows):
        own = groups[(groups["layer"] == row["layer"]) & (groups["head"] == row["head"])]
        for page, column in enumerate(pages):
            values[page, place] = own.set_index("group").loc[names, column].to_numpy()
    return build.matrix(
        values,
        title="Where they look from END",
        unit="fraction",
        pages={"label": "pattern", "options": list(pages.values())},
        rows={"title": "head", "labels": [_name(row) for row in rows], "keys": _keys(rows)},
        columns={"title": "source", "labels": names, "groups": []},
        order="layer",
        top=None,
        totals=False,
    )


def _copying(build: FigureBuilder, foremost: list[dict[str, Any]]) -> Panel | None:
    rows = [row for row in foremost if not np.isnan(row["copying_read"])]
    if not rows:
        return None
    labels: list[str] = []
    values: list[float] = []
    for row in rows:
        labels += [_name(row), "↳ other topics"]
        values += [row["copying_read"], row["copying_read_control"]]
    return build.bars(
        labels, np.nan_to_num(values), title="Copying score (read)", unit="share of topic tokens"
    )


def _prompts(build: FigureBuilder, result: MoverHeads, layer: int, head: int) -> Panel:
    """One head, prompt by prompt."""
    data = result.dataset.isel(layer=layer, head=head)
    count = min(MOST, data.sizes["fact"])
    if count < data.sizes["fact"]:
        build.note(f"{count} of {data.sizes['fact']} prompts are drawn of L{layer}H{head}.")
    data = data.isel(fact=np.linspace(0, data.sizes["fact"] - 1, count).round().astype(int))
    return build.points(
        {
            "title": "END's attention to the topic",
            "unit": "fraction",
            "values": data["attention"].sel(group="topic").values,
        },
        {
            "title": f"write of the {result.written}",
            "unit": _UNIT,
            "values": data["write"].sel(direction=result.written).values,
        },
        [common.short(str(name), 30) for name in data["topic"].values],
        title=f"L{layer}H{head}: prompts",
    )


def build(result: MoverHeads) -> Figure:
    """The figure of mover heads; `view` chooses the head whose prompts are drawn."""
    provenance, frame = result.provenance, result.to_frame()
    count = len(result.movers)
    said = f"{count} of {len(frame)} heads are movers" if count else "no mover found"
    builder = FigureBuilder(
        f"Mover heads: {result.dataset.sizes['fact']} facts",
        f"{provenance.get('model')} · {said}",
        common.caption(provenance, "95 % intervals: bootstrap by subject, mean over relations"),
    )
    foremost = _foremost(frame, result.written)
    chosen = result.view_options or foremost[0]
    panels = [
        _plane(builder, frame, result.written),
        _correlations(builder, frame, result.written),
        _prompts(builder, result, int(chosen["layer"]), int(chosen["head"])),
        _evidence(builder, foremost),
        _sources(builder, result, foremost),
        _copying(builder, foremost),
    ]
    builder.note(str(provenance.get("rule", "")), f"controls: {provenance.get('control')}")
    builder.note(*map(str, provenance.get("notes", [])))
    return builder.figure([[panel for panel in panels if panel is not None]])
