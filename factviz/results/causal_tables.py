"""Tables over changed runs: P, rank and accuracy themselves, and how two interventions interact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from factviz.facts.errors import FactvizError
from factviz.results.resampling import subject_bands

JOINED = " + "


def masked_bands(
    values: Float[np.ndarray, "fact n"], data: xr.Dataset, n_boot: int, seed: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Mean, low and high of each column, over the facts that have a value."""
    found = np.full((3, values.shape[1]), np.nan)
    subjects = np.array([str(s) for s in data["subject"].values])
    relations = np.array([str(r) for r in data["relation"].values])
    known = ~np.isnan(values)
    masks, which = np.unique(known, axis=1, return_inverse=True)
    for index, there in enumerate(masks.T):
        columns = np.ravel(which) == index
        if there.any():
            # Without the other facts: one subject alone has a mean, but no interval.
            found[:, columns] = subject_bands(
                values[np.ix_(there, columns)],
                subjects[there].tolist(),
                relations[there].tolist(),
                n_boot=n_boot,
                seed=seed,
            )
    return found[0], found[1], found[2]


def mean_of_draws(drawn: Float[np.ndarray, "*n draw"]) -> Float[np.ndarray, "*n"]:
    """Over control draws; NaN where there is none."""
    there = ~np.isnan(drawn)
    total, count = np.where(there, drawn, 0).sum(-1), there.sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def outcomes(data: xr.Dataset, *, n_boot: int, seed: int) -> pd.DataFrame:
    """One row for the clean run, for each component and for its control."""
    variants, names = data["variant"].values, data["component"].values
    rank = data["rank"].values
    measures = {
        "probability": data["probability"].values,
        "accuracy": np.where(np.isnan(rank), np.nan, rank == 1),
        "logit": data["logit"].values,
    }
    labels = [("base", "")]
    columns: list[np.ndarray] = [np.array([0])]
    for name in names[variants == "intervened"]:
        for variant in ("intervened", "control"):
            there = np.flatnonzero((variants == variant) & (names == name))
            if len(there) and not np.isnan(rank[:, there]).all():
                labels.append((variant, str(name)))
                columns.append(there)
    made: dict[str, Any] = {
        "variant": [variant for variant, _ in labels],
        "component": [name for _, name in labels],
    }
    for measure, values in measures.items():
        table = np.stack([mean_of_draws(values[:, there]) for there in columns], 1)
        mean, low, high = masked_bands(table, data, n_boot, seed)
        made |= {measure: mean, f"{measure}_low": low, f"{measure}_high": high}
    made["median_rank"] = [float(np.nanmedian(rank[:, there])) for there in columns]
    made["facts"] = [int((~np.isnan(rank[:, there])).any(1).sum()) for there in columns]
    return pd.DataFrame(made)


def interactions(
    change: Float[np.ndarray, "fact run"], data: xr.Dataset, *, n_boot: int, seed: int
) -> pd.DataFrame:
    """effect(A ∪ B) − effect(A) − effect(B) for every run named "A + B" beside runs A and B.

    Raises
    ------
    FactvizError
        If there is no such run.
    """
    there = np.flatnonzero(data["variant"].values == "intervened")
    names = {str(data["component"].values[run]): int(run) for run in there}
    rows: list[dict[str, Any]] = []
    for name, both in names.items():
        parts = name.split(JOINED)
        if len(parts) != 2 or not all(part in names for part in parts):
            continue
        first, second = (change[:, names[part]] for part in parts)
        joint = change[:, both]
        table = np.stack([first, second, joint, joint - first - second], 1)
        mean, low, high = masked_bands(table, data, n_boot, seed)
        rows.append(
            {
                "first": parts[0],
                "second": parts[1],
                "effect_first": mean[0],
                "effect_second": mean[1],
                "effect_both": mean[2],
                "interaction": mean[3],
                "low": low[3],
                "high": high[3],
            }
        )
    if not rows:
        raise FactvizError(
            f"no run changes two of the others at once ({', '.join(map(repr, list(names)[:4]))}): "
            "name one 'A + B' beside 'A' and 'B', as ablate_classes does"
        )
    return pd.DataFrame(rows)
