"""`Gradients`: how sensitive the answer is to the state that enters each layer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.factwise import FACT_COORDS, POSITION_COORDS, Dims, FactResult
from factviz.results.shown import number, shown, token_text

_STATE = ("fact", "layer", "position")


class Gradients(FactResult):
    """Gradient × input of the state that enters each layer, in the target's unit.

    For several facts arrays have a leading ``fact`` dimension, padded with NaN.
    """

    kind: ClassVar[str] = "Gradients"
    what: ClassVar[str] = "table of gradients"
    variables: ClassVar[Dims] = {"values": _STATE, "sizes": _STATE}
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        **POSITION_COORDS,
        "layer": ("layer",),
        "target": ("fact",),
    }

    @property
    def values(self) -> xr.DataArray:
        """Sum over d_model of gradient ⊙ state [layer, position], signed."""
        return self._squeezed(self.dataset["values"])

    @property
    def sizes(self) -> xr.DataArray:
        """Length of gradient ⊙ state [layer, position]: what cancels in the sum still shows."""
        return self._squeezed(self.dataset["sizes"])

    @property
    def unit(self) -> str:
        """The target's unit, logits or probability."""
        return str(self.provenance.get("unit", ""))

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, layer and position.

        Returns
        -------
        DataFrame
            layer (the state that enters it), position, token, value (signed), fact, size, group,
            target (the token whose logit or probability it is).
        """
        data = self.dataset
        there = np.broadcast_to((data["group"].values != "")[:, None], data["values"].shape)
        fact, layer, position = np.nonzero(there)
        at = (fact, layer, position)
        columns: dict[str, Any] = {
            "layer": data["layer"].values[layer],
            "position": position,
            "token": data["token"].values[fact, position],
            "value": data["values"].values[at],
            "fact": fact,
            "size": data["sizes"].values[at],
            "group": data["group"].values[fact, position],
            "target": data["target"].values[fact],
        }
        return pd.DataFrame(columns)

    def _summary(self) -> list[str]:
        data = self.dataset
        one = data.isel(fact=0)
        title = (
            f"Gradient × input for {shown(str(one['prompt'].item()), limit=200)!r}"
            if data.sizes["fact"] == 1
            else f"Gradient × input for {data.sizes['fact']} facts, the first one's largest"
        )
        values = np.nan_to_num(one["values"].values)
        best = np.argsort(-np.abs(values), axis=None, kind="stable")[:5]
        places = [divmod(int(flat), values.shape[1]) for flat in best]
        tops = [
            f"into L{data['layer'].values[layer]} at {token_text(str(one['token'].values[at]), 20)}"
            f" {number(float(values[layer, at]), sign=True)}"
            for layer, at in places
        ]
        return [
            f"{title} on {self._model()}",
            "largest: " + ", ".join(tops),
            f"{self.provenance.get('target', '')}, {self.unit}; {self._projection()}",
        ]
