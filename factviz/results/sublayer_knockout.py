"""`SublayerKnockout`: what is lost when MLP or attention updates at a position are cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results import knockout_curves
from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.shown import number, shown, token_text

_SWEEP = ("fact", "sublayer", "layer")
_OPTIONAL: Dims = {"control": _SWEEP, "tokens": ("fact", "sublayer", "layer", "position")}


class SublayerKnockout(FactResult):
    """An outcome when the updates of one kind are cancelled in the window from each layer on.

    For one `Fact` the arrays have no fact dimension. NaN where a run was interrupted
    (``provenance["partial"]``).
    """

    kind: ClassVar[str] = "SublayerKnockout"
    what: ClassVar[str] = "sublayer knockout"
    variables: ClassVar[Dims] = {
        "outcome": _SWEEP,
        "base": ("fact",),
        "cancelled": ("fact", "position"),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        **knockout_curves.FACT_DIMS,
        "token": ("fact", "position"),
        "source_group": ("fact", "position"),
        "sublayer": ("sublayer",),
        "layer": ("layer",),
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        super().__init__(dataset, provenance)
        knockout_curves.check_optional(dataset, self.what, _OPTIONAL)

    @property
    def measure(self) -> str:
        """What the outcome is: "probability" or "attributes_rate"."""
        return str(self.dataset.attrs.get("outcome", "probability"))

    @property
    def outcome(self) -> xr.DataArray:
        """The outcome with updates cancelled [sublayer, layer], a probability or a fraction."""
        return self._squeezed(self.dataset["outcome"])

    @property
    def base(self) -> xr.DataArray:
        """The outcome of the clean run []; [fact] for several facts."""
        return self._squeezed(self.dataset["base"])

    @property
    def change(self) -> xr.DataArray:
        """100 · (outcome − base) / base [sublayer, layer], in percent."""
        return self._squeezed(self._change("outcome"))

    @property
    def control(self) -> xr.DataArray:
        """The outcome with updates cancelled elsewhere [sublayer, layer], mean over the draws.

        Raises
        ------
        FactvizError
            If the knockout was run with ``controls=0``.
        """
        return self._squeezed(self._held("control"))

    @property
    def control_change(self) -> xr.DataArray:
        """The control in percent of the base [sublayer, layer]."""
        self._held("control")
        return self._squeezed(self._change("control"))

    @property
    def tokens(self) -> xr.DataArray:
        """The outcome with updates cancelled at each position [sublayer, layer, position].

        Raises
        ------
        FactvizError
            If the knockout was run without ``tokens``.
        """
        return self._squeezed(self._held("tokens"))

    def curves(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """The mean change over facts with a 95 % interval; relations count alike.

        A single attributes rate is a few tokens in fifty: its changes are in percent of the *mean*
        clean rate, so that the mean is the change of the mean.

        Parameters
        ----------
        n_boot : int
            Resamples, of subjects.
        seed : int

        Returns
        -------
        Dataset
            mean, low, high, and control, control_low, control_high where a control was drawn
            [sublayer, layer], in percent. Intervals are NaN for fewer than two subjects.
        """
        values = {"mean": self._for_means("outcome")}
        if "control" in self.dataset:
            values["control"] = self._for_means("control")
        return knockout_curves.mean_curves(values, self.dataset, n_boot, seed)

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, sublayer and layer that was run.

        Returns
        -------
        DataFrame
            fact, sublayer ("attention" or "mlp"), layer (the first of the window), outcome (a
            probability or a fraction), change (percent), measure (which of the two), base, control
            (as the outcome), control_change (percent), target (token), subject, relation.
        """
        data = self.dataset
        fact, sublayer, layer = at = np.nonzero(~np.isnan(data["outcome"].values))
        missing = np.full(len(fact), np.nan)
        control = "control" in data
        columns: dict[str, Any] = {
            "fact": data["fact"].values[fact],
            "sublayer": data["sublayer"].values[sublayer].astype(object),
            "layer": data["layer"].values[layer],
            "outcome": data["outcome"].values[at],
            "change": self._change("outcome").values[at],
            "measure": self.measure,
            "base": data["base"].values[fact],
            "control": data["control"].values[at] if control else missing,
            "control_change": self._change("control").values[at] if control else missing,
            **knockout_curves.text_columns(data, fact),
        }
        return pd.DataFrame(columns)

    def _held(self, name: str) -> xr.DataArray:
        if name not in self.dataset:
            ask = "controls=1" if name == "control" else "tokens=True"
            raise FactvizError(f"this knockout holds no {name}: run it with {ask}")
        return self.dataset[name]

    def _change(self, name: str) -> xr.DataArray:
        return knockout_curves.percent_change(self.dataset[name], self.dataset["base"])

    def _for_means(self, name: str) -> xr.DataArray:
        if self.measure == "probability":
            return self._change(name)
        mean = self.dataset["base"].mean()
        change = 100 * (self.dataset[name] - self.dataset["base"]) / mean.where(mean != 0)
        return change.transpose(*_SWEEP)

    def _summary(self) -> list[str]:
        data, curves = self.dataset, self.curves(n_boot=1)
        lines = [self._title()]
        for i, sublayer in enumerate(data["sublayer"].values):
            one = curves.isel(sublayer=i)
            control = one.get("control")
            name = f"{sublayer} at {self.provenance.get('at')}"
            lines.append(knockout_curves.strongest(name, one["mean"], control, "from"))
        said = self.provenance
        lines.append(f"{said.get('target')}; {said.get('mode')}; {said.get('window_rule')}")
        return [*lines, *knockout_curves.partial_lines(said)]

    def _title(self) -> str:
        data = self.dataset
        base = number(float(data["base"].mean()))
        many = data.sizes["fact"] > 1
        token = token_text(str(data["target_token"].values[0]), 40)
        clean = f"clean P({token}) {base}" if self.measure == "probability" else f"rate {base}"
        if many:
            clean = f"mean clean {self.measure.replace('_', ' ')} {base}"
        prompt = shown(str(data["prompt"].values[0]), limit=200)
        of = f"of {data.sizes['fact']} facts" if many else f"after {prompt!r}"
        return f"Sublayer knockout {of} on {self._model()}; {clean}"
