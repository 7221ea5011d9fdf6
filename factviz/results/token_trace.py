"""`TokenTrace`: the topic and the answer in the residual stream at END."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import subject_bands
from factviz.results.shown import number, shown

PLACES = ("r_pre", "r_mid", "r_post")
TOKENS = ("X", "Y", "other X", "other Y")
LEAD = "Y − X"
_ALL = ("fact", "token", "layer", "place")


class TokenTrace(FactResult):
    """Centred logit and rank of X, Y, and of another fact's, in each layer's three states.

    Variables [fact, token, layer, place]: logit (NaN where there is none) and rank (1 is the top,
    −1 where there is none). r_pre of a layer is r_post of the one before.
    """

    kind: ClassVar[str] = "TokenTrace"
    what: ClassVar[str] = "trace of tokens"
    variables: ClassVar[Dims] = {"logit": _ALL, "rank": _ALL, "token_id": ("fact", "token")}
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "token": ("token",),
        "layer": ("layer",),
        "place": ("place",),
        "word": ("fact", "token"),
    }

    @property
    def logits(self) -> xr.DataArray:
        """Centred logits [token, layer, place]."""
        return self._squeezed(self.dataset["logit"])

    @property
    def ranks(self) -> xr.DataArray:
        """Ranks in the vocabulary [token, layer, place]; −1 where there is none."""
        return self._squeezed(self.dataset["rank"])

    @property
    def parallel(self) -> bool:
        """Whether blocks are parallel, so that r_mid does not exist."""
        return bool(self.dataset.attrs.get("parallel", False))

    def bands(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """Means over facts with 95 % intervals: relations macro-averaged, subjects resampled.

        Returns
        -------
        Dataset
            logit and log10_rank, each also with _low and _high [token, layer, place]; the token
            "Y − X" is the difference of the two, fact by fact.
        """
        data = self.dataset
        ranks = data["rank"].values.astype(float)
        measures = {
            "logit": data["logit"].values,
            "log10_rank": np.log10(np.where(ranks > 0, ranks, np.nan)),
        }
        made: dict[str, Any] = {}
        for name, values in measures.items():
            lead = values[:, 1:2] - values[:, :1]
            three = subject_bands(
                np.concatenate([values, lead], 1),
                [str(text) for text in data["subject"].values],
                [str(text) for text in data["relation"].values],
                n_boot=n_boot,
                seed=seed,
            )
            made |= {
                name + edge: (_ALL[1:], one)
                for edge, one in zip(("", "_low", "_high"), three, strict=True)
            }
        tokens = np.array([*map(str, data["token"].values), LEAD], dtype=object)
        return xr.Dataset(made, coords={"token": tokens, "layer": data["layer"],
                                        "place": data["place"]})  # fmt: skip

    def overtaken(self) -> tuple[int, str] | None:
        """The first layer and place from which on Y stays above X, by intervals; None if never."""
        low = self.bands()["logit_low"].sel(token=LEAD)
        if np.isnan(low.values).all():  # one subject: the sign alone
            low = self.bands(n_boot=2)["logit"].sel(token=LEAD)
        flat = [
            (int(layer), str(place), float(low.sel(layer=layer, place=place)))
            for layer in low["layer"].values
            for place in low["place"].values
        ]
        found = None
        for layer, place, value in reversed([one for one in flat if not np.isnan(one[2])]):
            if value <= 0:
                break
            found = (layer, place)
        return found

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, token, layer and place.

        Returns
        -------
        DataFrame
            layer, place ("r_pre", "r_mid", "r_post"), token ("X", "Y", "other X", "other Y"), value
            (centred logit), rank, word, fact, subject, relation. Without rows for what does not
            exist.
        """
        data = self.dataset
        fact, token, layer, place = np.nonzero(data["rank"].values > 0)
        at = (fact, token, layer, place)
        return pd.DataFrame(
            {
                "layer": data["layer"].values[layer],
                "place": data["place"].values[place],
                "token": data["token"].values[token],
                "value": data["logit"].values[at],
                "rank": data["rank"].values[at],
                "word": data["word"].values[fact, token],
                "fact": fact,
                "subject": data["subject"].values[fact],
                "relation": data["relation"].values[fact],
            }
        )

    def _summary(self) -> list[str]:
        data, bands = self.dataset, self.bands()
        count = data.sizes["fact"]
        title = f"X and Y in the residual stream at END of {count} facts on {self._model()}"
        if count == 1:
            prompt = shown(str(data["prompt"].values[0]), limit=200)
            title = f"X and Y in the residual stream at END of {prompt!r} on {self._model()}"
        last = bands["logit"].isel(layer=-1).sel(place="r_post")
        ends = [f"{name} {number(float(last.sel(token=name)), sign=True)}" for name in TOKENS]
        where = self.overtaken()
        told = f"from {where[1]} of L{where[0]} on" if where else "nowhere beyond doubt"
        return [
            title,
            "last state: " + ", ".join(ends) + " logits",
            f"Y above X: {told}",
            *(["no r_mid: blocks are parallel"] if self.parallel else []),
            self._projection(),
        ]
