"""`HeadEffects`: what each head wrote towards the answer, beside what its ablation costs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import subject_bands
from factviz.results.shown import number

_HEADS = ("fact", "layer", "head")


class HeadEffects(FactResult):
    """DLA and ablation effect of every head, in logits of the answer.

    Variables [fact, layer, head]: dla, the direct contribution from all tokens; effect, by how much
    the centred logit falls when the head is ablated at END (positive where the head helps);
    probability_effect, the same for P(answer). Where later parts make up for a head (self-repair),
    the effect is smaller than the DLA.
    """

    kind: ClassVar[str] = "HeadEffects"
    what: ClassVar[str] = "table of head effects"
    variables: ClassVar[Dims] = {"dla": _HEADS, "effect": _HEADS, "probability_effect": _HEADS}
    coords: ClassVar[Dims] = {**FACT_COORDS, "relation": ("fact",)}

    @property
    def dla(self) -> xr.DataArray:
        """Direct contributions [layer, head], logits."""
        return self._squeezed(self.dataset["dla"])

    @property
    def effect(self) -> xr.DataArray:
        """Fall of the logit under ablation [layer, head], logits."""
        return self._squeezed(self.dataset["effect"])

    def bands(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """Means over facts with 95 % intervals: relations macro-averaged, subjects resampled.

        Returns
        -------
        Dataset
            dla, effect, gap (DLA − effect: what self-repair and indirect effects leave) and
            probability_effect, each also with _low and _high [layer, head].
        """
        data = self.dataset
        dla, effect = data["dla"].values, data["effect"].values
        measures = {
            "dla": dla,
            "effect": effect,
            "gap": dla - effect,
            "probability_effect": data["probability_effect"].values,
        }
        three = subject_bands(
            np.stack(list(measures.values()), 1),
            [str(name) for name in data["subject"].values],
            [str(name) for name in data["relation"].values],
            n_boot=n_boot,
            seed=seed,
        )
        made = {
            name + edge: (("layer", "head"), values[index])
            for edge, values in zip(("", "_low", "_high"), three, strict=True)
            for index, name in enumerate(measures)
        }
        return xr.Dataset(made, coords={name: np.arange(data.sizes[name]) for name in _HEADS[1:]})

    @property
    def correlation(self) -> float:
        """Pearson's r of mean DLA and mean effect over heads; NaN where one does not vary."""
        bands = self.bands(n_boot=2)
        pair = bands["dla"].values.ravel(), bands["effect"].values.ravel()
        if min(values.std() for values in pair) == 0:
            return float("nan")
        return float(np.corrcoef(*pair)[0, 1])

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact and head.

        Returns
        -------
        DataFrame
            layer, head, dla, effect, gap (logits), probability_effect, fact, subject, relation.
        """
        data = self.dataset
        fact, layer, head = np.indices(data["dla"].shape).reshape(3, -1)
        at = (fact, layer, head)
        dla, effect = data["dla"].values[at], data["effect"].values[at]
        return pd.DataFrame(
            {
                "layer": layer,
                "head": head,
                "dla": dla,
                "effect": effect,
                "gap": dla - effect,
                "probability_effect": data["probability_effect"].values[at],
                "fact": fact,
                "subject": data["subject"].values[fact],
                "relation": data["relation"].values[fact],
            }
        )

    def _summary(self) -> list[str]:
        bands, count = self.bands(), self.dataset.sizes["fact"]
        effect = bands["effect"].values
        order = np.argsort(-np.abs(effect), axis=None, kind="stable")[:5]
        tops: list[str] = []
        for flat in order:
            at: Any = divmod(int(flat), effect.shape[1])
            dla, fall = (number(float(bands[n].values[at]), sign=True) for n in ("dla", "effect"))
            tops.append(f"L{at[0]}H{at[1]} {dla}/{fall}")
        return [
            f"DLA beside ablation of each head, {count} fact{'s' if count > 1 else ''} on "
            f"{self._model()}",
            "largest effects (DLA/effect): " + ", ".join(tops),
            f"correlation over heads {number(self.correlation)}",
            self._projection(),
        ]
