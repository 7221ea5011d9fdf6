"""`PathPatching`: how much of the answer's logit runs from each head and MLP to a receiver."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError
from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import ratio_bands, subject_bands
from factviz.results.shown import number

_SENDER = ("component", "layer", "head")


class PathPatching(FactResult):
    """The effect of each sender through one receiver on π, the answer's logit at END.

    π is the answer's logit minus the vocabulary's mean. Effects of senders from which no path leads
    to the receiver are NaN.

    Variables: heads [fact, layer, head] and mlps [fact, layer], the change of π in logits; base
    [fact], π of the unchanged run; with controls also control_heads [fact, layer, head, draw] and
    control_mlps [fact, layer, draw], the change when the sender is moved as far in a random
    direction.
    """

    kind: ClassVar[str] = "PathPatching"
    what: ClassVar[str] = "map of paths"
    variables: ClassVar[Dims] = {
        "heads": ("fact", "layer", "head"),
        "mlps": ("fact", "layer"),
        "base": ("fact",),
    }
    coords: ClassVar[Dims] = {**FACT_COORDS, "relation": ("fact",), "position": ("fact",)}

    @property
    def base(self) -> float:
        """π of the unchanged run, mean over facts (relations macro-averaged), in logits."""
        return float(subject_bands(self.dataset["base"].values, *self._names(), n_boot=1)[0])

    @property
    def heads(self) -> xr.DataArray:
        """Effect of every head in percent of π [layer, head]; NaN where π is not above 0."""
        return self.bands()["heads_change"]

    @property
    def mlps(self) -> xr.DataArray:
        """Effect of every MLP in percent of π [layer]."""
        return self.bands()["mlps_change"]

    def bands(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """Means over facts with 95 % intervals: relations macro-averaged, subjects resampled.

        Returns
        -------
        Dataset
            For "heads" [layer, head] and "mlps" [layer]: …_delta (logits) and …_change (percent of
            π, a ratio of means), …_control (logits, if there is one), each also with _low and
            _high.
        """
        data, sizes = self.dataset, self.dataset.sizes
        n_layers, n_heads = sizes["layer"], sizes["head"]
        made: dict[str, Any] = {}
        for measure, three in self._three(n_boot, seed).items():
            for edge, flat in zip(("", "_low", "_high"), three, strict=True):
                cut = n_layers * n_heads
                heads = flat[:cut].reshape(n_layers, n_heads)
                made[f"heads_{measure}{edge}"] = (("layer", "head"), heads)
                made[f"mlps_{measure}{edge}"] = (("layer",), flat[cut:])
        return xr.Dataset(made, coords={name: data[name] for name in ("layer", "head")})

    def to_frame(self) -> pd.DataFrame:
        """One row for each sender that a path leads from.

        Returns
        -------
        DataFrame
            component ("head" or "mlp"), layer, head (missing for an MLP), delta (change of π,
            logits), change (percent of π), low, high (95 % interval of delta), change_low,
            change_high, control, control_low, control_high (logits), beyond_control (whether the
            two intervals are apart).
        """
        sizes = self.dataset.sizes
        layer, head = np.indices((sizes["layer"], sizes["head"])).reshape(2, -1)
        kinds = ["head"] * len(layer) + ["mlp"] * sizes["layer"]
        three = self._three(200, 0)
        nothing = (np.full(len(kinds), np.nan),) * 3
        delta, change = three["delta"], three["change"]
        control = three.get("control", nothing)
        columns = {
            "component": kinds,
            "layer": np.concatenate([layer, np.arange(sizes["layer"])]),
            "head": pd.array([*head.tolist(), *[pd.NA] * sizes["layer"]], dtype="Int64"),
            **dict(zip(("delta", "low", "high"), delta, strict=True)),
            **dict(zip(("change", "change_low", "change_high"), change, strict=True)),
            **dict(zip(("control", "control_low", "control_high"), control, strict=True)),
            "beyond_control": (delta[1] > control[2]) | (delta[2] < control[1]),
        }
        order = [*_SENDER, "delta", "change"]
        frame = pd.DataFrame(columns)
        frame = frame.loc[:, [*order, *(n for n in frame.columns if n not in order)]]
        return frame[~np.isnan(delta[0])].reset_index(drop=True)

    def strongest(self, top: int = 12) -> pd.DataFrame:
        """The rows of `to_frame` with the largest effects, strongest first."""
        frame = self.to_frame()
        order = np.argsort(-np.abs(frame["delta"].to_numpy()), kind="stable")
        return frame.iloc[order[:top]].reset_index(drop=True)

    def view(
        self, *, measure: str = "change", top: int = 12, fact: int | None = None
    ) -> PathPatching:
        """The same result, drawn differently.

        Parameters
        ----------
        measure : {"change", "delta"}
            Percent of π, or logits. Where π has no percentage, logits.
        top : int
            How many of the strongest senders are listed.
        fact : int, optional
            Draw one fact alone.

        Raises
        ------
        FactvizError
            If the measure is none of these, top is below 1, or there is no such fact.
        """
        if measure not in ("change", "delta"):
            raise FactvizError(f"measure {measure!r} is unknown: 'change' (percent) or 'delta'")
        if not is_whole(top) or top < 1:
            raise FactvizError(f"top={top!r} senders can't be listed: 1 or more")
        return super().view(fact=fact)._with_view(measure=measure, top=top)

    def _three(self, n_boot: int, seed: int) -> dict[str, tuple[Float[np.ndarray, " sender"], ...]]:
        """Mean, low and high of every measure, all heads and then all MLPs."""
        base, names = self.dataset["base"].values, self._names()
        values = self._flat("heads", "mlps")
        found: dict[str, tuple[np.ndarray, ...]] = {
            "delta": subject_bands(values, *names, n_boot=n_boot, seed=seed),
            "change": ratio_bands(values, base, *names, n_boot=n_boot, seed=seed),
        }
        if "control_heads" in self.dataset:
            drawn = self._flat("control_heads", "control_mlps").mean(-1)
            found["control"] = subject_bands(drawn, *names, n_boot=n_boot, seed=seed)
        return found

    def _flat(self, heads: str, mlps: str) -> Float[np.ndarray, "fact sender *draw"]:
        one, other = (self.dataset[name].values for name in (heads, mlps))
        return np.concatenate([one.reshape(len(one), -1, *one.shape[3:]), other], 1)

    def _names(self) -> tuple[list[str], list[str]]:
        subjects, relations = (
            [str(name) for name in self.dataset[coordinate].values]
            for coordinate in ("subject", "relation")
        )
        return subjects, relations

    def _summary(self) -> list[str]:
        count, said = self.dataset.sizes["fact"], self.provenance
        best = self.strongest(5)
        tops = [
            f"{sender_name(row)} {number(row['delta'], 3, sign=True)}"
            + ("" if np.isnan(row["change"]) else f" ({number(row['change'], 1, sign=True)} %)")
            for row in best.to_dict("records")
        ]
        return [
            f"Paths to {said.get('receiver')}, senders at {said.get('at')}, {count} "
            f"fact{'s' if count > 1 else ''} on {self._model()}",
            f"π {number(self.base, 3)} logits; strongest senders: " + ", ".join(tops),
            f"counterfactuals: {said.get('counterfactuals')}; MLPs {said.get('mlps')}",
            self._projection(),
        ]


def sender_name(row: dict[Any, Any]) -> str:
    """L3H4, MLP 2: the sender of a row of `PathPatching.to_frame`."""
    mlp = row["component"] == "mlp"
    return f"MLP {row['layer']}" if mlp else f"L{row['layer']}H{row['head']}"
