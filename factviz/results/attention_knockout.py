"""`AttentionKnockout`: what the answer loses when END may not read a set of positions."""

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

_SWEEP = ("fact", "window", "group", "layer")
_OPTIONAL: Dims = {"control": _SWEEP, "tokens": ("fact", "window", "layer", "position")}


class AttentionKnockout(FactResult):
    """Probabilities of the target when attention from END is blocked around each layer.

    For one `Fact` the arrays have no fact dimension, for one window size no window dimension. NaN
    where a prompt lacks a set, or a run was interrupted (``provenance["partial"]``).
    """

    kind: ClassVar[str] = "AttentionKnockout"
    what: ClassVar[str] = "attention knockout"
    variables: ClassVar[Dims] = {
        "probability": _SWEEP,
        "base": ("fact",),
        "blocked": ("fact", "group", "position"),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        **knockout_curves.FACT_DIMS,
        "token": ("fact", "position"),
        "source_group": ("fact", "position"),
        "window": ("window",),
        "group": ("group",),
        "layer": ("layer",),
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        super().__init__(dataset, provenance)
        knockout_curves.check_optional(dataset, self.what, _OPTIONAL)

    @property
    def probability(self) -> xr.DataArray:
        """The target's probability with END's attention blocked [group, layer]."""
        return self._tidy("probability")

    @property
    def base(self) -> xr.DataArray:
        """The target's probability in the clean run []; [fact] for several facts."""
        return self._squeezed(self.dataset["base"])

    @property
    def change(self) -> xr.DataArray:
        """100 · (probability − base) / base [group, layer], in percent."""
        return self._shaped(self._change("probability"))

    @property
    def control(self) -> xr.DataArray:
        """The probability with as many random keys blocked [group, layer], mean over the draws.

        Raises
        ------
        FactvizError
            If the knockout was run with ``controls=0``.
        """
        return self._tidy("control")

    @property
    def control_change(self) -> xr.DataArray:
        """The control in percent of the base [group, layer]."""
        self._need("control")
        return self._shaped(self._change("control"))

    @property
    def tokens(self) -> xr.DataArray:
        """The probability with each single position blocked [layer, position].

        Raises
        ------
        FactvizError
            If the knockout was run without ``tokens``.
        """
        return self._tidy("tokens")

    def curves(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """The mean change over facts with a 95 % interval; relations count alike.

        Parameters
        ----------
        n_boot : int
            Resamples, of subjects.
        seed : int

        Returns
        -------
        Dataset
            mean, low, high, and control, control_low, control_high where a control was drawn
            [group, layer], in percent; a leading window dimension for several. Intervals are NaN
            for fewer than two subjects.
        """
        values = {"mean": self._change("probability")}
        if "control" in self.dataset:
            values["control"] = self._change("control")
        return self._one_window(knockout_curves.mean_curves(values, self.dataset, n_boot, seed))

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, window, group and layer that was run.

        Returns
        -------
        DataFrame
            fact, group, layer (the middle of the window), probability, change (percent), window
            (layers), base, control (probability), control_change (percent), target (token),
            subject, relation.
        """
        data = self.dataset
        fact, window, group, layer = at = np.nonzero(~np.isnan(data["probability"].values))
        missing = np.full(len(fact), np.nan)
        control = "control" in data
        columns: dict[str, Any] = {
            "fact": data["fact"].values[fact],
            "group": data["group"].values[group].astype(object),
            "layer": data["layer"].values[layer],
            "probability": data["probability"].values[at],
            "change": self._change("probability").values[at],
            "window": data["window"].values[window],
            "base": data["base"].values[fact],
            "control": data["control"].values[at] if control else missing,
            "control_change": self._change("control").values[at] if control else missing,
            **knockout_curves.text_columns(data, fact),
        }
        return pd.DataFrame(columns)

    def _need(self, name: str) -> None:
        if name not in self.dataset:
            ask = "controls=1" if name == "control" else "tokens=True"
            raise FactvizError(f"this knockout holds no {name}: run it with {ask}")

    def _change(self, name: str) -> xr.DataArray:
        return knockout_curves.percent_change(self.dataset[name], self.dataset["base"])

    def _tidy(self, name: str) -> xr.DataArray:
        self._need(name)
        return self._shaped(self.dataset[name])

    def _shaped(self, array: xr.DataArray) -> xr.DataArray:
        return self._one_window(self._squeezed(array))

    def _one_window(self, array: Any) -> Any:
        return array.isel(window=0, drop=True) if self.dataset.sizes["window"] == 1 else array

    def _summary(self) -> list[str]:
        data = self.dataset
        curves = knockout_curves.mean_curves({"mean": self._change("probability")}, data, 1, 0)
        control = None
        if "control" in data:
            control = knockout_curves.mean_curves({"control": self._change("control")}, data, 1, 0)
        lines = [self._title()]
        for i, window in enumerate(data["window"].values):
            size = f", windows {window} wide" if data.sizes["window"] > 1 else ""
            for j, group in enumerate(data["group"].values):
                at = {"window": i, "group": j}
                random = None if control is None else control["control"].isel(at)
                name = f"END → {group}{size}"
                mean = curves["mean"].isel(at)
                lines.append(knockout_curves.strongest(name, mean, random, "around"))
        lines.append(f"{self.provenance.get('target')}; {self.provenance.get('window_rule')}")
        return [*lines, *knockout_curves.partial_lines(self.provenance)]

    def _title(self) -> str:
        data = self.dataset
        base = number(float(data["base"].mean()))
        if data.sizes["fact"] > 1:
            count = data.sizes["fact"]
            return f"Attention knockout of {count} facts on {self._model()}; mean clean P {base}"
        prompt = shown(str(data["prompt"].values[0]), limit=200)
        token = token_text(str(data["target_token"].values[0]), 40)
        return f"Attention knockout after {prompt!r} on {self._model()}; clean P({token}) {base}"
