"""`MLPBoosts`: what MLPs add at END to a, S, R and O, and how evenly."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.head_profile import LETTERS, ROLES
from factviz.results.resampling import subject_bands
from factviz.results.shown import number, token_text


class MLPBoosts(FactResult):
    """Contributions of MLPs at END to the mean of each role, and their evenness over R.

    Variables: contribution [fact, role, layer], logits; spread [fact, layer], the standard
    deviation over R, logits; share_below [fact, layer], the share of R that gets less than a;
    total_spread and total_share_below [fact], the same of all MLPs together; rank [fact], of a
    among a and R by all MLPs together; lifted [rank], logits, mean over facts; neurons [role,
    layer, neuron] where they were asked for, logits, macro-averaged over relations.
    """

    kind: ClassVar[str] = "MLPBoosts"
    what: ClassVar[str] = "table of MLP boosts"
    variables: ClassVar[Dims] = {
        "contribution": ("fact", "role", "layer"),
        "spread": ("fact", "layer"),
        "share_below": ("fact", "layer"),
        "total_spread": ("fact",),
        "total_share_below": ("fact",),
        "rank": ("fact",),
        "lifted": ("rank_of_token",),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "role": ("role",),
        "layer": ("layer",),
        "lifted_token": ("rank_of_token",),
    }

    @property
    def contribution(self) -> xr.DataArray:
        """To the mean of each role [role, layer], logits."""
        return self._squeezed(self.dataset["contribution"])

    def bands(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """Means over facts with 95 % intervals: relations macro-averaged, subjects resampled.

        Returns
        -------
        Dataset
            mean, low, high [role, layer]; total, total_low, total_high [role], of all layers;
            lift, lift_low, lift_high (R − O) and single, single_low, single_high (a − R), of all
            layers; logits. spread (over R) and share_below (of R that gets less than a; .5 where a
            is one of many), of all layers.
        """
        data = self.dataset
        values = data["contribution"].values.astype(np.float64)
        total = values.sum(2)
        roles = [ROLES.index(name) for name in ("same_relation", "control", "answer")]
        relation, control, answer = (total[:, index] for index in roles)
        made: dict[str, Any] = {}
        for names, measure, dims in (
            (("mean", "low", "high"), values, ("role", "layer")),
            (("total", "total_low", "total_high"), total, ("role",)),
            (("lift", "lift_low", "lift_high"), relation - control, ()),
            (("single", "single_low", "single_high"), answer - relation, ()),
            (("spread", "spread_low", "spread_high"), data["total_spread"].values, ()),
            (
                ("share_below", "share_below_low", "share_below_high"),
                data["total_share_below"].values,
                (),
            ),
        ):
            three = subject_bands(
                measure,
                [str(name) for name in data["subject"].values],
                [str(name) for name in data["relation"].values],
                n_boot=n_boot,
                seed=seed,
            )
            made |= {name: (dims, v) for name, v in zip(names, three, strict=True)}
        return xr.Dataset(made, coords={"role": list(ROLES), "layer": data["layer"]})

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, layer and role.

        Returns
        -------
        DataFrame
            layer, role ("answer", "same_subject", "same_relation", "control"), attribute (the
            answer, or "mean of" the role), contribution (logits), spread (over R, logits),
            share_below (of R), fact, subject, relation.
        """
        data = self.dataset
        fact, role, layer = np.nonzero(~np.isnan(data["contribution"].values))
        words = np.array([f"mean of {LETTERS[name]}" for name in ROLES], dtype=object)[role]
        words[role == 0] = data["answer"].values[fact[role == 0]]
        return pd.DataFrame(
            {
                "layer": data["layer"].values[layer],
                "role": data["role"].values[role],
                "attribute": words,
                "contribution": data["contribution"].values[fact, role, layer],
                "spread": data["spread"].values[fact, layer],
                "share_below": data["share_below"].values[fact, layer],
                "fact": fact,
                "subject": data["subject"].values[fact],
                "relation": data["relation"].values[fact],
            }
        )

    def top_neurons(self, k: int = 20) -> pd.DataFrame:
        """The neurons that lift R over O most, mean over facts.

        Returns
        -------
        DataFrame
            layer, neuron, answer, same_subject, same_relation, control, lift (R − O), logits.

        Raises
        ------
        FactvizError
            If neurons were not asked for.
        """
        if "neurons" not in self.dataset:
            raise FactvizError("neurons were not kept: ask for mlp_boosts(…, neurons=True)")
        values = self.dataset["neurons"].values
        lift = values[ROLES.index("same_relation")] - values[ROLES.index("control")]
        best = np.argsort(-np.nan_to_num(lift), axis=None, kind="stable")[:k]
        layer, neuron = np.unravel_index(best, lift.shape)
        columns = {name: values[index, layer, neuron] for index, name in enumerate(ROLES)}
        where = {"layer": self.dataset["layer"].values[layer], "neuron": neuron}
        return pd.DataFrame(where | columns | {"lift": lift[layer, neuron]})

    def _summary(self) -> list[str]:
        data, bands = self.dataset, self.bands()
        count = data.sizes["fact"]
        totals = [
            f"{LETTERS[role]} {number(float(value), sign=True)}"
            for role, value in zip(ROLES, bands["total"].values, strict=True)
        ]
        tops = [token_text(str(text), 20) for text in data["lifted_token"].values[:5]]
        layers = [
            f"L{layer} {number(float(value), sign=True)}"
            for layer, value in zip(
                data["layer"].values, bands["mean"].sel(role="same_relation").values, strict=True
            )
        ]
        some = layers if len(layers) <= 14 else [*layers[:9], "…", *layers[-4:]]
        return [
            f"MLP boosts at END of {count} fact{'s' if count > 1 else ''} on {self._model()}",
            "all MLPs: " + ", ".join(totals),
            "on R, by layer: " + ", ".join(some),
            f"evenness: spread over R {number(float(bands['spread']))} logits, a above "
            f"{number(100 * float(bands['share_below']), 0)} % of R",
            "lifted most: " + " ".join(tops),
            self._projection(),
        ]
