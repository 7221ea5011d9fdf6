"""What knockouts share: changes in percent of a clean run, and their mean curves with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Int

from factviz.results.factwise import Dims, check
from factviz.results.resampling import subject_bands
from factviz.results.shown import number

FACT_DIMS: Dims = {"relation": ("fact",), "target_token": ("fact",), "target_id": ("fact",)}


def check_optional(dataset: xr.Dataset, what: str, optional: Dims) -> None:
    """Check the dimensions of variables that may be missing."""
    present = {name: dims for name, dims in optional.items() if name in dataset.variables}
    check(dataset, what, present, {})


def percent_change(values: xr.DataArray, base: xr.DataArray) -> xr.DataArray:
    """100 · (new − base) / base; NaN where the base is 0."""
    change = 100 * (values - base) / base.where(base != 0)
    return change.transpose(*values.dims).assign_attrs(units="percent")


def mean_curves(
    values: dict[str, xr.DataArray], data: xr.Dataset, n_boot: int, seed: int
) -> xr.Dataset:
    """Means over facts with 95 % intervals: mean, low, high, or name, name_low, name_high.

    Relations are macro-averaged, subjects resampled.
    """
    found: dict[str, xr.DataArray] = {}
    for name, array in values.items():
        named = (name, "low", "high") if name == "mean" else (name, f"{name}_low", f"{name}_high")
        three = subject_bands(
            array.values,
            [str(subject) for subject in data["subject"].values],
            [str(relation) for relation in data["relation"].values],
            n_boot=n_boot,
            seed=seed,
        )
        kept = array.isel(fact=0, drop=True)
        for label, one in zip(named, three, strict=True):
            found[label] = kept.copy(data=one).reset_coords(drop=True)
    return xr.Dataset(found)


def text_columns(data: xr.Dataset, fact: Int[np.ndarray, " row"]) -> dict[str, Any]:
    """Columns target, subject and relation of a table whose rows belong to these facts."""
    coords = {"target": "target_token", "subject": "subject", "relation": "relation"}
    return {name: data[coord].values[fact].astype(object) for name, coord in coords.items()}


def strongest(name: str, mean: xr.DataArray, control: xr.DataArray | None, where: str) -> str:
    """One line: where a curve [layer], in percent, is farthest from 0, and the control there.

    ``where`` is "around" or "from" the layer.
    """
    values = mean.values
    if np.isnan(values).all():
        return f"{name}: nothing was run"
    best = int(np.nanargmax(np.abs(values)))
    layer = int(mean["layer"].values[best])
    line = f"{name}: most {where} L{layer}, {number(float(values[best]), 1, sign=True)} %"
    if control is None:
        return line
    return f"{line} (random: {number(float(control.values[best]), 1, sign=True)} %)"


def partial_lines(provenance: Mapping[str, Any]) -> list[str]:
    """A line that says so, where the run was interrupted."""
    return ["partial: the run was interrupted"] if provenance.get("partial") else []
