"""The attributes rate as a figure: lines over layers with bands, and the control lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from factviz.results.attributes_rate import METRICS, AttributesRate, Metric
from factviz.views import common
from factviz.views.spec import Figure, FigureBuilder, Panel

_NAMES = {
    "subject_last": "last subject token",
    "subject_first": "first subject token",
    "after_subject": "after the subject",
    "end": "END",
}
_UNITS = {"precision": "fraction of top tokens", "recall": "fraction of attributes",
          "lift": "times chance"}  # fmt: skip


def _maybe(values: Any) -> Any:
    return None if np.isnan(values).all() else values


def _series(bands: xr.Dataset) -> list[dict[str, Any]]:
    found = [
        {
            "label": _NAMES.get(str(position), str(position)),
            "values": one["mean"].values,
            "low": _maybe(one["low"].values),
            "high": _maybe(one["high"].values),
        }
        for position in bands["position"].values
        if not np.isnan((one := bands.sel(position=position))["mean"].values).all()
    ]
    last = bands.isel(position=0)
    if not np.isnan(last["shuffled"].values).all():
        label = f"{found[0]['label']}, shuffled subject"
        found.append({"label": label, "values": last["shuffled"].values})
    level = float(bands["embedding"])
    if np.isfinite(level):
        flat = np.full(bands.sizes["layer"], level)
        found.append({"label": "mean subject embedding", "values": flat})
    return found


def _panel(build: FigureBuilder, result: AttributesRate, metric: Metric) -> Panel:
    top_k = result.dataset.attrs.get("top_k", "?")
    name = "Lift over chance" if metric == "lift" else f"{metric.capitalize()}@{top_k}"
    return build.lines(
        result.dataset["layer"].values,
        _series(result.bands(metric)),
        title=f"{name} of the subject's attributes in hidden states",
        x_title="layer (−1 is the embedding)",
        unit=_UNITS[metric],
    )


def _order(result: AttributesRate) -> list[Metric]:
    """The metric asked for first; else precision, unless the vocabularies are too small for it."""
    small = float(result.dataset["vocabulary_size"].mean()) < result.dataset.attrs.get("top_k", 0)
    first = result.view_options.get("metric") or ("recall" if small else "precision")
    return sorted(METRICS, key=lambda metric: metric != first)  # pyright: ignore[reportReturnType]


def build(result: AttributesRate) -> Figure:
    """The figure of attributes rates: a mean over facts, or one fact; the metric is a choice."""
    fact = result.view_options.get("fact")
    shown = result
    if fact is not None:
        shown = AttributesRate(result.dataset.isel(fact=[fact]), result.provenance)
        shown.view_options = result.view_options
    provenance = result.provenance
    size = float(shown.dataset["vocabulary_size"].mean())
    builder = FigureBuilder(
        common.title(result, "Attributes rate"),
        f"{provenance.get('model')} · {size:.1f} attributes a subject, from "
        f"{provenance.get('vocabulary')}",
        common.caption(provenance, "95 % bands: bootstrap by subject, mean over relations"),
    )
    builder.note(*map(str, provenance.get("notes", [])))
    order = _order(shown)
    panels = [[_panel(builder, shown, metric)] for metric in order]
    return builder.figure(panels, {"label": "metric", "options": list(order)})
