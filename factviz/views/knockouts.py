"""What figures of knockouts share: curves over layers, each group beside its control."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import xarray as xr

from factviz.results.factwise import FactResult
from factviz.views.spec import FigureBuilder, Panel

Knockout = TypeVar("Knockout", bound=FactResult)


def chosen(result: Knockout) -> Knockout:
    """The result of the one fact that the view asks for, or of all."""
    fact = result.view_options.get("fact")
    if fact is None:
        return result
    one = type(result)(result.dataset.isel(fact=[fact]), result.provenance)
    one.view_options = result.view_options
    return one


def _present(values: Any) -> Any:
    return None if np.isnan(values).all() else values


def curves(
    build: FigureBuilder,
    means: xr.Dataset,
    along: str,
    *,
    names: dict[str, str],
    title: str,
    x_title: str,
) -> Panel:
    """Mean changes [along, layer] with their bands, then the controls as lines without."""
    drawn: list[dict[str, Any]] = []
    for control in (False, True):
        for number, key in enumerate(means[along].values):
            one = means.isel({along: number})
            kind = "control" if control else "mean"
            if kind not in one or np.isnan(one[kind].values).all():
                continue
            label = names.get(str(key), str(key))
            series: dict[str, Any] = {"label": label, "values": one[kind].values}
            if control:
                series["label"] = f"control: {label}, at random"
            else:
                series |= {edge: _present(one[edge].values) for edge in ("low", "high")}
            drawn.append(series)
    layers = means["layer"].values
    if len(layers) == 1:
        values = np.array([float(one["values"][0]) for one in drawn])
        return build.bars([one["label"] for one in drawn], values, title=title, unit="percent")
    return build.lines(layers, drawn, title=title, x_title=x_title, unit="percent")


def bands_said(result: FactResult) -> str:
    """How the mean and its band were made, for the caption."""
    if result.dataset.sizes["fact"] == 1:
        return "Change in percent of the clean run"
    return (
        "Mean change in percent of the clean run, relations alike; 95 % bands: bootstrap by subject"
    )
