"""`SharedAttributes`: heads of one layer that write the same answers (superposition)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from factviz.facts.errors import FactvizError
from factviz.results.base import Result
from factviz.results.factwise import Dims, check
from factviz.results.shown import number, shown

_PROFILE = ("attribute", "layer", "head")


class SharedAttributes(Result):
    """What each head writes for each answer, and how many heads of a layer share one.

    Variables: dla [attribute, layer, head], logits, mean over the facts with that answer;
    similarity and null [layer, head, other], the correlation of two heads over attributes, and the
    95 % quantile of its size when one of them is shuffled within each relation; facts [attribute].
    Attribute least: from how many logits on a head counts as writing an attribute.
    """

    kind: ClassVar[str] = "SharedAttributes"
    variables: ClassVar[Dims] = {
        "dla": _PROFILE,
        "similarity": ("layer", "head", "other"),
        "null": ("layer", "head", "other"),
        "facts": ("attribute",),
    }
    coords: ClassVar[Dims] = {"word": ("attribute",), "relation": ("attribute",)}

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, "table of shared attributes", self.variables, self.coords)
        super().__init__(dataset, provenance)

    @property
    def dla(self) -> xr.DataArray:
        """What each head writes for each answer [attribute, layer, head], logits."""
        return self.dataset["dla"]

    @property
    def least(self) -> float:
        """From how many logits on a head counts as writing an attribute."""
        return float(self.dataset.attrs["least"])

    def to_frame(self) -> pd.DataFrame:
        """One row for each layer and attribute.

        Returns
        -------
        DataFrame
            layer, attribute, relation, heads (how many write at least `least` logits), effective
            (participation ratio of what the layer's heads write above 0: 1 if one head does all),
            total (logits), top_head, top_share (of the total above 0), facts.
        """
        data = self.dataset
        values = data["dla"].values
        positive = np.maximum(values, 0)
        attribute, layer = np.indices(values.shape[:2]).reshape(2, -1)
        at = (attribute, layer)
        best = positive.argmax(2)
        total = positive.sum(2)
        share = np.divide(positive.max(2), total, out=np.zeros_like(total), where=total > 0)
        return pd.DataFrame(
            {
                "layer": layer,
                "attribute": data["word"].values[attribute],
                "relation": data["relation"].values[attribute],
                "heads": (values >= self.least).sum(2)[at],
                "effective": effective_number(positive)[at],
                "total": values.sum(2)[at],
                "top_head": best[at],
                "top_share": share[at],
                "facts": data["facts"].values[attribute],
            }
        )

    def pairs(self) -> pd.DataFrame:
        """Pairs of heads of one layer, the most alike first.

        Returns
        -------
        DataFrame
            layer, head, other, similarity (Pearson's r over attributes), null (95 % quantile of its
            size under shuffling), shared (attributes that both write), above (similarity > null).
        """
        data = self.dataset
        wrote = data["dla"].values >= self.least
        rows: list[dict[str, Any]] = []
        for layer in range(data.sizes["layer"]):
            for head, other in combinations(range(data.sizes["head"]), 2):
                similar = float(data["similarity"].values[layer, head, other])
                null = float(data["null"].values[layer, head, other])
                rows.append(
                    {
                        "layer": layer,
                        "head": head,
                        "other": other,
                        "similarity": similar,
                        "null": null,
                        "shared": int((wrote[:, layer, head] & wrote[:, layer, other]).sum()),
                        "above": similar > null,
                    }
                )
        found = pd.DataFrame(rows)
        return found.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)

    def layers(self) -> pd.DataFrame:
        """One row for each layer: attributes that several heads write, and pairs above chance.

        Returns
        -------
        DataFrame
            layer, attributes (that any head writes), shared (that two heads or more do), effective
            (mean effective number of heads over written attributes), pairs_above (share of pairs of
            writing heads that are more alike than shuffled ones).
        """
        frame: Any = self.to_frame()
        pairs: Any = self.pairs()
        rows: list[dict[str, Any]] = []
        for layer in range(self.dataset.sizes["layer"]):
            own = frame[(frame["layer"] == layer) & (frame["heads"] > 0)]
            alike = pairs[(pairs["layer"] == layer) & (pairs["shared"] > 0)]
            rows.append(
                {
                    "layer": layer,
                    "attributes": len(own),
                    "shared": int((own["heads"] > 1).sum()),
                    "effective": float(own["effective"].mean()) if len(own) else np.nan,
                    "pairs_above": float(alike["above"].mean()) if len(alike) else np.nan,
                }
            )
        return pd.DataFrame(rows)

    def view(self, *, layer: int | None = None) -> SharedAttributes:
        """The same result, drawn for one layer (the one with most shared attributes without it).

        Raises
        ------
        FactvizError
            If there is no such layer.
        """
        count = self.dataset.sizes["layer"]
        if layer is not None and not 0 <= layer < count:
            raise FactvizError(f"no layer {layer}: there are layers 0 to {count - 1}")
        return self._with_view(**({} if layer is None else {"layer": layer}))

    def _summary(self) -> list[str]:
        layers: Any = self.layers()
        told = [
            f"L{row['layer']} {row['shared']} of {row['attributes']}"
            for row in layers.to_dict("records")
        ]
        pairs: Any = self.pairs()
        tops = [
            f"L{row['layer']}H{row['head']}/H{row['other']} {number(row['similarity'])}"
            f" ({row['shared']} shared)"
            for row in pairs[pairs["shared"] > 0].head(5).to_dict("records")
        ]
        model = shown(str(self.provenance.get("model", "unknown model")), limit=60)
        return [
            f"Shared attributes: {self.dataset.sizes['attribute']} answers on {model}",
            f"answers that two heads of a layer or more write (at least {self.least:g} logits), of "
            "those that any does: " + ", ".join(told),
            "pairs most alike: " + ", ".join(tops),
            str(self.provenance.get("projection", "projection not stated")),
        ]


def effective_number(positive: Float[np.ndarray, "*n head"]) -> Float[np.ndarray, "*n"]:
    """(Σp)² / Σp²: 1 if one head writes all, n if n write alike; NaN where none writes."""
    total, squares = positive.sum(-1) ** 2, (positive**2).sum(-1)
    return np.divide(total, squares, out=np.full(total.shape, np.nan), where=squares > 0)
