"""The tokens that some parts promote and suppress most."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from factviz.analysis.provenance import texts
from factviz.models.factmodel import FactModel


def top_tokens(
    model: FactModel, mean: Float[np.ndarray, "row vocab"], k: int, *, dim: str
) -> xr.Dataset:
    """The first ``k`` of each row at either end.

    Parameters
    ----------
    model : FactModel
    mean : [row, vocab]
        Logits.
    k : int
    dim : str
        What a row is called.

    Returns
    -------
    Dataset
        promoted and suppressed [dim, rank], logits, with coordinates promoted_token and
        suppressed_token; ``""`` for a logit that the tokenizer has no token for.
    """
    found: dict[str, Any] = {}
    dims = (dim, "rank")
    for name, sign in (("promoted", -1), ("suppressed", 1)):
        order = np.argsort(sign * mean, axis=1, kind="stable")[:, :k]
        size = len(model.tokenizer)
        named = [[model.tokenizer.decode([i]) if i < size else "" for i in row] for row in order]
        found[name] = (dims, np.take_along_axis(mean, order, 1), {"units": "logits"})
        found[f"{name}_token"] = (dims, texts(named, order.shape[1]))
    made = xr.Dataset(found, coords={"rank": np.arange(1, found["promoted"][1].shape[1] + 1)})
    return made.set_coords(["promoted_token", "suppressed_token"])
