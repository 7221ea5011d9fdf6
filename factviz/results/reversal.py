"""`Reversal`: the same facts asked forwards and backwards, with the attribution of both."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import subject_bands
from factviz.results.shown import number, shown

_PAIR = ("fact", "direction")


class Reversal(FactResult):
    """Forward ("A is B") and backward ("B is A") recall of the same facts.

    Variables: probability, rank and logit [fact, direction], of the answer in that direction;
    contribution [fact, direction, part], logits: the parts add up to the centred logit. Coordinates
    asked, expected and top [fact, direction]: the prompt, its answer, and the model's own top-1.
    """

    kind: ClassVar[str] = "Reversal"
    what: ClassVar[str] = "reversal"
    variables: ClassVar[Dims] = {
        "probability": _PAIR,
        "rank": _PAIR,
        "logit": _PAIR,
        "contribution": (*_PAIR, "part"),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "direction": ("direction",),
        "part": ("part",),
        "asked": _PAIR,
        "expected": _PAIR,
        "top": _PAIR,
    }

    @property
    def probability(self) -> xr.DataArray:
        """Of the answer, forwards and backwards [direction]."""
        return self._squeezed(self.dataset["probability"])

    @property
    def contribution(self) -> xr.DataArray:
        """Of each part to the answer's centred logit [direction, part], logits."""
        return self._squeezed(self.dataset["contribution"])

    def table(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """Forward against backward recall.

        Returns
        -------
        DataFrame
            direction; recall (share of facts whose answer is on top), top10 (in the top 10),
            probability and logit, and every part's contribution, each with _low and _high (95 %,
            bootstrap by subject, macro-averaged over relations); median_rank; facts.
        """
        data = self.dataset
        rows: list[dict[str, Any]] = []
        for index, direction in enumerate(map(str, data["direction"].values)):
            rank = data["rank"].values[:, index]
            measures = {
                "recall": rank == 1,
                "top10": rank <= 10,
                "probability": data["probability"].values[:, index],
                "logit": data["logit"].values[:, index],
            }
            for place, part in enumerate(map(str, data["part"].values)):
                measures[part] = data["contribution"].values[:, index, place]
            three = subject_bands(
                np.stack([values.astype(np.float64) for values in measures.values()], 1),
                [str(name) for name in data["subject"].values],
                [str(name) for name in data["relation"].values],
                n_boot=n_boot,
                seed=seed,
            )
            row: dict[str, Any] = {"direction": direction}
            for place, name in enumerate(measures):
                for edge, values in zip(("", "_low", "_high"), three, strict=True):
                    row[name + edge] = float(values[place])
            rows.append(row | {"median_rank": float(np.median(rank)), "facts": len(rank)})
        return pd.DataFrame(rows)

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact and direction.

        Returns
        -------
        DataFrame
            fact, direction ("forward", "backward"), prompt, answer, top (the model's top-1),
            probability, rank (1 is the top), logit (centred), then the contribution of each part
            (logits), subject and relation (of the forward fact).
        """
        data = self.dataset
        fact, direction = np.indices(data["rank"].shape).reshape(2, -1)
        at = (fact, direction)
        columns: dict[str, Any] = {
            "fact": fact,
            "direction": data["direction"].values[direction],
            "prompt": data["asked"].values[at],
            "answer": data["expected"].values[at],
            "top": data["top"].values[at],
            "probability": data["probability"].values[at],
            "rank": data["rank"].values[at].astype(int),
            "logit": data["logit"].values[at],
        }
        for place, part in enumerate(map(str, data["part"].values)):
            columns[part] = data["contribution"].values[(*at, place)]
        columns |= {name: data[name].values[fact] for name in ("subject", "relation")}
        return pd.DataFrame(columns)

    def _summary(self) -> list[str]:
        data = self.dataset
        count = data.sizes["fact"]
        rows: Any = self.table().to_dict("records")
        lines = [
            f"{row['direction']}: recall {number(100 * row['recall'], 0)} %, P "
            f"{number(row['probability'])}, median rank {number(row['median_rank'], 0)}"
            for row in rows
        ]
        asked = [shown(str(text), limit=80) for text in data["asked"].values[0]]
        return [
            f"Reversal of {count} fact{'s' if count > 1 else ''} on {self._model()}",
            *lines,
            f"first: {asked[0]!r} and {asked[1]!r}",
            self._projection(),
        ]
