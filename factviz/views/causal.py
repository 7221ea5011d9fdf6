"""Causal effects as a figure: each intervention's effect beside its control."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.causal import UNITS, Causal
from factviz.results.shown import number, token_text
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

TOP = 12
FEW = 6  # components whose probabilities are drawn too
_HEAD = re.compile(r"L(\d+)H(\d+)")
_WHAT = {
    "probability": "Change of the target's probability",
    "logit": "Change of the target's centred logit",
    "percent": "Change of the target's probability, in percent of the clean run",
}


def _strongest(effects: pd.DataFrame, top: int) -> pd.DataFrame:
    order = np.argsort(-np.abs(np.nan_to_num(effects["effect"].to_numpy())), kind="stable")
    return effects.iloc[order[:top]]


def _interval(low: list[float], high: list[float]) -> dict[str, Any]:
    """Bounds for the bars, none where there is not a single interval."""
    if np.isnan(low).all():
        return {}
    return {"low": np.array(low), "high": np.array(high)}


def _effects(build: FigureBuilder, shown: pd.DataFrame, measure: str) -> Panel:
    labels: list[str] = []
    values: list[float] = []
    low: list[float] = []
    high: list[float] = []
    for row in shown.to_dict("records"):
        labels.append(str(row["component"]))
        values.append(row["effect"])
        low.append(row["low"])
        high.append(row["high"])
        if not np.isnan(row["control"]):
            labels.append("↳ control")
            values.append(row["control"])
            low.append(row["control_low"])
            high.append(row["control_high"])
    return build.bars(
        labels, np.array(values), title=_WHAT[measure], unit=UNITS[measure], **_interval(low, high)
    )


def _head_map(build: FigureBuilder, effects: pd.DataFrame, measure: str) -> Panel | None:
    """Effect and control of single heads, layer × head; None where others are among them."""
    found = [_HEAD.fullmatch(str(name)) for name in effects["component"]]
    at = [(int(one[1]), int(one[2])) for one in found if one]
    if len(at) < len(found):
        return None
    layers, heads = (sorted({pair[axis] for pair in at}) for axis in (0, 1))
    values = np.full((2, len(layers), len(heads)), np.nan)
    rows, columns = ([all_.index(p[axis]) for p in at] for axis, all_ in enumerate((layers, heads)))
    for page, name in enumerate(("effect", "control")):
        values[page, rows, columns] = effects[name].to_numpy()
    return build.matrix(
        values,
        title=_WHAT[measure],
        unit=UNITS[measure],
        pages={"label": "run", "options": ["intervened", "control, mean"]},
        rows={
            "title": "layer",
            "labels": [f"L{layer}" for layer in layers],
            "keys": [{"layer": layer} for layer in layers],
        },
        columns={"title": "head", "labels": [f"H{head}" for head in heads], "groups": []},
        order="layer",
        top=None,
        totals=False,
    )


def _chances(build: FigureBuilder, data: xr.Dataset, names: list[str]) -> Panel:
    """P(target) itself, mean over facts and draws."""
    variants, components = data["variant"].values, data["component"].values
    labels, values = ["clean"], [float(data["probability"].isel(run=0).mean())]
    for name in names:
        for variant, label in (("intervened", name), ("control", "↳ control")):
            there = (variants == variant) & (components == name)
            found = data["probability"].values[:, there]
            if found.size and not np.isnan(found).all():
                labels.append(label)
                values.append(float(np.nanmean(found)))
    return build.bars(
        labels, np.array(values), title="Probability of the target", unit="probability"
    )


def _subtitle(result: Causal, data: xr.Dataset) -> str:
    model = result.provenance.get("model", "unknown model")
    base = number(float(data["probability"].isel(run=0).mean()), 3)
    if data.sizes["fact"] > 1:
        return f"{model} · mean P(target) {base} in the clean runs of {data.sizes['fact']} facts"
    rank = int(data["rank"].isel(run=0).values[0])
    token = token_text(str(data["target_token"].values[0]), 40)
    return f"{model} · P({token}) {base}, rank {rank} in the clean run"


def _explained(result: Causal, data: xr.Dataset) -> list[str]:
    """What bars and intervals are."""
    said = [f"control: {result.provenance.get('control', 'none')}"]
    if len(set(data["subject"].values.tolist())) > 1:
        said.append("intervals: 95 %, bootstrap by subject; relations are macro-averaged")
    elif (data["variant"].values == "control").any():
        said.append("the control's interval is the range of its draws")
    return said


def _caption(result: Causal, measure: str) -> str:
    asked: dict[str, Any] = result.provenance.get("asked") or {}
    told = [f"{name} {value}" for name, value in asked.items() if isinstance(value, str)]
    target = str(result.provenance.get("target", ""))
    said = [
        ", ".join([f"{_WHAT[measure]} ({target})", *told]),
        str(result.provenance.get("projection", "")),
        f"weights {str(result.provenance.get('weight_hash', ''))[:12]}",
        f"factviz {result.provenance.get('factviz', '')}",
    ]
    return "; ".join(part for part in said if part) + "."


def build(result: Causal) -> Figure:
    """The figure of a causal effect, as its ``view_options`` want it."""
    options = result.view_options
    measure, top = options.get("measure", "probability"), options.get("top", TOP)
    chosen = options.get("fact")
    data = result.dataset if chosen is None else result.dataset.isel(fact=[chosen])
    effects = Causal(data, result.provenance).effects(measure)
    verb = str(result.provenance.get("verb", "intervention")).replace("_", " ").capitalize()
    builder = FigureBuilder(
        common.title(result, verb), _subtitle(result, data), _caption(result, measure)
    )
    shown = _strongest(effects, top)
    builder.note(*_explained(result, data))
    if len(shown) < len(effects):
        builder.note(
            f"the {len(shown)} strongest of {len(effects)} are drawn; .effects() has all of them"
        )
    builder.note(*map(str, result.provenance.get("notes", [])))
    names = [str(name) for name in shown["component"]]
    panels = [_effects(builder, shown, measure)]
    if len(effects) <= FEW:
        panels.append(_chances(builder, data, names))
    elif head_map := _head_map(builder, effects, measure):
        panels.insert(0, head_map)
    return builder.figure([panels])
