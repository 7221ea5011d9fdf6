"""Suppressors by rule: measured on all and on halves, chosen on one, judged on the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Int

from factviz.results.correlations import correlation_bands
from factviz.results.halves import HALVES, SAMPLES, cross_fit
from factviz.results.resampling import subject_bands
from factviz.results.suppressors import MEANS, MEASURES

_STATISTICS = ("mean", "low", "high")


def measure_samples(
    dataset: xr.Dataset, rows: Mapping[str, Int[np.ndarray, " fact"]], *, n_boot: int, seed: int
) -> xr.Dataset:
    """Means and correlations of every part, on all facts and on each half.

    Parameters
    ----------
    dataset : Dataset
        With the numbers of each fact and part.
    rows : mapping
        The facts of each of `SAMPLES`.
    n_boot, seed : int
    """
    shape = (len(_STATISTICS), len(SAMPLES), len(MEASURES), dataset.sizes["part"])
    tables = np.full(shape, np.nan)
    for place, name in enumerate(SAMPLES):
        some = dataset.isel(fact=rows[name])
        subjects, relations = ([str(v) for v in some[c].values] for c in ("subject", "relation"))
        values = {n: some[n].values for n in MEANS if n != "difference"}
        values["difference"] = values["ablation"] - values["control"]
        bands = subject_bands(
            np.stack([values[n] for n in MEANS], 1), subjects, relations, n_boot=n_boot, seed=seed
        )
        tables[:, place, : len(MEANS)] = np.stack(bands)
        chance = np.repeat(some["probability"].values[:, None], shape[-1], 1)
        found = correlation_bands(
            chance, some["effect"].values.astype(np.float64), subjects, relations, n_boot=n_boot,
            seed=seed,
        )  # fmt: skip
        for row, measure in enumerate(("correlation", "slope")):
            tables[:, place, MEASURES.index(measure)] = found[row]
    data: dict[str, Any] = {
        name: (("sample", "measure", "part"), table)
        for name, table in zip(_STATISTICS, tables, strict=True)
    }
    return xr.Dataset(data, coords={"sample": list(SAMPLES), "measure": list(MEASURES)})


def judge(measured: xr.Dataset) -> xr.Dataset:
    """Which parts the rule chooses on each half, and which of them hold on the other."""

    def holds(half: str, _: Bool[np.ndarray, " part"] | None) -> Bool[np.ndarray, " part"]:
        own = measured.sel(sample=half)
        low, high = ({n: own[edge].sel(measure=n).values for n in MEASURES}
                     for edge in ("low", "high"))  # fmt: skip
        missing = np.isnan(own["mean"].sel(measure="control").values)
        with np.errstate(invalid="ignore"):  # NaN: what is undefined does not hold
            return (
                (high["effect"] < 0)
                & (high["correlation"] < 0)
                & (low["ablation"] > 0)
                & (missing | (low["difference"] > 0))
            )

    chosen, held = cross_fit(holds)
    data = {name: (("half", "part"), v) for name, v in (("chosen", chosen), ("held", held))}
    return xr.Dataset(data, coords={"half": list(HALVES)})
