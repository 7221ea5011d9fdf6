"""Movers by rule: measured on all facts and both halves, chosen on one, judged on the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from factviz.facts.checks import check_shares
from factviz.facts.errors import FactvizError
from factviz.results.correlations import (
    CONSTANT,
    chances,
    correlation_bands,
    null_correlations,
    shuffles,
)
from factviz.results.halves import HALVES, SAMPLES, cross_fit
from factviz.results.movers import DIRECTIONS, MEASURES
from factviz.results.resampling import subject_bands

WRITTEN = ("topic", "answer")
_STATISTICS = ("mean", "low", "high")


@dataclass(frozen=True)
class Rule:
    """What makes a mover; see `factviz.analysis.movers.find_movers`."""

    min_attention: float
    alpha: float
    min_copying: float
    written: str

    def __post_init__(self) -> None:
        if self.written not in WRITTEN:
            raise FactvizError(f"written={self.written!r} is unknown: 'topic' or 'answer'")
        check_shares(
            min_attention=self.min_attention, alpha=self.alpha, min_copying=self.min_copying
        )


@dataclass(frozen=True)
class Measured:
    """Statistics by sample, and the null of r by sample and what is written [shuffle, head]."""

    tables: xr.Dataset
    null: dict[tuple[str, str], Float[np.ndarray, "shuffle head"]]


def measure_samples(
    dataset: xr.Dataset,
    rows: Mapping[str, Int[np.ndarray, " fact"]],
    *,
    n_boot: int,
    n_shuffles: int,
    seed: int,
) -> Measured:
    """Means, correlations and chances of every head, on all facts and on each half.

    Parameters
    ----------
    dataset : Dataset
        With attention, weighted, write and answer_dla of each fact.
    rows : mapping
        The facts of each of `SAMPLES`.
    n_boot, n_shuffles, seed : int
    """
    shape = dataset["answer_dla"].shape[1:]
    tables = np.full((len(_STATISTICS), len(SAMPLES), len(MEASURES), *shape), np.nan)
    chance = np.full((2, len(SAMPLES), 2, *shape), np.nan)
    null: dict[tuple[str, str], np.ndarray] = {}
    for place, name in enumerate(SAMPLES):
        some = dataset.isel(fact=rows[name])
        subjects, relations = ([str(v) for v in some[c].values] for c in ("subject", "relation"))
        values = np.stack(list(_values(some).values()), 1)
        bands = subject_bands(values, subjects, relations, n_boot=n_boot, seed=seed)
        tables[:, place, : values.shape[1]] = np.stack(bands)
        shuffled = shuffles(subjects, relations, n_shuffles, seed=seed)
        seen = _flat(some["attention"].sel(group="topic").values)
        for column, direction in enumerate(WRITTEN):
            written = _flat(some["write"].sel(direction=direction).values)
            if direction == "topic" and len(set(some["topic_token"].values.tolist())) < 2:
                written = np.zeros_like(written)  # all of one topic: nothing to go with
            found = correlation_bands(seen, written, subjects, relations, n_boot=n_boot, seed=seed)[
                0
            ]
            at = MEASURES.index(f"r_{direction}")
            tables[:, place, at] = found.reshape(3, *shape)
            drawn = null_correlations(seen, written, relations, shuffled)
            pair = chances(found[0], drawn)
            chance[:, place, column] = np.stack(pair).reshape(2, *shape)
            null[name, direction] = drawn
    return Measured(_labelled(tables, chance), null)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)


def _values(some: xr.Dataset) -> dict[str, np.ndarray]:
    """The measures that are means over facts."""
    write = {name: some["write"].sel(direction=name).values for name in DIRECTIONS}
    return {
        "attention": some["attention"].sel(group="topic").values,
        "weighted": some["weighted"].sel(group="topic").values,
        "write_topic": write["topic"],
        "write_other_topics": write["other topics"],
        "topic_contrast": _beyond(write["topic"], write["other topics"]),
        "write_answer": write["answer"],
        "write_other_answers": write["other answers"],
        "answer_contrast": _beyond(write["answer"], write["other answers"]),
        "answer_dla": some["answer_dla"].values,
    }


def _beyond(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The difference, 0 where it is rounding: what lowers all tokens alike singles out none."""
    found = own - others
    return np.where(np.abs(found) <= CONSTANT * (np.abs(own) + np.abs(others)), 0, found)


def _labelled(tables: np.ndarray, chance: np.ndarray) -> xr.Dataset:
    grid = ("layer", "head")
    data: dict[str, Any] = {
        name: (("sample", "measure", *grid), table)
        for name, table in zip(_STATISTICS, tables, strict=True)
    }
    for name, table in zip(("p", "p_corrected"), chance, strict=True):
        data[name] = (("sample", "written", *grid), table)
    coords = {"sample": list(SAMPLES), "measure": list(MEASURES), "written": list(WRITTEN)}
    return xr.Dataset(data, coords=coords)


def judge(measured: Measured, rule: Rule, copying: Float[np.ndarray, "layer head"]) -> xr.Dataset:
    """Which heads the rule chooses on each half, and which of them hold on the other."""
    shape = copying.shape
    enough = (np.nan_to_num(copying) >= rule.min_copying).ravel()

    def holds(half: str, among: Bool[np.ndarray, " head"] | None) -> Bool[np.ndarray, " head"]:
        own = measured.tables.sel(sample=half)
        low = {n: own["low"].sel(measure=n).values.ravel() for n in MEASURES}
        r = own["mean"].sel(measure=f"r_{rule.written}").values.ravel()
        columns = None if among is None else np.flatnonzero(among).tolist()
        corrected = chances(r, measured.null[half, rule.written], columns)[1]
        with np.errstate(invalid="ignore"):  # NaN: what is undefined does not hold
            return (
                (low["attention"] >= rule.min_attention)
                & (low[f"r_{rule.written}"] > 0)
                & (corrected <= rule.alpha)
                & (low[f"{rule.written}_contrast"] > 0)
                & enough
            )

    chosen, held = cross_fit(holds)
    data = {
        name: (("half", "layer", "head"), table.reshape(len(HALVES), *shape))
        for name, table in (("chosen", chosen), ("held", held))
    }
    return xr.Dataset(data, coords={"half": list(HALVES)})
