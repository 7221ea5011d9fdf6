"""An attribution as one tidy table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

COLUMNS = (
    "fact",
    "component",
    "layer",
    "head",
    "source",
    "token",
    "attribute",
    "role",
    "contribution",
    "group",
    "attribute_token",
    "attribute_id",
)
_COMPONENTS = {"heads": "head", "mlps": "mlp", "embedding": "embedding", "bias": "bias"}


def _part(dataset: xr.Dataset, name: str) -> pd.DataFrame:
    """One variable as rows, padding dropped."""
    array = dataset[name]
    there = (dataset["role"].values != "").reshape(array.shape[:2] + (1,) * (array.ndim - 2))
    if "source" in array.dims:
        there = there & (dataset["group"].values != "")[:, None, None, None, :]
    index = dict(
        zip(map(str, array.dims), np.nonzero(np.broadcast_to(there, array.shape)), strict=True)
    )
    fact, attribute = index["fact"], index["attribute"]
    columns: dict[str, Any] = {
        "fact": fact,
        "component": np.full(len(fact), _COMPONENTS[name], dtype=object),
        "attribute": dataset["attribute_word"].values[fact, attribute],
        "role": dataset["role"].values[fact, attribute],
        "contribution": array.values[tuple(index.values())],
        "attribute_token": dataset["attribute_token"].values[fact, attribute],
        "attribute_id": dataset["attribute_id"].values[fact, attribute],
        "_order": attribute,
    }
    for dim in ("layer", "head", "source"):
        known = dim in index
        columns[dim] = pd.array(index[dim] if known else [pd.NA] * len(fact), dtype="Int64")
    for text in ("token", "group"):
        known = "source" in index
        values = dataset[text].values[fact, index["source"]] if known else [None] * len(fact)
        columns[text] = np.asarray(values, dtype=object)
    return pd.DataFrame(columns)


def tidy(dataset: xr.Dataset) -> pd.DataFrame:
    """Rows fact, component, layer, head, source, …: all that adds up to each centred logit."""
    parts = pd.concat([_part(dataset, name) for name in _COMPONENTS], ignore_index=True)
    parts = parts.sort_values(["fact", "_order"], kind="stable", ignore_index=True)
    return parts.loc[:, list(COLUMNS)]
