"""The tokens that parts promote and suppress most, as a tidy table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr


def promoted_tokens(data: xr.Dataset, dim: str) -> pd.DataFrame:
    """One row for each part and rank.

    Parameters
    ----------
    data : Dataset
        promoted and suppressed [dim, rank], logits, with coordinates promoted_token and
        suppressed_token.
    dim : str
        What a part is called.

    Returns
    -------
    DataFrame
        dim, rank (from 1), promoted, promoted_by (logits), suppressed, suppressed_by.
    """
    part, rank = np.indices(data["promoted"].shape).reshape(2, -1)
    columns: dict[str, Any] = {dim: data[dim].values[part], "rank": rank + 1}
    for name in ("promoted", "suppressed"):
        columns[name] = data[f"{name}_token"].values[part, rank]
        columns[f"{name}_by"] = data[name].values[part, rank]
    return pd.DataFrame(columns)
