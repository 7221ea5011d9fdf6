"""`Mitigation`: suppressing parts scaled down, against temperature scaling (P2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results.base import Result
from factviz.results.calibration import calibration_error, error_draws, reliability
from factviz.results.factwise import FACT_COORDS, Dims, check
from factviz.results.resampling import macro_means, subject_bands
from factviz.results.shown import number, shown

MEASURES = ("accuracy", "probability", "ece", "brier", "nll")
METHODS = ("unmitigated", "mitigated", "random parts", "temperature")
CRITERIA = ("nll", "brier", "ece")
_SCORES = ("probability", "confidence", "right", "nll", "brier")
_TABLE = ("fact", "setting")
_HELD = {"accuracy": "right", "probability": "probability", "brier": "brier", "nll": "nll"}


class Mitigation(Result):
    """Accuracy and calibration of facts with some parts scaled, by gain.

    A gain is chosen on the facts of the *choosing* half of the subjects by the criterion asked
    for, a temperature by the negative log-likelihood; both are judged on the *judging* half.

    Parameters
    ----------
    dataset
        Variables [fact, setting]: probability (of the answer), confidence (probability of the
        most probable token), right (whether that is the answer), nll (of the answer, nats), brier
        (Σ over the vocabulary of (p − 1 if the answer else p)², 0 to 2). Coordinates: setting kind
        ("unmitigated", "gain", "control", "temperature") and gain; half of each fact.
    provenance
        Model, weight hash, the parts, the choice and versions.

    Raises
    ------
    FactvizError
        If the dataset lacks one of them.
    """

    kind: ClassVar[str] = "Mitigation"
    variables: ClassVar[Dims] = dict.fromkeys(_SCORES, _TABLE)
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "half": ("fact",),
        "setting_kind": ("setting",),
        "gain": ("setting",),
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, "mitigation", self.variables, self.coords)
        super().__init__(dataset, provenance)

    @property
    def gain(self) -> float:
        """The gain chosen; 1 where none is better than 1, or there is nothing to scale."""
        return float(self.dataset.attrs["gain"])

    @property
    def temperature(self) -> float:
        """What the logits are divided by, fitted on the choosing half."""
        return float(self.dataset.attrs["temperature"])

    @property
    def criterion(self) -> str:
        """By what the gain is chosen and judged: "nll", "brier" or "ece"."""
        return str(self.dataset.attrs["criterion"])

    @property
    def components(self) -> list[str]:
        """The parts that are scaled; empty where no suppressor was found."""
        return [str(name) for name in self.provenance.get("components", [])]

    @property
    def helps(self) -> bool:
        """Whether the chosen gain lowers the criterion on the judging half, whole interval."""
        if self.gain == 1:
            return False
        return bool(self.measure(self.criterion, self.setting("mitigated"))[1][2] < 0)

    def setting(self, method: str) -> int | None:
        """Which setting a method is; None where it was not run (no parts, no control).

        Parameters
        ----------
        method : str
            One of `METHODS`.
        """
        kinds = self.dataset["setting_kind"].values
        if method in ("unmitigated", "temperature"):
            return int(np.flatnonzero(kinds == method)[0])
        if method not in METHODS:
            raise FactvizError(f"method {method!r} is unknown: {', '.join(METHODS)}")
        kind = "gain" if method == "mitigated" else "control"
        there = np.flatnonzero((kinds == kind) & (self.dataset["gain"].values == self.gain))
        if len(there):
            return int(there[0])
        return 0 if method == "mitigated" else None

    def measure(
        self, name: str, setting: int | None, *, half: str = "judging"
    ) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """A measure of a setting, and its change from the unmitigated model.

        Parameters
        ----------
        name : str
            One of `MEASURES`.
        setting : int or None
        half : {"judging", "choosing"}

        Returns
        -------
        value, change
            Each mean, low, high: 95 %, bootstrap by subject, paired for the change. Relations are
            macro-averaged; ECE is over all facts of the half.
        """
        if setting is None:
            nothing = (np.nan, np.nan, np.nan)
            return nothing, nothing
        data = self._half(half)
        subjects, relations = ([str(v) for v in data[c].values] for c in ("subject", "relation"))
        boots, seed = int(self.dataset.attrs["n_boot"]), int(self.dataset.attrs["seed"])
        if name == "ece":
            return self._errors(data, setting, subjects, boots, seed)
        values = data[_HELD[name]].values.astype(np.float64)
        pair = np.stack([values[:, setting], values[:, setting] - values[:, 0]], 1)
        bands = np.stack(subject_bands(pair, subjects, relations, n_boot=boots, seed=seed))
        first, second = ((float(b[0]), float(b[1]), float(b[2])) for b in bands.T)
        return first, second

    def _errors(
        self, data: xr.Dataset, setting: int, subjects: list[str], boots: int, seed: int
    ) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """ECE with its interval, and its change from the unmitigated model's."""
        bins = int(self.dataset.attrs["bins"])
        chosen = (setting, 0)
        pairs = [(data["confidence"].values[:, i], data["right"].values[:, i]) for i in chosen]
        own, base = (calibration_error(*pair, bins=bins) for pair in pairs)
        if len(set(subjects)) < 2:
            return (own, np.nan, np.nan), (own - base, np.nan, np.nan)
        draws, others = (
            error_draws(*pair, subjects, bins=bins, n_boot=boots, seed=seed) for pair in pairs
        )
        low, high = np.quantile(draws, [0.025, 0.975])
        below, above = np.quantile(draws - others, [0.025, 0.975])
        return (own, float(low), float(high)), (own - base, float(below), float(above))

    def _half(self, half: str) -> xr.Dataset:
        rows = self.dataset["half"].values == half
        if not rows.any():
            raise FactvizError(f"half {half!r} is unknown or empty: 'judging' or 'choosing'")
        return self.dataset.isel(fact=rows)

    def table(self, *, half: str = "judging") -> pd.DataFrame:
        """The methods side by side, one row for each method and measure.

        Returns
        -------
        DataFrame
            method, measure, value, low, high, change (from unmitigated, paired), change_low,
            change_high.
        """
        rows: list[dict[str, Any]] = []
        for method in METHODS:
            place = self.setting(method)
            if place is None:
                continue
            for name in MEASURES:
                value, change = self.measure(name, place, half=half)
                row: dict[str, Any] = {"method": method, "measure": name}
                row |= dict(zip(("value", "low", "high"), value, strict=True))
                row |= dict(zip(("change", "change_low", "change_high"), change, strict=True))
                rows.append(row)
        return pd.DataFrame(rows)

    def reliability(self, method: str, *, half: str = "judging") -> pd.DataFrame:
        """Confidence against accuracy in bins of equal mass.

        Returns
        -------
        DataFrame
            bin, confidence (mean probability of the top token), accuracy, facts; empty where the
            method was not run.
        """
        place = self.setting(method)
        columns = ["confidence", "accuracy", "facts"]
        if place is None:
            return pd.DataFrame(columns=["bin", *columns])
        data = self._half(half)
        pair = (data[name].values[:, place] for name in ("confidence", "right"))
        table = pd.DataFrame(reliability(*pair, bins=int(self.dataset.attrs["bins"])),
                             columns=columns)  # fmt: skip
        table["facts"] = table["facts"].astype(int)
        table.insert(0, "bin", np.arange(1, len(table) + 1))
        return table

    def curve(self, name: str, *, half: str = "judging") -> pd.DataFrame:
        """A measure by gain, of the parts and of random ones; without intervals.

        Returns
        -------
        DataFrame
            gain, value, control (NaN where there is none), in order of the gain.

        Raises
        ------
        FactvizError
            If the measure or the half is unknown.
        """
        if name not in MEASURES:
            raise FactvizError(f"measure {name!r} is unknown: {', '.join(MEASURES)}")
        data = self._half(half)
        kinds, gains = data["setting_kind"].values, data["gain"].values
        rows: list[dict[str, float]] = []
        for gain in sorted(set(gains[(kinds == "gain") | (kinds == "unmitigated")].tolist())):
            row = {"gain": float(gain), "value": np.nan, "control": np.nan}
            for column, kind in (("value", "gain"), ("control", "control")):
                there = np.flatnonzero((kinds == kind) & (gains == gain))
                if not len(there) and gain == 1:
                    there = np.array([0])
                if len(there):
                    row[column] = point(data, name, int(there[0]), int(self.dataset.attrs["bins"]))
            rows.append(row)
        return pd.DataFrame(rows)

    def to_frame(self) -> pd.DataFrame:
        """One row for each half, setting and measure.

        Returns
        -------
        DataFrame
            component (the parts that are scaled, "random parts", "temperature" or "none"), layer
            and head (−1 where they are several), effect, low, high (change of the measure from the
            unmitigated model, paired), measure, value, value_low, value_high, setting
            ("unmitigated", "gain", "control", "temperature"), gain, chosen (the gain that was
            chosen), half ("judging" or "choosing").
        """
        data = self.dataset
        kinds, gains = data["setting_kind"].values, data["gain"].values
        rows: list[dict[str, Any]] = []
        for half in ("judging", "choosing"):
            for place, (kind, gain) in enumerate(zip(kinds, gains, strict=True)):
                for name in MEASURES:
                    value, change = self.measure(name, place, half=half)
                    row = self._named(str(kind))
                    row |= dict(zip(("effect", "low", "high"), change, strict=True))
                    row |= {"measure": name}
                    row |= dict(zip(("value", "value_low", "value_high"), value, strict=True))
                    row |= {"setting": str(kind), "gain": float(gain)}
                    row |= {"chosen": kind == "gain" and gain == self.gain, "half": half}
                    rows.append(row)
        return pd.DataFrame(rows)

    def _named(self, kind: str) -> dict[str, Any]:
        attrs = self.dataset.attrs
        if kind == "gain":
            name = " + ".join(self.components)
            return {"component": name, "layer": int(attrs["layer"]), "head": int(attrs["head"])}
        names = {"control": "random parts", "temperature": "temperature"}
        return {"component": names.get(kind, "none"), "layer": -1, "head": -1}

    @property
    def verdict(self) -> str:
        """One sentence: whether a gain helps."""
        if not self.components:
            return "no suppressor was found on the choosing half: nothing is scaled"
        if self.gain == 1:
            return f"no gain lowers {self.criterion.upper()} on the choosing half: gain 1"
        parts = " + ".join(self.components)
        change = self.measure(self.criterion, self.setting("mitigated"))[1]
        told = f"{number(change[0], 3, sign=True)} ({number(change[1], 3, sign=True)} to " + (
            f"{number(change[2], 3, sign=True)})"
        )
        helps = "helps" if self.helps else "does not help"
        return (
            f"gain {self.gain:g} on {shown(parts, limit=80)}, chosen on one half, {helps} on the "
            f"other: {self.criterion.upper()} {told}"
        )

    def _summary(self) -> list[str]:
        lines = [
            f"Mitigation on {self.dataset.sizes['fact']} facts, "
            + shown(str(self.provenance.get("model", "unknown model")), limit=60),
            self.verdict,
        ]
        table: Any = self.table()
        for method in dict.fromkeys(table["method"]):
            rows = table[table["method"] == method]
            told = [f"{row.measure} {number(row.value, 3)}" for row in rows.itertuples()]
            name = f"temperature {self.temperature:.3g}" if method == "temperature" else method
            lines.append(f"{name}: " + ", ".join(told))
        return [*lines, str(self.provenance.get("projection", "projection not stated"))]


def point(data: xr.Dataset, name: str, setting: int, bins: int) -> float:
    """A measure of one setting over some facts, without an interval."""
    if name == "ece":
        pair = (data[n].values[:, setting] for n in ("confidence", "right"))
        return calibration_error(*pair, bins=bins)
    values = data[_HELD[name]].values[:, setting].astype(np.float64)
    return float(macro_means(values, [str(v) for v in data["relation"].values]))
