"""`HubMap`: which heads map a subject's tokens to its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.base import Result
from factviz.results.factwise import Dims, check
from factviz.results.resampling import subject_bands
from factviz.results.shown import number

_GRID = ("layer", "head")


class HubMap(Result):
    """Shares of subjects by head and layer, beside what random tokens would give.

    Parameters
    ----------
    dataset
        Variables share and control [layer, head], prevalence and prevalence_control [layer], hits
        [subject, layer, head]; coordinate subject_name [subject].
    provenance
        Model, weight hash, projection and versions.

    Raises
    ------
    FactvizError
        If the dataset lacks one of them.
    """

    kind: ClassVar[str] = "HubMap"
    variables: ClassVar[Dims] = {
        "share": _GRID,
        "control": _GRID,
        "prevalence": ("layer",),
        "prevalence_control": ("layer",),
        "hits": ("subject", *_GRID),
    }
    coords: ClassVar[Dims] = {"subject_name": ("subject",), "layer": ("layer",), "head": ("head",)}

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, "hub map", self.variables, self.coords)
        super().__init__(dataset, provenance)

    @property
    def share(self) -> xr.DataArray:
        """Share of subjects with a token that the head maps to an attribute [layer, head]."""
        return self.dataset["share"]

    @property
    def control(self) -> xr.DataArray:
        """The share to expect with random tokens in place of the subjects' [layer, head]."""
        return self.dataset["control"]

    @property
    def prevalence(self) -> xr.DataArray:
        """Share of subjects for which any head of the layer does [layer]."""
        return self.dataset["prevalence"]

    def bands(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """The shares with 95 % intervals from resampled subjects.

        Returns
        -------
        Dataset
            low and high [layer, head], prevalence_low and prevalence_high [layer]; NaN for one
            subject.
        """
        names = [str(name) for name in self.dataset["subject_name"].values]
        hits = self.dataset["hits"].values.astype(np.float64)
        made: dict[str, Any] = {}
        for prefix, values, dims in (("", hits, _GRID), ("prevalence_", hits.max(2), _GRID[:1])):
            _, low, high = subject_bands(values, names, [""] * len(names), n_boot=n_boot, seed=seed)
            made |= {f"{prefix}low": (dims, low), f"{prefix}high": (dims, high)}
        return xr.Dataset(made, coords={name: self.dataset[name] for name in _GRID})

    def to_frame(self) -> pd.DataFrame:
        """One row for each head.

        Returns
        -------
        DataFrame
            layer, head, share, low, high (95 %), control, above (share − control), hub (the whole
            interval lies above the control).
        """
        data, bands = self.dataset, self.bands()
        layers, heads = data["share"].shape
        share, control = data["share"].values.ravel(), data["control"].values.ravel()
        low, high = bands["low"].values.ravel(), bands["high"].values.ravel()
        return pd.DataFrame(
            {
                "layer": np.repeat(data["layer"].values, heads),
                "head": np.tile(data["head"].values, layers),
                "share": share,
                "low": low,
                "high": high,
                "control": control,
                "above": share - control,
                "hub": low > control,
            }
        )

    def _summary(self) -> list[str]:
        frame: Any = self.to_frame()
        best = frame.sort_values("above", ascending=False, kind="stable").head(5)
        tops = [
            f"L{row.layer}H{row.head} {number(float(row.share))} ({number(float(row.control))})"
            for row in best.itertuples()
        ]
        layers = [f"L{i} {number(float(v))}" for i, v in enumerate(self.prevalence.values)]
        some = layers if len(layers) <= 14 else [*layers[:9], "…", *layers[-4:]]
        model = self.provenance.get("model", "unknown model")
        return [
            f"Hub map of {self.dataset.sizes['subject']} subjects on {model}",
            "heads most above random tokens, share (control): " + ", ".join(tops),
            f"{int(frame['hub'].sum())} of {len(frame)} heads are above their control;"
            " any head of a layer: " + ", ".join(some),
            str(self.provenance.get("projection", "projection not stated")),
        ]
