"""`AdditiveMotif`: a few parts that add up to the answer, each alone and each left out."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import subject_bands
from factviz.results.shown import number

_TABLE = ("fact", "fact_role", "part")
_PART = ("fact", "part")


class AdditiveMotif(FactResult):
    """The parts of the logits of a, of the strongest of S and of the strongest of R.

    Variables: contribution [fact, fact_role, part] and logits [fact, fact_role], logits; rank and
    left_out_rank [fact, fact_role, part], in the vocabulary, of the part alone and of all but it;
    running_rank (of the answer in the sum up to a part), rank_among (of the answer among a, S and
    R, by the part alone) and in_own_set (whether the part's own top-1 lies in its set, NaN for
    parts without one) [fact, part]; residual [fact], logits; random [fact_role, part, draw], mean
    contributions of random parts of the same size to a and to the mean of S and of R, logits.
    """

    kind: ClassVar[str] = "AdditiveMotif"
    what: ClassVar[str] = "additive motif"
    variables: ClassVar[Dims] = {
        "contribution": _TABLE,
        "logits": ("fact", "fact_role"),
        "rank": _TABLE,
        "left_out_rank": _TABLE,
        "running_rank": _PART,
        "rank_among": _PART,
        "in_own_set": _PART,
        "residual": ("fact",),
        "random": ("fact_role", "part", "draw"),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "fact_role": ("fact_role",),
        "part": ("part",),
        "top_token": _PART,
        "attribute_token": ("fact", "fact_role"),
    }

    @property
    def parts(self) -> list[str]:
        """The parts, in the order in which they are added up."""
        return [str(name) for name in self.dataset["part"].values]

    @property
    def contribution(self) -> xr.DataArray:
        """To the centred logit of a, the best of S and the best of R [fact_role, part], logits."""
        return self._squeezed(self.dataset["contribution"])

    @property
    def logits(self) -> xr.DataArray:
        """The model's own centred logits [fact_role]."""
        return self._squeezed(self.dataset["logits"])

    @property
    def rank(self) -> xr.DataArray:
        """Of each attribute in the whole vocabulary, by the part alone [fact_role, part]."""
        return self._squeezed(self.dataset["rank"])

    @property
    def residual_error(self) -> float:
        """The worst |sum of the parts − centred logit| over the vocabulary, logits."""
        return float(self.dataset["residual"].max())

    def table(self) -> pd.DataFrame:
        """Alone against together: one row for each part, and one for their sum.

        Means are macro-averaged over relations; intervals are 95 %, subjects resampled.

        Returns
        -------
        DataFrame
            part; contribution (to a), same_subject and same_relation (to the best of S and of R),
            logits; top1 (share of facts whose answer is the part's top-1 in the whole vocabulary);
            in_own_set; rank_among (mean rank of a among a, S and R); left_out_top1 (the same share
            without the part); each with _low and _high; median_rank (of a in the vocabulary);
            random (mean of random parts of the same size), place (the share of those that
            contribute less to a).
        """
        rows = [self._row(index) for index in range(len(self.parts))]
        return pd.DataFrame([*rows, self._together()])

    def _row(self, part: int) -> dict[str, Any]:
        data = self.dataset
        contribution = data["contribution"].values[:, :, part]
        measures = {
            "contribution": contribution[:, 0],
            "same_subject": contribution[:, 1],
            "same_relation": contribution[:, 2],
            "top1": data["rank"].values[:, 0, part] == 1,
            "in_own_set": data["in_own_set"].values[:, part],
            "rank_among": data["rank_among"].values[:, part],
            "left_out_top1": data["left_out_rank"].values[:, 0, part] == 1,
        }
        row: dict[str, Any] = {"part": self.parts[part], **self._means(measures)}
        row["median_rank"] = float(np.median(data["rank"].values[:, 0, part]))
        drawn = data["random"].values[0, part]
        known = not np.isnan(drawn).any()
        row["random"] = float(drawn.mean()) if known else np.nan
        row["place"] = float((drawn < row["contribution"]).mean()) if known else np.nan
        return row

    def _together(self) -> dict[str, Any]:
        data = self.dataset
        logits, last = data["logits"].values, data["running_rank"].values[:, -1]
        measures = {
            "contribution": logits[:, 0],
            "same_subject": logits[:, 1],
            "same_relation": logits[:, 2],
            "top1": last == 1,
        }
        row: dict[str, Any] = {"part": "together", **self._means(measures)}
        return row | {"median_rank": float(np.median(last))}

    def _means(self, measures: dict[str, np.ndarray]) -> dict[str, float]:
        data = self.dataset
        three = subject_bands(
            np.stack([values.astype(np.float64) for values in measures.values()], 1),
            [str(name) for name in data["subject"].values],
            [str(name) for name in data["relation"].values],
            n_boot=int(data.attrs.get("n_boot", 200)),
            seed=int(data.attrs.get("seed", 0)),
        )
        return {
            name + edge: float(values[index])
            for index, name in enumerate(measures)
            for edge, values in zip(("", "_low", "_high"), three, strict=True)
        }

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, part and attribute.

        Returns
        -------
        DataFrame
            part, role ("answer", or the strongest of "same_subject" and of "same_relation"),
            contribution (logits), rank (of the attribute in the whole vocabulary by the part
            alone), top1 (whether that is 1), left_out (the attribute's logit without the part,
            logits), left_out_rank, fact, attribute (its token), top_token (the part's own top-1),
            in_own_set, rank_among and running_rank (both of the answer), subject, relation.
        """
        data = self.dataset
        values = data["contribution"].values
        fact, part, role = (
            axis[~np.isnan(values.transpose(0, 2, 1)).reshape(-1)]
            for axis in np.indices(values.transpose(0, 2, 1).shape).reshape(3, -1)
        )
        at = (fact, role, part)
        return pd.DataFrame(
            {
                "part": data["part"].values[part],
                "role": data["fact_role"].values[role],
                "contribution": values[at],
                "rank": data["rank"].values[at].astype(int),
                "top1": data["rank"].values[at] == 1,
                "left_out": data["logits"].values[fact, role] - values[at],
                "left_out_rank": data["left_out_rank"].values[at].astype(int),
                "fact": fact,
                "attribute": data["attribute_token"].values[fact, role],
                "top_token": data["top_token"].values[fact, part],
                "in_own_set": data["in_own_set"].values[fact, part],
                "rank_among": data["rank_among"].values[fact, part],
                "running_rank": data["running_rank"].values[fact, part],
                "subject": data["subject"].values[fact],
                "relation": data["relation"].values[fact],
            }
        )

    def _summary(self) -> list[str]:
        table: Any = self.table()
        count = self.dataset.sizes["fact"]
        rows = table.to_dict("records")
        sums = [f"{row['part']} {number(row['contribution'], sign=True)}" for row in rows[:-1]]
        alone = [
            f"{row['part']} {number(100 * row['top1'], 0)} %"
            for row in rows
            if row["part"] not in ("embedding", "biases")
        ]
        return [
            f"Additive motif of {count} fact{'s' if count > 1 else ''} on {self._model()}",
            f"centred logit of the answer {number(rows[-1]['contribution'], sign=True)} = "
            + ", ".join(sums),
            "answer on top of the vocabulary, alone: " + ", ".join(alone),
            f"{self._projection()}; worst residual error {self.residual_error:.1g} logits",
        ]
