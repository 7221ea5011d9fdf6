"""`HeadProfile`: what one head adds to a, S, R and O, by what it reads."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.promoted_tokens import promoted_tokens
from factviz.results.resampling import subject_bands
from factviz.results.shown import number, token_text

ROLES = ("answer", "same_subject", "same_relation", "control")
LETTERS = {"answer": "a", "same_subject": "S", "same_relation": "R", "control": "O"}


class HeadProfile(FactResult):
    """A head's contributions to the logits of attributes, from subject and relation tokens.

    Variables: contribution [fact, group, attribute], logits; attention [fact, group], fractions;
    promoted and suppressed [group, rank], logits, mean over facts.

    Which token of one fact it reads, and not only which group: `show_attention(model, fact, layer,
    head)`.
    """

    kind: ClassVar[str] = "HeadProfile"
    what: ClassVar[str] = "head profile"
    variables: ClassVar[Dims] = {
        "contribution": ("fact", "group", "attribute"),
        "attention": ("fact", "group"),
        "promoted": ("group", "rank"),
        "suppressed": ("group", "rank"),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "group": ("group",),
        "attribute_word": ("fact", "attribute"),
        "role": ("fact", "attribute"),
        "promoted_token": ("group", "rank"),
        "suppressed_token": ("group", "rank"),
    }

    @property
    def layer(self) -> int:
        """The head's layer, from 0."""
        return int(self.dataset.attrs["layer"])

    @property
    def head(self) -> int:
        """The head's number in its layer, from 0."""
        return int(self.dataset.attrs["head"])

    @property
    def contribution(self) -> xr.DataArray:
        """To each attribute's centred logit [group, attribute], logits."""
        return self._squeezed(self.dataset["contribution"])

    @property
    def attention(self) -> xr.DataArray:
        """The share of END's attention on each source group [group]."""
        return self._squeezed(self.dataset["attention"])

    def bands(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """Means over facts by source group and role: relations macro-averaged.

        Returns
        -------
        Dataset
            mean, low, high [group, role], logits: role the mean over a, S, R, O, low and high the
            95 % interval from resampled subjects (NaN for one subject).
        """
        data = self.dataset
        values = np.stack([self._of_role(role) for role in ROLES], 2)  # [fact, group, role]
        three = subject_bands(
            values,
            [str(name) for name in data["subject"].values],
            [str(name) for name in data["relation"].values],
            n_boot=n_boot,
            seed=seed,
        )
        dims = ("group", "role")
        made = {n: (dims, v) for n, v in zip(("mean", "low", "high"), three, strict=True)}
        return xr.Dataset(made, coords={"group": data["group"], "role": list(ROLES)})

    def _of_role(self, role: str) -> np.ndarray:
        """The mean over a role's attributes [fact, group]; NaN where a fact has none."""
        values, there = self.dataset["contribution"].values, self.dataset["role"].values == role
        count = there.sum(1)[:, None]
        total = np.where(there[:, None], values, 0).sum(2)
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, source group and attribute.

        Returns
        -------
        DataFrame
            group, attribute, role ("answer", "same_subject", "same_relation", "control"),
            contribution (logits), attention (of END on the group, a fraction), fact, subject,
            relation.
        """
        data = self.dataset
        fact, group, attribute = np.nonzero(~np.isnan(data["contribution"].values))
        return pd.DataFrame(
            {
                "group": data["group"].values[group],
                "attribute": data["attribute_word"].values[fact, attribute],
                "role": data["role"].values[fact, attribute],
                "contribution": data["contribution"].values[fact, group, attribute],
                "attention": data["attention"].values[fact, group],
                "fact": fact,
                "subject": data["subject"].values[fact],
                "relation": data["relation"].values[fact],
            }
        )

    def tokens(self) -> pd.DataFrame:
        """The tokens that the head promotes and suppresses most, mean over facts.

        Returns
        -------
        DataFrame
            group, rank, promoted, promoted_by (logits), suppressed, suppressed_by.
        """
        return promoted_tokens(self.dataset, "group")

    def _summary(self) -> list[str]:
        data, bands = self.dataset, self.bands()
        count = data.sizes["fact"]
        lines = [
            f"L{self.layer}H{self.head} on {count} fact{'s' if count > 1 else ''}, {self._model()}"
        ]
        for index, group in enumerate(data["group"].values[:2]):
            means = [
                f"{LETTERS[role]} {number(float(value), sign=True)}"
                for role, value in zip(ROLES, bands["mean"].values[index], strict=True)
            ]
            seen = float(data["attention"].values[:, index].mean())
            tops = [token_text(str(t), 20) for t in data["promoted_token"].values[index][:5]]
            lines.append(
                f"from {group} tokens (attention {number(seen)}): {', '.join(means)}; promotes "
                + " ".join(tops)
            )
        return [*lines, self._projection()]
