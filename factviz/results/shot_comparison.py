"""`ShotComparison`: the same facts asked behind none, one, two other facts (arXiv 2403.19521)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from factviz.facts.errors import FactvizError
from factviz.results.factwise import FACT_COORDS, Dims, FactResult
from factviz.results.resampling import subject_bands
from factviz.results.shown import number

_PAIR = ("fact", "shots")
_HEADS = (*_PAIR, "layer", "head")
WRITES = ("answer_write", "topic_write")
MEASURES = (*WRITES, "attention")
_WORDS = {"answer_write": "answer", "topic_write": "topic", "attention": "attention to it"}
UNITS = {"answer_write": "logits", "topic_write": "logits", "attention": "fraction"}


class ShotComparison(FactResult):
    """Recall by the number of shots, and the layers in which heads write answer and topic.

    Variables [fact, shots]: probability, rank and logit (π, centred) of the answer. [fact, shots,
    layer, head], at END: answer_write and topic_write, a head's direct contribution to the answer's
    logit and to that of the topic's tokens (their mean), in logits; attention, to the topic's
    tokens, a fraction; and each beside its control, answer_write_control and topic_write_control
    (other facts' answers and topics), attention_control (as many random positions).
    """

    kind: ClassVar[str] = "ShotComparison"
    what: ClassVar[str] = "comparison of shots"
    variables: ClassVar[Dims] = {
        **dict.fromkeys(("probability", "rank", "logit"), _PAIR),
        **{f"{name}{end}": _HEADS for name in MEASURES for end in ("", "_control")},
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "shots": ("shots",),
        "layer": ("layer",),
        "asked": _PAIR,
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        super().__init__(dataset, provenance)
        if dataset["shots"].dtype.kind not in "iu":
            raise FactvizError(f"this is no {self.what}: its numbers of shots are no whole numbers")

    @property
    def shots(self) -> list[int]:
        """The numbers of shots, in order."""
        return [int(count) for count in self.dataset["shots"].values]

    def table(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """Recall by number of shots, and what the shots gain on the same facts.

        Means are macro-averaged over relations; intervals are 95 %, bootstrap by subject.

        Returns
        -------
        DataFrame
            shots; top1 (share of facts), probability, logit (π, logits), each with _low and _high;
            each measure's _gain over the fewest shots, paired by fact, with _gain_low and
            _gain_high (NaN for the fewest); median_rank; facts.
        """
        data = self.dataset
        values = {
            "top1": (data["rank"].values == 1).astype(np.float64),
            "probability": data["probability"].values,
            "logit": data["logit"].values,
        }
        columns: dict[str, Any] = {"shots": self.shots}
        for name, table in values.items():
            for end, shown in (("", table), ("_gain", table - table[:, :1])):
                three = self._bands(shown, n_boot, seed)
                for edge, one in zip(("", "_low", "_high"), three, strict=True):
                    columns[name + end + edge] = one
                    if end:
                        columns[name + end + edge] = np.r_[np.nan, one[1:]]
        columns["median_rank"] = np.median(data["rank"].values, axis=0)
        return pd.DataFrame(columns | {"facts": data.sizes["fact"]})

    def curves(self, *, n_boot: int = 200, seed: int = 0) -> xr.Dataset:
        """By layer, the heads' writes up to it and their attention in it.

        Returns
        -------
        Dataset
            answer_write and topic_write [shots, layer], logits: what the heads of this and all
            earlier layers wrote, summed; attention [shots, layer]: to the topic, mean over the
            layer's heads. Each also as _control, and _difference (paired), and each of these with
            _low and _high (95 %, bootstrap by subject).
        """
        found: dict[str, Any] = {}
        for name in MEASURES:
            own, control = self._by_layer(name), self._by_layer(f"{name}_control")
            parts = {name: own, f"{name}_control": control, f"{name}_difference": own - control}
            for label, values in parts.items():
                three = self._bands(values, n_boot, seed)
                for edge, one in zip(("", "_low", "_high"), three, strict=True):
                    found[label + edge] = (("shots", "layer"), one, {"units": UNITS[name]})
        coords = {name: self.dataset[name].values for name in ("shots", "layer")}
        return xr.Dataset(found, coords=coords)

    def onsets(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """The layer at which heads start to write the answer, the topic, and to read the topic.

        The first layer from which on the interval of the paired difference from the control stays
        above 0, up to the layer where that difference is largest: so one early layer's chance does
        not count. NaN where there is none.

        Returns
        -------
        DataFrame
            shots, measure ("answer_write" and "topic_write", summed up to the layer; "attention",
            in it), layer (the onset), difference, low, high (at the onset; logits or a fraction),
            half_layer (where the difference first is half of its largest), peak_layer, peak (the
            largest), found.
        """
        curves = self.curves(n_boot=n_boot, seed=seed)
        layers = curves["layer"].values
        rows: list[dict[str, Any]] = []
        for place, count in enumerate(self.shots):
            for name in MEASURES:
                mean, low, high = (
                    curves[f"{name}_difference{edge}"].values[place]
                    for edge in ("", "_low", "_high")
                )
                row: dict[str, Any] = {"shots": count, "measure": name, "layer": np.nan}
                row |= dict.fromkeys(("difference", "low", "high"), np.nan)
                at = onset(mean, low)
                if at is not None:
                    row |= {"layer": int(layers[at]), "difference": float(mean[at])}
                    row |= {"low": float(low[at]), "high": float(high[at])}
                known = not np.isnan(mean).all()
                peak = int(np.nanargmax(mean)) if known else 0
                row["peak_layer"] = int(layers[peak]) if known else np.nan
                row["peak"] = float(mean[peak])
                half = np.flatnonzero(mean >= mean[peak] / 2) if mean[peak] > 0 else []
                row["half_layer"] = int(layers[half[0]]) if len(half) else np.nan
                rows.append(row | {"found": at is not None})
        return pd.DataFrame(rows)

    def heads(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """Every head by number of shots: what it writes of answer and topic, and its attention.

        Returns
        -------
        DataFrame
            shots, layer, head; answer_write, topic_write (less their controls, logits), attention
            (to the topic, a fraction), each with _low and _high.
        """
        data = self.dataset
        shots, layer, head = np.indices(data["answer_write"].shape[1:]).reshape(3, -1)
        columns: dict[str, Any] = {
            "shots": data["shots"].values[shots],
            "layer": data["layer"].values[layer],
            "head": head,
        }
        for name in MEASURES:
            values = data[name].values
            if name in WRITES:
                values = values - data[f"{name}_control"].values
            three = self._bands(values, n_boot, seed)
            for edge, one in zip(("", "_low", "_high"), three, strict=True):
                columns[name + edge] = one[shots, layer, head]
        return pd.DataFrame(columns)

    def to_frame(self) -> pd.DataFrame:
        """One row for each fact, number of shots and layer.

        Returns
        -------
        DataFrame
            fact, shots, layer; answer_write, answer_write_control, topic_write, topic_write_control
            (logits, the heads of this and all earlier layers), attention, attention_control (mean
            over the layer's heads); probability, logit and rank of the answer (of the whole run),
            prompt, subject, relation.
        """
        data = self.dataset
        sizes = [data.sizes[name] for name in ("fact", "shots", "layer")]
        fact, shots, layer = np.indices(sizes).reshape(3, -1)
        columns: dict[str, Any] = {
            "fact": fact,
            "shots": data["shots"].values[shots],
            "layer": data["layer"].values[layer],
        }
        for name in MEASURES:
            for end in ("", "_control"):
                columns[name + end] = self._by_layer(name + end)[fact, shots, layer]
        for name in ("probability", "logit", "rank"):
            columns[name] = data[name].values[fact, shots]
        columns["rank"] = columns["rank"].astype(int)
        columns["prompt"] = data["asked"].values[fact, shots]
        columns |= {name: data[name].values[fact] for name in ("subject", "relation")}
        return pd.DataFrame(columns)

    def _by_layer(self, name: str) -> Float[np.ndarray, "fact shots layer"]:
        values = self.dataset[name].values.astype(np.float64)
        if name.startswith("attention"):
            return values.mean(-1)
        return values.sum(-1).cumsum(-1)

    def _bands(self, values: Any, n_boot: int, seed: int) -> Any:
        data = self.dataset
        return subject_bands(
            values,
            [str(name) for name in data["subject"].values],
            [str(name) for name in data["relation"].values],
            n_boot=n_boot,
            seed=seed,
        )

    def _summary(self) -> list[str]:
        count = self.dataset.sizes["fact"]
        lines = [f"Shots compared on {count} fact{'s' if count > 1 else ''}, {self._model()}"]
        onsets = self.onsets(n_boot=100)
        rows: list[dict[str, Any]] = self.table(n_boot=100).to_dict("records")
        for row in rows:
            gain = row["probability_gain"]
            more = "" if np.isnan(gain) else f" ({number(gain, sign=True)})"
            its = onsets[onsets["shots"] == row["shots"]].set_index("measure")
            starts = ", ".join(
                f"{_WORDS[name]} {_layer(its.at[name, 'layer'])}"  # type: ignore[arg-type]
                for name in MEASURES
            )
            lines.append(
                f"{told(int(row['shots']))}: top-1 {number(row['top1'])}, P "
                f"{number(row['probability'])}{more}; written or read from layer: {starts}"
            )
        return [*lines, self._projection()]


def told(count: int) -> str:
    """A number of shots in words."""
    return f"{count} shot{'' if count == 1 else 's'}"


def _layer(value: float) -> str:
    return "none found" if np.isnan(value) else f"L{int(value)}"


def onset(mean: Float[np.ndarray, " layer"], low: Float[np.ndarray, " layer"]) -> int | None:
    """The first layer from which on ``low`` stays above 0, up to where ``mean`` is largest."""
    if np.isnan(mean).all():
        return None
    peak = int(np.nanargmax(mean))
    below = np.flatnonzero(~(low[: peak + 1] > 0))
    first = int(below[-1]) + 1 if len(below) else 0
    return first if first <= peak else None
