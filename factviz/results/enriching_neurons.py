"""`EnrichingNeurons`: the neurons that write a subject's attributes at its last token."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import subject_bands
from factviz.results.shown import number

_TABLE = ("fact", "layer")
_RANKED = ("fact", "layer", "rank")


class EnrichingNeurons(FactResult):
    """Contributions of MLPs and of their strongest neurons to a subject's attributes.

    In units of the raw projection (the residual stream times output embeddings, no layer norm).
    """

    kind: ClassVar[str] = "EnrichingNeurons"
    what: ClassVar[str] = "table of enriching neurons"
    variables: ClassVar[Dims] = {
        "neurons": _RANKED,
        "activations": _RANKED,
        "contributions": _RANKED,
        "controls": _RANKED,
        "positive": _TABLE,
        "mlps": _TABLE,
        "mlps_control": _TABLE,
    }
    coords: ClassVar[Dims] = {**FACT_COORDS, "relation": ("fact",), "layer": ("layer",)}

    @property
    def contributions(self) -> xr.DataArray:
        """What each of the strongest neurons writes [layer, rank]."""
        return self._squeezed(self.dataset["contributions"])

    @property
    def mlps(self) -> xr.DataArray:
        """What the whole MLP writes [layer]: all neurons and the bias."""
        return self._squeezed(self.dataset["mlps"])

    @property
    def concentration(self) -> xr.DataArray:
        """Share of all that neurons write for this subject that the kept ones have [layer].

        Of the positive contrasts, contribution minus control: a fraction.
        """
        data = self.dataset
        kept = (data["contributions"] - data["controls"].fillna(0)).clip(min=0).sum("rank")
        return self._squeezed(kept / data["positive"])

    def bands(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """Means over facts with 95 % intervals: relations macro-averaged, subjects resampled.

        Returns
        -------
        Dataset
            mean, low, high and control, control_low, control_high [layer].
        """
        data = self.dataset
        made: dict[str, Any] = {}
        for name, labels in (
            ("mlps", ("mean", "low", "high")),
            ("mlps_control", ("control", "control_low", "control_high")),
        ):
            three = subject_bands(
                data[name].values,
                [str(text) for text in data["subject"].values],
                [str(text) for text in data["relation"].values],
                n_boot=n_boot,
                seed=seed,
            )
            made |= {k: ("layer", v) for k, v in zip(labels, three, strict=True)}
        return xr.Dataset(made, coords={"layer": data["layer"]})

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, layer and kept neuron.

        Returns
        -------
        DataFrame
            fact, layer, rank, neuron, activation, contribution, control (along the other subjects'
            attributes), subject, relation.
        """
        data = self.dataset
        fact, layer, rank = np.indices(data["contributions"].shape).reshape(3, -1)
        at = (fact, layer, rank)
        return pd.DataFrame(
            {
                "fact": fact,
                "layer": data["layer"].values[layer],
                "rank": rank + 1,
                "neuron": data["neurons"].values[at],
                "activation": data["activations"].values[at],
                "contribution": data["contributions"].values[at],
                "control": data["controls"].values[at],
                "subject": data["subject"].values[fact],
                "relation": data["relation"].values[fact],
            }
        )

    def _summary(self) -> list[str]:
        data, bands = self.dataset, self.bands()
        frame: Any = self.to_frame()
        first = frame[frame["fact"] == 0]
        contrast = first["contribution"] - first["control"].fillna(0)
        best = first.loc[contrast.sort_values(ascending=False, kind="stable").index[:5]]
        tops = [
            f"L{row.layer}N{row.neuron} {number(float(row.contribution), sign=True)}"
            for row in best.itertuples()
        ]
        layers = [
            f"L{layer} {number(float(mean), sign=True)} ({number(float(control), sign=True)})"
            for layer, mean, control in zip(
                data["layer"].values, bands["mean"].values, bands["control"].values, strict=True
            )
        ]
        some = layers if len(layers) <= 14 else [*layers[:9], "…", *layers[-4:]]
        count = data.sizes["fact"]
        return [
            f"Enriching neurons of {count} fact{'s' if count > 1 else ''} on {self._model()}",
            "MLP updates along the attributes (other subjects'): " + ", ".join(some),
            "largest neurons of the first fact: " + ", ".join(tops),
            self._projection(),
        ]
