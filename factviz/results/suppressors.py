"""`Suppressors`: parts of the last layer that hold the answer back (P2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd
import xarray as xr

from factviz.results.base import Result
from factviz.results.factwise import FACT_COORDS, Dims, check
from factviz.results.promoted_tokens import promoted_tokens
from factviz.results.shown import number, shown, token_text

MEANS = ("effect", "answer_effect", "ablation", "ablation_answer", "control", "difference")
MEASURES = (*MEANS, "correlation", "slope")
RULE = (
    "suppressor: direct effect on a − mean(R) below 0, correlated with P(answer) below 0 (stronger "
    "where the model is sure), and mean ablation raises a − mean(R), by more than that of random "
    "parts where there are any; each with its whole 95 % interval; chosen on one half of the "
    "subjects, and holds on the other"
)
_PARTS = ("fact", "part")
_BAND = ("sample", "measure", "part")


class Suppressors(Result):
    """Direct effects on a − mean(R) beside what mean ablation does to it.

    Parameters
    ----------
    dataset
        Variables [fact, part], logits: effect (direct, on a − mean(R)), answer_effect (on a alone),
        ablation and control (change of a − mean(R) when the part, or a random one, is replaced by
        its mean), ablation_answer (change of a, centred). Of each fact: probability P(a), contrast
        a − mean(R). Of each part: attention [part, group], fractions; promoted and suppressed
        [part, rank], logits; mean, low and high [sample, measure, part], 95 %; chosen and held
        [half, part].
    provenance
        Model, weight hash, projection, the decision rule and versions.

    Raises
    ------
    FactvizError
        If the dataset lacks one of them.
    """

    kind: ClassVar[str] = "Suppressors"
    variables: ClassVar[Dims] = {
        **dict.fromkeys(
            ("effect", "answer_effect", "ablation", "ablation_answer", "control"), _PARTS
        ),
        "probability": ("fact",),
        "contrast": ("fact",),
        "attention": ("part", "group"),
        "promoted": ("part", "rank"),
        "suppressed": ("part", "rank"),
        "mean": _BAND,
        "low": _BAND,
        "high": _BAND,
        "chosen": ("half", "part"),
        "held": ("half", "part"),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "part": ("part",),
        "kind": ("part",),
        "layer": ("part",),
        "head": ("part",),
        "group": ("group",),
        "promoted_token": ("part", "rank"),
        "suppressed_token": ("part", "rank"),
        "sample": ("sample",),
        "measure": ("measure",),
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, "table of suppressors", self.variables, self.coords)
        super().__init__(dataset, provenance)

    @property
    def components(self) -> list[str]:
        """The suppressors by name ("L5H3", "MLP 5"); empty where none was found."""
        found = self.dataset["held"].values.any(0)
        return [str(name) for name in self.dataset["part"].values[found]]

    def of(self, measure: str, *, sample: str = "all") -> xr.Dataset:
        """One of `MEASURES` with its interval: mean, low, high [part].

        Parameters
        ----------
        measure : str
        sample : {"all", "first", "second"}
            All facts, or those of one half of the subjects.
        """
        three = self.dataset[["mean", "low", "high"]]
        return three.sel(sample=sample, measure=measure, drop=True)

    def to_frame(self) -> pd.DataFrame:
        """One row for each part.

        Returns
        -------
        DataFrame
            component ("head" or "mlp"), layer, head (−1 for an MLP), effect, low, high (direct, on
            a − mean(R), logits); correlation and slope (of effect with P(answer); logits per unit
            of P), ablation, control, difference (change of a − mean(R), logits), ablation_answer,
            each with _low and _high; effect_first, effect_second (by half); attention (share of
            END's attention on "topic" and so on, one column a group); directions (in how many of
            two it was chosen on one half and held on the other), suppressor.
        """
        data = self.dataset
        columns: dict[str, Any] = {
            "component": data["kind"].values,
            "layer": data["layer"].values,
            "head": data["head"].values,
        }
        names = ("effect", "correlation", "slope", "ablation", "control", "difference",
                 "ablation_answer")  # fmt: skip
        for name in names:
            for edge in ("mean", "low", "high"):
                label = name if edge == "mean" else f"{name}_{edge}"
                label = edge if name == "effect" and edge != "mean" else label
                columns[label] = self.of(name)[edge].values
        for half in ("first", "second"):
            columns[f"effect_{half}"] = self.of("effect", sample=half)["mean"].values
        for place, group in enumerate(data["group"].values):
            columns[f"attention_{group}"] = data["attention"].values[:, place]
        directions = data["held"].values.sum(0)
        return pd.DataFrame(columns | {"directions": directions, "suppressor": directions > 0})

    def tokens(self) -> pd.DataFrame:
        """The tokens that each part promotes and suppresses most, mean over facts.

        Returns
        -------
        DataFrame
            part, rank, promoted, promoted_by (logits), suppressed, suppressed_by.
        """
        return promoted_tokens(self.dataset, "part")

    def _summary(self) -> list[str]:
        data = self.dataset
        effect, ablation = (self.of(name)["mean"].values for name in ("effect", "ablation"))
        found = set(self.components)
        order = sorted(
            range(len(effect)), key=lambda i: (str(data["part"].values[i]) not in found, effect[i])
        )
        told = [
            f"{data['part'].values[i]} {number(effect[i], 3, sign=True)}, ablated "
            f"{number(ablation[i], 3, sign=True)}, promotes "
            + " ".join(token_text(str(t), 20) for t in data["promoted_token"].values[i][:3])
            for i in order[: len(found) or 5]
        ]
        count = f"{len(found)} of {len(effect)} parts" if found else "no suppressor found"
        model = shown(str(self.provenance.get("model", "unknown model")), limit=60)
        return [
            f"Suppressors on {data.sizes['fact']} facts, {model}: {count}",
            ("suppressors" if found else "most negative") + ", effect on a − mean(R): "
            + "; ".join(told[:5]),
            str(self.provenance.get("projection", "projection not stated")),
        ]  # fmt: skip
