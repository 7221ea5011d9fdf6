"""`Causal`: what an intervention does to a token at END, beside its control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results import causal_tables
from factviz.results.causal_tables import masked_bands, mean_of_draws
from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.shown import digits_for, number, shown, token_text

Measure = Literal["probability", "logit", "percent"]
UNITS = {"probability": "probability", "logit": "logits", "percent": "percent of P"}
_RUNS = ("fact", "run")


class Causal(FactResult):
    """The target's probability, centred logit and rank: clean, intervened, and under a control.

    Variables are [fact, run]; run 0 is the clean one ("base"), then one run a component
    ("intervened"), then the control draws of each ("control"; NaN where a fact has none). For one
    `Fact` the accessors have no fact dimension.
    """

    kind: ClassVar[str] = "Causal"
    what: ClassVar[str] = "causal effect"
    variables: ClassVar[Dims] = {
        "probability": _RUNS,
        "logit": _RUNS,
        "rank": _RUNS,
        "source_probability": _RUNS,
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "variant": ("run",),
        "component": ("run",),
        "draw": ("run",),
        "target_id": ("fact",),
        "target_token": ("fact",),
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        super().__init__(dataset, provenance)
        variants = [str(name) for name in dataset["variant"].values]
        count = variants.count("intervened")
        controls = len(variants) - 1 - count
        expected = ["base", *["intervened"] * count, *["control"] * controls]
        if not count or controls % count or variants != expected:
            raise FactvizError(f"this is no {self.what}: its runs are {variants[:8]}")

    @property
    def probability(self) -> xr.DataArray:
        """Of the target at END [run]."""
        return self._squeezed(self.dataset["probability"])

    @property
    def logit(self) -> xr.DataArray:
        """Of the target at END, minus the vocabulary mean [run], logits."""
        return self._squeezed(self.dataset["logit"])

    @property
    def rank(self) -> xr.DataArray:
        """Of the target in the vocabulary, 1 is the top [run]."""
        return self._squeezed(self.dataset["rank"])

    @property
    def components(self) -> list[str]:
        """What was changed, a run each."""
        there = self.dataset["variant"].values == "intervened"
        return [str(name) for name in self.dataset["component"].values[there]]

    def change(self, measure: Measure = "probability") -> xr.DataArray:
        """The difference from the clean run [run].

        Parameters
        ----------
        measure
            "probability" (difference), "logit" (difference), or "percent" of the clean
            probability (P3's).
        """
        return self._squeezed(self._change(measure))

    def _change(self, measure: str) -> xr.DataArray:
        if measure not in UNITS:
            raise FactvizError(f"measure {measure!r} is unknown: {', '.join(UNITS)}")
        values = self.dataset["logit" if measure == "logit" else "probability"]
        difference = values - values.isel(run=0)
        if measure == "percent":
            difference = 100 * difference / values.isel(run=0)
        return difference.transpose(*_RUNS).assign_attrs(units=UNITS[measure])

    def effects(
        self, measure: Measure = "probability", *, n_boot: int = 200, seed: int = 0
    ) -> pd.DataFrame:
        """One row for each component: mean effect, mean control, and their difference.

        Means are macro-averaged over relations; intervals are 95 %, bootstrap by subject. With
        fewer than two subjects the control's interval is the range of its draws, and the others
        are NaN.

        Returns
        -------
        DataFrame
            component, effect, low, high, control, control_low, control_high, difference,
            difference_low, difference_high (all in the measure's unit), facts.
        """
        data, change = self.dataset, self._change(measure).values
        effect = change[:, data["variant"].values == "intervened"]
        drawn = change[:, data["variant"].values == "control"]
        count = effect.shape[1]
        drawn = drawn.reshape(len(change), count, -1)
        control = mean_of_draws(drawn)
        columns: dict[str, Any] = {"component": self.components}
        for name, values in (
            ("effect", effect),
            ("control", control),
            ("difference", effect - control),
        ):
            mean, low, high = masked_bands(values, data, n_boot, seed)
            edge = "" if name == "effect" else f"{name}_"
            columns |= {name: mean, f"{edge}low": low, f"{edge}high": high}
        if len(set(data["subject"].values.tolist())) < 2 and drawn.size:
            columns["control_low"] = _edge(drawn, np.fmin)
            columns["control_high"] = _edge(drawn, np.fmax)
        return pd.DataFrame(columns | {"facts": len(change)})

    def outcomes(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """P, accuracy and rank of the target itself: clean, intervened, and under each control.

        Means are macro-averaged over relations; intervals are 95 %, bootstrap by subject.

        Returns
        -------
        DataFrame
            variant ("base", "intervened", "control"), component, probability, accuracy (share of
            facts whose target is on top) and logit, each with _low and _high, median_rank, facts.
        """
        return causal_tables.outcomes(self.dataset, n_boot=n_boot, seed=seed)

    def interactions(
        self, measure: Measure = "logit", *, n_boot: int = 200, seed: int = 0
    ) -> pd.DataFrame:
        """Whether two interventions do together what they do alone: 0 where effects add up.

        Returns
        -------
        DataFrame
            first, second, effect_first, effect_second, effect_both, interaction (both − first −
            second) with low and high (95 %), in the measure's unit; one row for each run named
            "A + B" beside runs "A" and "B".

        Raises
        ------
        FactvizError
            If no run changes two of the others at once.
        """
        change = self._change(measure).values
        return causal_tables.interactions(change, self.dataset, n_boot=n_boot, seed=seed)

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact and run.

        Returns
        -------
        DataFrame
            fact, variant ("base", "intervened", "control"), probability, logit (centred, logits),
            rank (1 is the top), component, change (percent of the clean probability), draw,
            source_probability, target. A control that a fact does not have has no row.
        """
        data = self.dataset
        fact, run = np.nonzero(~np.isnan(data["probability"].values))
        at = (fact, run)
        return pd.DataFrame(
            {
                "fact": fact,
                "variant": data["variant"].values[run],
                "probability": data["probability"].values[at],
                "logit": data["logit"].values[at],
                "rank": data["rank"].values[at].astype(int),
                "component": data["component"].values[run],
                "change": self._change("percent").values[at],
                "draw": data["draw"].values[run],
                "source_probability": data["source_probability"].values[at],
                "target": data["target_token"].values[fact],
            }
        )

    def view(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *, fact: int | None = None, measure: Measure | None = None, top: int | None = None
    ) -> Causal:
        """The same result, drawn differently.

        Parameters
        ----------
        fact
            Draw this fact alone (0 is the first).
        measure
            "probability", "logit" or "percent".
        top
            Components drawn at most (default 12).

        Raises
        ------
        FactvizError
            If a value names nothing that is there.
        """
        twin = super().view(fact=fact)
        if measure is not None:
            self._change(measure)
            twin = twin._with_view(measure=measure)
        if top is not None:
            if top < 1:
                raise FactvizError(f"top={top} components cannot be drawn: 1 or more")
            twin = twin._with_view(top=top)
        return twin

    def _summary(self) -> list[str]:
        data, told = self.dataset, self.effects()
        base = float(data["probability"].isel(run=0).mean())
        count = data.sizes["fact"]
        if count == 1:
            what = shown(str(data["prompt"].values[0]), limit=200)
            title = f"{self._verb()} after {what!r} on {self._model()}"
            token = token_text(str(data["target_token"].values[0]), 40)
        else:
            title = f"{self._verb()} on {count} facts, {self._model()}"
            token = "the target, mean"
        rows = told.iloc[np.argsort(-np.abs(told["effect"].values), kind="stable")[:5]]
        lines = [title, f"P({token}) = {number(base, digits_for(base) + 1)} in the clean run"]
        digits = digits_for(float(rows["effect"].abs().max())) + 1
        for row in rows.itertuples():
            effect, control = (number(v, digits, sign=True) for v in (row.effect, row.control))
            line = f"{shown(str(row.component), limit=80)}: {effect}"
            lines.append(line if np.isnan(row.control) else f"{line}, control {control}")
        return [*lines, f"control: {self.provenance.get('control', 'none')}"]

    def _verb(self) -> str:
        return str(self.provenance.get("verb", "intervention")).replace("_", " ")


def _edge(drawn: np.ndarray, pick: Any) -> np.ndarray:
    return pick.reduce(pick.reduce(drawn, axis=2), axis=0)
