"""`HeadVocabulary`: the tokens that one head maps some tokens to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.base import Result
from factviz.results.factwise import Dims, check
from factviz.results.shown import number, token_text


class HeadVocabulary(Result):
    """The highest entries of some tokens' rows of E · W_V W_O · W_U.

    Parameters
    ----------
    dataset
        Variables score and mapped_id [token, rank], token_id [token]; coordinates token_text
        [token] and mapped [token, rank]; attributes layer and head.
    provenance
        Model, weight hash, projection and versions.

    Raises
    ------
    FactvizError
        If the dataset lacks one of them.
    """

    kind: ClassVar[str] = "HeadVocabulary"
    variables: ClassVar[Dims] = {
        "score": ("token", "rank"),
        "mapped_id": ("token", "rank"),
        "token_id": ("token",),
    }
    coords: ClassVar[Dims] = {"token_text": ("token",), "mapped": ("token", "rank")}

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, "head's vocabulary map", self.variables, self.coords)
        super().__init__(dataset, provenance)

    @property
    def scores(self) -> xr.DataArray:
        """Entries of the map [token, rank], best first, in units of the raw projection."""
        return self.dataset["score"]

    @property
    def layer(self) -> int:
        """The layer, from 0."""
        return int(self.dataset.attrs.get("layer", -1))

    @property
    def head(self) -> int:
        """The head, from 0."""
        return int(self.dataset.attrs.get("head", -1))

    def to_frame(self) -> pd.DataFrame:
        """One row for each token and rank.

        Returns
        -------
        DataFrame
            layer, head, token, rank (1 is the top), mapped (text), score, token_id, mapped_id.
        """
        data = self.dataset
        count, k = data["score"].shape
        return pd.DataFrame(
            {
                "layer": self.layer,
                "head": self.head,
                "token": np.repeat(data["token_text"].values, k),
                "rank": np.tile(np.arange(1, k + 1), count),
                "mapped": data["mapped"].values.ravel(),
                "score": data["score"].values.ravel(),
                "token_id": np.repeat(data["token_id"].values, k),
                "mapped_id": data["mapped_id"].values.ravel(),
            }
        )

    def _summary(self) -> list[str]:
        data, model = self.dataset, self.provenance.get("model", "unknown model")
        lines = [f"What L{self.layer}H{self.head} of {model} maps tokens to, from its weights"]
        for row in range(min(5, data.sizes["token"])):
            one = data.isel(token=row)
            tops = [
                f"{token_text(str(text), 20)} {number(float(score))}"
                for text, score in zip(one["mapped"].values[:5], one["score"].values, strict=False)
            ]
            lines.append(f"{token_text(str(one['token_text'].item()), 20)} → " + ", ".join(tops))
        return [*lines, str(self.provenance.get("projection", "projection not stated"))]
