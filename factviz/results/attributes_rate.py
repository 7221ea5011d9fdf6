"""`AttributesRate`: how many of a state's top tokens are attributes of its subject."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import subject_bands
from factviz.results.shown import number, shown

METRICS = ("precision", "recall", "lift")
Metric = Literal["precision", "recall", "lift"]
_STATE = ("fact", "position", "layer")


class AttributesRate(FactResult):
    """Precision, recall and lift over chance of states, by position and layer, with controls.

    Layer −1 is the embedding, layer l what block l leaves. ``*_shuffled`` compares the same states
    with the other subjects' attributes, ``*_embedding`` [fact] the subject's mean embedding with
    its own. NaN where a prompt lacks a position.
    """

    kind: ClassVar[str] = "AttributesRate"
    what: ClassVar[str] = "table of attributes rates"
    variables: ClassVar[Dims] = {
        **{name + suffix: _STATE for name in METRICS for suffix in ("", "_shuffled")},
        **{f"{name}_embedding": ("fact",) for name in METRICS},
        "vocabulary_size": ("fact",),
        "chance": ("fact",),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "position": ("position",),
        "layer": ("layer",),
    }

    @property
    def precision(self) -> xr.DataArray:
        """Share of the top tokens that are attributes [position, layer], a fraction."""
        return self._squeezed(self.dataset["precision"])

    @property
    def recall(self) -> xr.DataArray:
        """Share of the attributes that are among the top tokens [position, layer], a fraction."""
        return self._squeezed(self.dataset["recall"])

    @property
    def lift(self) -> xr.DataArray:
        """Precision over what tokens drawn at random give [position, layer]; 1 is chance."""
        return self._squeezed(self.dataset["lift"])

    def bands(
        self, metric: Metric = "precision", *, n_boot: int = 200, seed: int = 0
    ) -> xr.Dataset:
        """The mean over facts with a 95 % interval.

        Relations are macro-averaged, subjects resampled.

        Parameters
        ----------
        metric : {"precision", "recall", "lift"}
        n_boot : int
            Resamples.
        seed : int

        Returns
        -------
        Dataset
            mean, low, high, and shuffled, shuffled_low, shuffled_high [position, layer]; embedding,
            embedding_low, embedding_high, without dimensions. Intervals are NaN for one subject.
        """
        if metric not in METRICS:
            raise FactvizError(f"metric {metric!r} is unknown: {', '.join(METRICS)}")
        data = self.dataset
        own, shuffled, embedding = (
            data[metric + suffix].values.reshape(data.sizes["fact"], -1)
            for suffix in ("", "_shuffled", "_embedding")
        )
        three = subject_bands(  # all in one: the resamples are the same
            np.concatenate([own, shuffled, embedding], axis=1),
            [str(name) for name in data["subject"].values],
            [str(name) for name in data["relation"].values],
            n_boot=n_boot,
            seed=seed,
        )
        found: dict[str, Any] = {}
        shape = data[metric].shape[1:]
        for word, flat in zip(("mean", "low", "high"), three, strict=True):
            middle = word == "mean"
            first, second = flat[: own.shape[1]], flat[own.shape[1] : -1]
            found[word] = (_STATE[1:], first.reshape(shape))
            found["shuffled" if middle else f"shuffled_{word}"] = (
                _STATE[1:],
                second.reshape(shape),
            )
            found["embedding" if middle else f"embedding_{word}"] = ((), flat[-1])
        return xr.Dataset(found, coords={name: data[name] for name in ("position", "layer")})

    def view(self, *, fact: int | None = None, metric: Metric | None = None) -> AttributesRate:
        """The same result, drawn for one fact (0 is the first), or with another metric first.

        Raises
        ------
        FactvizError
            If there is no such fact or metric.
        """
        if metric is not None and metric not in METRICS:
            raise FactvizError(f"metric {metric!r} is unknown: {', '.join(METRICS)}")
        chosen = super().view(fact=fact)
        return chosen if metric is None else chosen._with_view(metric=metric)

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, position and layer.

        Returns
        -------
        DataFrame
            fact, position ("subject_last", "subject_first", "after_subject", "end"), layer,
            precision, recall, lift; each again as …_shuffled and …_embedding; vocabulary_size,
            subject, relation.
        """
        data = self.dataset
        fact, position, layer = np.nonzero(~np.isnan(data["recall"].values))
        at = (fact, position, layer)
        columns: dict[str, Any] = {
            "fact": fact,
            "position": data["position"].values[position].astype(object),
            "layer": data["layer"].values[layer],
            **{name: data[name].values[at] for name in METRICS},
            **{f"{name}_shuffled": data[f"{name}_shuffled"].values[at] for name in METRICS},
            **{f"{name}_embedding": data[f"{name}_embedding"].values[fact] for name in METRICS},
            "vocabulary_size": data["vocabulary_size"].values[fact],
            "subject": data["subject"].values[fact],
            "relation": data["relation"].values[fact],
        }
        return pd.DataFrame(columns)

    def _summary(self) -> list[str]:
        data, lines = self.dataset, [self._title()]
        top_k = data.attrs.get("top_k", "?")
        recall, lift = self.bands("recall"), self.bands("lift")
        for position in data["position"].values:
            means = recall["mean"].sel(position=position).values
            if np.isnan(means).all():
                continue
            best = int(np.nanargmax(means))
            layer = int(data["layer"].values[best])
            where = f"after L{layer}" if layer >= 0 else "in the embedding"
            shuffled = float(recall["shuffled"].sel(position=position).values[best])
            factor = float(lift["mean"].sel(position=position).values[best])
            lines.append(
                f"{position}: best {where}, recall@{top_k} {number(float(means[best]))}"
                f" (shuffled subject {number(shuffled)}), lift {number(factor, 1)}"
            )
        size = float(data["vocabulary_size"].mean())
        return [*lines, f"{number(size, 1)} attributes a subject; {self._projection()}"]

    def _title(self) -> str:
        count = self.dataset.sizes["fact"]
        if count > 1:
            return f"Attributes rate of {count} facts on {self._model()}"
        prompt = shown(str(self.dataset["prompt"].values[0]), limit=200)
        return f"Attributes rate after {prompt!r} on {self._model()}"
