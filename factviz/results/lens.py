"""`LogitLens`: every state of the residual stream, read as next-token logits."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results.factwise import FACT_COORDS, POSITION_COORDS, Dims, FactResult
from factviz.results.shown import number, shown, token_text

_ATTRIBUTE = ("fact", "attribute", "layer", "position")
_STATE = ("fact", "layer", "position")


class LogitLens(FactResult):
    """States read through the recomputed final norm and the unembedding.

    Layer −1 is the embedding, layer l what block l leaves. For several facts arrays have a leading
    ``fact`` dimension and are padded (NaN; −1 in ranks and ids); for one `Fact` it is gone.
    """

    kind: ClassVar[str] = "LogitLens"
    what: ClassVar[str] = "logit lens"
    variables: ClassVar[Dims] = {
        "logits": _ATTRIBUTE,
        "probabilities": _ATTRIBUTE,
        "ranks": _ATTRIBUTE,
        "top_id": _STATE,
        "top_logit": _STATE,
        "top_probability": _STATE,
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        **POSITION_COORDS,
        "attribute_word": ("fact", "attribute"),
        "role": ("fact", "attribute"),
        "layer": ("layer",),
        "top_token": _STATE,
    }

    @property
    def logits(self) -> xr.DataArray:
        """Centred logits of the attributes [attribute, layer, position]."""
        return self._squeezed(self.dataset["logits"])

    @property
    def probabilities(self) -> xr.DataArray:
        """Their probabilities, after a soft-cap if there is one [attribute, layer, position]."""
        return self._squeezed(self.dataset["probabilities"])

    @property
    def ranks(self) -> xr.DataArray:
        """Their ranks in the vocabulary, 1 is the top [attribute, layer, position]."""
        return self._squeezed(self.dataset["ranks"])

    @property
    def top(self) -> xr.DataArray:
        """The token with the highest logit, as text [layer, position]."""
        return self._squeezed(self.dataset["top_token"])

    def rank_at(self, position: str = "end", attribute: int = 0) -> xr.DataArray:
        """The rank of an attribute at one kind of position, layer by layer.

        Parameters
        ----------
        position
            ``"end"``, or a group (``"subject"``): its last position.
        attribute
            By number.

        Returns
        -------
        DataArray
            [layer] or [fact, layer]; NaN for a fact without such a position.
        """
        data = self.dataset
        if not 0 <= attribute < data.sizes["attribute"]:
            last = data.sizes["attribute"] - 1
            raise FactvizError(f"no attribute {attribute}: there are attributes 0 to {last}")
        if position not in data["group"].values:
            there = ", ".join(sorted({str(g) for g in data["group"].values.ravel() if g}))
            raise FactvizError(f"no position {shown(position)!r}: there are {there}")
        ranks = data["ranks"].isel(attribute=attribute)
        rows = np.full((data.sizes["fact"], data.sizes["layer"]), np.nan)
        for fact, groups in enumerate(data["group"].values):
            found = np.flatnonzero(groups == position)
            if len(found):
                rows[fact] = ranks.values[fact, :, found[-1]]
        coords = {"fact": data["fact"], "layer": data["layer"]}
        return self._squeezed(xr.DataArray(rows, dims=("fact", "layer"), coords=coords))

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, attribute, layer and position.

        Returns
        -------
        DataFrame
            layer (−1 is the embedding), position, token (of the prompt), value (centred logit),
            fact, attribute, role, probability, rank, top_token, top_logit, top_probability, group.
        """
        data = self.dataset
        fact, attribute, layer, position = np.nonzero(data["ranks"].values > 0)
        at, state = (fact, attribute, layer, position), (fact, layer, position)
        columns: dict[str, Any] = {
            "layer": data["layer"].values[layer],
            "position": position,
            "token": data["token"].values[fact, position],
            "value": data["logits"].values[at],
            "fact": fact,
            "attribute": data["attribute_word"].values[fact, attribute],
            "role": data["role"].values[fact, attribute],
            "probability": data["probabilities"].values[at],
            "rank": data["ranks"].values[at].astype(int),
            "top_token": data["top_token"].values[state],
            "top_logit": data["top_logit"].values[state],
            "top_probability": data["top_probability"].values[state],
            "group": data["group"].values[fact, position],
        }
        return pd.DataFrame(columns)

    def _summary(self) -> list[str]:
        data = self.dataset
        one = data.isel(fact=0)
        end = int((one["group"].values != "").sum()) - 1
        word = shown(str(one["attribute_word"].values[0]), limit=60)
        if data.sizes["fact"] > 1:
            ranks = np.nanmedian(self.rank_at("end").values, axis=0)
            told = "median rank of the answer at END"
            title = f"Logit lens of {data.sizes['fact']} facts on {self._model()}"
        else:
            ranks = one["ranks"].values[0, :, end].astype(float)
            told = f"rank of {word!r} at END"
            title = f"Logit lens of {shown(str(one['prompt'].item()), limit=200)!r}"
            title += f" on {self._model()}"
        layers = data["layer"].values
        shown_ranks = [f"{layer}: {number(r, 0)}" for layer, r in zip(layers, ranks, strict=True)]
        tops = [token_text(str(t), 20) for t in one["top_token"].values[:, end]]
        return [
            title,
            f"{told}, by layer: " + ", ".join(_some(shown_ranks)),
            "top token at END of the first fact: " + ", ".join(_some(tops)),
            self._projection(),
        ]


def _some(texts: list[str], most: int = 14) -> list[str]:
    """A long list from both ends."""
    return texts if len(texts) <= most else [*texts[: most - 5], "…", *texts[-4:]]
