"""Shots compared, as a figure: recall by their number, and by layer what heads write and read."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from factviz.results.shot_comparison import MEASURES, UNITS, ShotComparison, told
from factviz.results.shown import number
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

_TITLES = {
    "answer_write": "What heads up to each layer wrote of the answer, at END",
    "topic_write": "What heads up to each layer wrote of the topic, at END",
    "attention": "END's attention to the topic, mean over a layer's heads",
}
_SAID = {
    "answer_write": "what heads write of the answer",
    "topic_write": "what heads write of the topic",
    "attention": "END's attention to the topic",
}
_CONTROLS = {
    "answer_write": "other answers",
    "topic_write": "other topics",
    "attention": "random tokens",
}


def _present(values: Any) -> Any:
    return None if np.isnan(values).all() else values


def _curves(build: FigureBuilder, curves: xr.Dataset, name: str) -> Panel:
    """A line for each number of shots, then the controls."""
    series: list[dict[str, Any]] = []
    for end, said in (("", ""), ("_control", f", {_CONTROLS[name]}")):
        for place, count in enumerate(curves["shots"].values):
            values, low, high = (
                curves[f"{name}{end}{edge}"].values[place] for edge in ("", "_low", "_high")
            )
            if np.isnan(values).all():
                continue
            one: dict[str, Any] = {"label": told(int(count)) + said, "values": values}
            series.append(one | {"low": _present(low), "high": _present(high)})
    layers = curves["layer"].values
    if len(layers) == 1:
        ends: Any = {
            edge: np.array([np.nan if one[edge] is None else one[edge][0] for one in series])
            for edge in ("low", "high")
        }
        values = np.array([one["values"][0] for one in series])
        labels = [one["label"] for one in series]
        return build.bars(labels, values, title=_TITLES[name], unit=UNITS[name], **ends)
    return build.lines(layers, series, title=_TITLES[name], x_title="layer", unit=UNITS[name])


def _recall(build: FigureBuilder, rows: list[dict[str, Any]], name: str) -> Panel:
    titles = {"top1": ("Answer on top", "share of facts"),
              "probability": ("Probability of the answer", "probability")}  # fmt: skip
    low, high = (np.array([row[f"{name}_{edge}"] for row in rows]) for edge in ("low", "high"))
    edges: Any = {} if np.isnan(low).all() else {"low": low, "high": high}
    title, unit = titles[name]
    values = np.array([row[name] for row in rows])
    return build.bars([told(row["shots"]) for row in rows], values, title=title, unit=unit, **edges)


def _starts(shown: ShotComparison) -> list[str]:
    """From which layer on each measure is above its control: a line for each number of shots."""
    found: dict[int, list[str]] = {}
    for row in shown.onsets().to_dict("records"):
        start = f"from layer {int(row['layer'])} on" if row["found"] else "in no layer"
        found.setdefault(int(row["shots"]), []).append(f"{_SAID[row['measure']]} {start}")
    return [f"{told(count)}, above the control: {'; '.join(of)}" for count, of in found.items()]


def build(result: ShotComparison) -> Figure:
    """The figure of a comparison of shots: means over facts, or one fact."""
    fact, shown = result.view_options.get("fact"), result
    if fact is not None:
        shown = ShotComparison(result.dataset.isel(fact=[fact]), result.provenance)
    said = result.provenance
    rows: list[dict[str, Any]] = shown.table().to_dict("records")
    builder = FigureBuilder(
        common.title(result, "Zero- and few-shot"),
        f"{said.get('model')} · "
        + ", ".join(f"{told(row['shots'])} P {number(row['probability'])}" for row in rows),
        common.caption(said, "95 % intervals: bootstrap by subject, relations alike"),
    )
    for row in rows[1:]:
        low, high = (number(row[f"probability_gain_{e}"], 3, sign=True) for e in ("low", "high"))
        builder.note(
            f"{told(row['shots'])} against {told(rows[0]['shots'])}, the same facts: P "
            f"{number(row['probability_gain'], 3, sign=True)} [{low}, {high}]"
        )
    builder.note(f"control: {said.get('control')}", *_starts(shown))
    builder.note(*map(str, said.get("notes", [])))
    curves = shown.curves()
    panels = [_curves(builder, curves, name) for name in MEASURES]
    panels += [_recall(builder, rows, name) for name in ("top1", "probability")]
    return builder.figure([panels])
