"""`Extraction`: which attention and MLP updates at END have the target on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import subject_bands
from factviz.results.shown import number, shown, token_text

SUBLAYERS = ("attention", "mlp")
_TABLE = ("fact", "run", "sublayer", "layer")
_STATE = ("fact", "state")
_PROMPTS = ("attention", "mlp", "attention only", "mlp only", "both", "neither")


class Extraction(FactResult):
    """Top tokens of the updates at END through the raw output embedding.

    Variables are [fact, run, sublayer, layer]; run 0 is the clean one, then one run for each
    blocked set and each early state. For one `Fact` the accessors have no fact dimension.
    """

    kind: ClassVar[str] = "Extraction"
    what: ClassVar[str] = "table of extraction events"
    variables: ClassVar[Dims] = {
        "token_id": _TABLE,
        "event": _TABLE,
        "rank": _TABLE,
        "score": _TABLE,
        "end_rank": _STATE,
        "subject_rank": _STATE,
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "variant": ("run",),
        "sublayer": ("sublayer",),
        "layer": ("layer",),
        "token": _TABLE,
        "target_id": ("fact",),
        "target_token": ("fact",),
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        super().__init__(dataset, provenance)
        sublayers = tuple(str(name) for name in dataset["sublayer"].values)
        if sublayers != SUBLAYERS or dataset.sizes["state"] != dataset.sizes["layer"] + 1:
            raise FactvizError(
                f"this is no {self.what}: it has sublayers {list(sublayers[:4])} and "
                f"{dataset.sizes['state']} states for {dataset.sizes['layer']} layers"
            )

    @property
    def token_ids(self) -> xr.DataArray:
        """The top token of each update [run, sublayer, layer]."""
        return self._squeezed(self.dataset["token_id"])

    @property
    def events(self) -> xr.DataArray:
        """Whether that is the target [run, sublayer, layer]."""
        return self._squeezed(self.dataset["event"])

    @property
    def ranks(self) -> xr.DataArray:
        """The target's rank in each update, 1 is the top [run, sublayer, layer]."""
        return self._squeezed(self.dataset["rank"])

    @property
    def variants(self) -> list[str]:
        """The runs by name; "clean" is the first."""
        return [str(name) for name in self.dataset["variant"].values]

    @property
    def parallel(self) -> bool:
        """Whether attention and MLP of a layer read the same state, so that neither is first."""
        return bool(self.dataset.attrs.get("parallel", False))

    def by_layer(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """Share of prompts with an event in each layer: rate, low, high [run, sublayer, layer].

        Macro-averaged over relations; 95 % intervals, bootstrap by subject.
        """
        found = self._bands(self.dataset["event"].values.astype(float), n_boot, seed)
        coords = {name: self.dataset[name] for name in ("run", "variant", "sublayer", "layer")}
        names = ("rate", "low", "high")
        return xr.Dataset(
            {name: (_TABLE[1:], part) for name, part in zip(names, found, strict=True)},
            coords=coords,
        )

    def rates(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """Share of prompts that have events at all.

        Returns
        -------
        DataFrame
            variant, sublayer ("attention", "mlp": with or without the other; "attention only",
            "mlp only", "both", "neither"), rate (a fraction), low, high (95 %, bootstrap by
            subject), prompts.
        """
        attention, mlp = np.moveaxis(np.max(self.dataset["event"].values, axis=-1), -1, 0) > 0
        each = (attention, mlp, attention & ~mlp, mlp & ~attention, attention & mlp,
                ~attention & ~mlp)  # fmt: skip
        rate, low, high = self._bands(np.stack(each, -1).astype(float), n_boot, seed)
        return pd.DataFrame(
            {
                "variant": np.repeat(self.variants, len(_PROMPTS)),
                "sublayer": list(_PROMPTS) * len(self.variants),
                "rate": rate.ravel(),
                "low": low.ravel(),
                "high": high.ravel(),
                "prompts": self.dataset.sizes["fact"],
            }
        )

    def order(self) -> pd.DataFrame:
        """Which sublayer extracts first, among prompts in which both do.

        In one layer attention comes before the MLP; where blocks are parallel that is a tie.

        Returns
        -------
        DataFrame
            variant, prompts (with both), attention_first, tie, mlp_first (fractions of those).
        """
        event = self.dataset["event"].values
        first = np.where(event.any(-1), event.argmax(-1), -1)  # [fact, run, sublayer]
        rows: list[dict[str, Any]] = []
        for run, name in enumerate(self.variants):
            both = first[(first[:, run] >= 0).all(-1), run]
            gap = np.sign(both[:, 0] - both[:, 1]).astype(int)
            if not self.parallel:
                gap = np.where(gap == 0, -1, gap)
            shares = [
                float(np.mean(gap == sign)) if len(both) else float("nan") for sign in (-1, 0, 1)
            ]
            names = ("attention_first", "tie", "mlp_first")
            rows.append(
                {"variant": name, "prompts": len(both), **dict(zip(names, shares, strict=True))}
            )
        return pd.DataFrame(rows)

    def rank_comparison(self) -> pd.DataFrame:
        """Where the target stood before attention first extracted it, and behind (P3 point 6).

        Returns
        -------
        DataFrame
            fact, layer (of the first attention event of the clean run; a fact without one has no
            row), then the target's rank through the raw output embedding: subject_before and
            subject_after (the last subject token's state in front of and behind that layer),
            update (attention's at END: 1), end_before and end_after (END's state).
        """
        data = self.dataset
        event = data["event"].values[:, 0, 0]
        facts = np.flatnonzero(event.any(-1))
        layers = event[facts].argmax(-1)
        subject, end = data["subject_rank"].values, data["end_rank"].values
        return pd.DataFrame(
            {
                "fact": facts,
                "layer": layers,
                "subject_before": subject[facts, layers],
                "subject_after": subject[facts, layers + 1],
                "update": data["rank"].values[facts, 0, 0, layers],
                "end_before": end[facts, layers],
                "end_after": end[facts, layers + 1],
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, run, sublayer and layer.

        Returns
        -------
        DataFrame
            fact, sublayer ("attention", "mlp"), layer, token_id, token (the update's top), event,
            variant, rank and score (the target's; above the vocabulary mean), target.
        """
        data = self.dataset
        fact, run, sublayer, layer = (i.ravel() for i in np.indices(data["event"].shape))
        return pd.DataFrame(
            {
                "fact": fact,
                "sublayer": data["sublayer"].values[sublayer],
                "layer": data["layer"].values[layer],
                "token_id": data["token_id"].values.ravel(),
                "token": data["token"].values.ravel(),
                "event": data["event"].values.astype(bool).ravel(),
                "variant": data["variant"].values[run],
                "rank": data["rank"].values.ravel(),
                "score": data["score"].values.ravel(),
                "target": data["target_token"].values[fact],
            }
        )

    def _bands(self, values: np.ndarray, n_boot: int, seed: int) -> tuple[np.ndarray, ...]:
        data = self.dataset
        subjects = [str(s) for s in data["subject"].values]
        relations = [str(r) for r in data["relation"].values]
        return subject_bands(values, subjects, relations, n_boot=n_boot, seed=seed)

    def _summary(self) -> list[str]:
        data = self.dataset
        if data.sizes["fact"] == 1:
            return [*self._of_one(), self._projection()]
        rates = self.rates()["rate"].to_numpy().reshape(-1, len(_PROMPTS))
        lines = [f"Extraction events in {data.sizes['fact']} prompts on {self._model()}"]
        for name, row in zip(self.variants, rates, strict=True):
            told = [
                f"{kind} {number(100 * float(rate), 1)} %"
                for kind, rate in zip(_PROMPTS, row, strict=True)
                if "only" not in kind
            ]
            lines.append(f"{shown(name, limit=80)}: " + ", ".join(told))
        return [*lines[:6], self._projection()]

    def _of_one(self) -> list[str]:
        one = self.dataset.isel(fact=0)
        token = token_text(str(one["target_token"].item()), 40)
        prompt = shown(str(one["prompt"].item()), limit=200)
        lines = [f"Extraction of {token} after {prompt!r} on {self._model()}"]
        for run, name in enumerate(self.variants[:5]):
            told = []
            for index, kind in enumerate(SUBLAYERS):
                layers = np.flatnonzero(one["event"].values[run, index])
                told.append(f"{kind} " + (", ".join(f"L{i}" for i in layers) or "nowhere"))
            lines.append(f"{shown(name, limit=80)}: " + "; ".join(told))
        return lines
