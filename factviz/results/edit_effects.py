"""`EditEffects`: what recall loses when W_OV of a head is edited, beside random heads' edits."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.causal import Causal
from factviz.results.factwise import Dims
from factviz.results.shown import number, shown

LOSSES = {
    "top1": "share of facts",
    "probability": "probability",
    "rank": "doublings",
    "logit": "logits",
}
_RUNS = ("run",)


class EditEffects(Causal):
    """Recall under an edit of named heads, and under the same edit of random ones of its size.

    As `Causal`, and by run: size, of the change (``provenance["size"]`` says of what); amount, how
    far the edit went (1 is the whole; a control goes as far as it takes to reach the size); heads,
    which were edited.
    """

    kind: ClassVar[str] = "EditEffects"
    what: ClassVar[str] = "comparison of edits"
    variables: ClassVar[Dims] = {**Causal.variables, "size": _RUNS, "amount": _RUNS}
    coords: ClassVar[Dims] = {**Causal.coords, "heads": _RUNS}

    def _change(self, measure: str) -> xr.DataArray:
        if measure not in ("top1", "rank"):
            return super()._change(measure)
        rank = self.dataset["rank"].transpose("fact", "run")
        values = xr.where(rank.isnull(), np.nan, rank == 1)
        if measure == "rank":
            values = rank.copy(data=np.log2(rank.values))
        return (values - values.isel(run=0)).assign_attrs(units=LOSSES[measure])

    def effects(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        measure: Literal["probability", "logit", "percent", "top1", "rank"] = "probability",
        *,
        n_boot: int = 200,
        seed: int = 0,
    ) -> pd.DataFrame:
        """As `Causal.effects`, also of "top1" (is the target on top?) and "rank" (its doublings).

        Returns
        -------
        DataFrame
            component, effect, low, high, control, control_low, control_high, difference,
            difference_low, difference_high, facts.
        """
        known: Any = measure
        return super().effects(known, n_boot=n_boot, seed=seed)

    def losses(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """The change of top-1, P, rank and logit under each edit, beside its control.

        Means are macro-averaged over relations; intervals are 95 %, bootstrap by subject.

        Returns
        -------
        DataFrame
            component, measure ("top1", a share of the facts; "probability"; "rank", in doublings,
            positive where it is worse; "logit"), then as `effects`: the edit's own change, the mean
            of the control's draws, and their difference, each with its interval; size, amount_low
            and amount_high (how far the controls' edits went).
        """
        parts: list[pd.DataFrame] = []
        for measure in LOSSES:
            one = self.effects(measure, n_boot=n_boot, seed=seed)  # type: ignore[arg-type]
            one.insert(1, "measure", measure)
            parts.append(one)
        table = pd.concat(parts, ignore_index=True)
        return table.merge(self._sizes(), on="component", how="left")

    def _sizes(self) -> pd.DataFrame:
        data = self.dataset
        variants, names = data["variant"].values, data["component"].values
        rows: list[dict[str, Any]] = []
        for name in self.components:
            own = data["size"].values[(variants == "intervened") & (names == name)]
            drawn = data["amount"].values[(variants == "control") & (names == name)]
            drawn = drawn[~np.isnan(drawn)]
            edges = (drawn.min(), drawn.max()) if len(drawn) else (np.nan, np.nan)
            rows.append(
                {
                    "component": name,
                    "size": float(own[0]),
                    "amount_low": float(edges[0]),
                    "amount_high": float(edges[1]),
                }
            )
        return pd.DataFrame(rows)

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact and run.

        Returns
        -------
        DataFrame
            As of `Causal`, then heads (those edited), size and amount.
        """
        frame, data = super().to_frame(), self.dataset
        _, run = np.nonzero(~np.isnan(data["probability"].values))
        for name in ("heads", "size", "amount"):
            frame[name] = data[name].values[run]
        return frame

    def _summary(self) -> list[str]:
        count, table = self.dataset.sizes["fact"], self.losses(n_boot=50)
        edit = shown(str(self.provenance.get("edit", "an edit")), limit=120)
        title = f"Edits ({edit}) on {count} fact{'s' if count > 1 else ''}, {self._model()}"
        lines: list[str] = []
        for name in self.components[:5]:
            rows = table[table["component"] == name].set_index("measure")
            told = [
                f"{label} {number(rows.at[key, 'effect'], 3, sign=True)}"
                f" (control {number(rows.at[key, 'control'], 3, sign=True)})"
                for key, label in (("top1", "top-1"), ("probability", "P"))
            ]
            lines.append(f"{shown(name, limit=80)}: {', '.join(told)}")
        control = self.provenance.get("control", "none")
        partial = ["partial: the run was interrupted"] if self.provenance.get("partial") else []
        return [title, *lines, f"control: {control}", *partial]
