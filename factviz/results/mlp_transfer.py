"""Coefficients fitted on one set of prompts, applied to another: pure arithmetic on moments."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

PERMUTATIONS = 200


def explained(
    centred: Float[np.ndarray, "variable variable"], coefficients: Float[np.ndarray, "*draw term"]
) -> Float[np.ndarray, "*draw"]:
    """Centred R² of any coefficients on a set of prompts, with that set's own intercept.

    Parameters
    ----------
    centred : [variable, variable]
        The set's centred second moments; the output is the last variable.
    coefficients : [..., term]
    """
    inner = np.einsum("...i,ij,...j->...", coefficients, centred[:-1, :-1], coefficients)
    cross = coefficients @ centred[:-1, -1]
    total = centred[-1, -1]
    return 1 - (total - 2 * cross + inner) / total if total > 0 else np.full(cross.shape, np.nan)


def permuted(
    centred: Float[np.ndarray, "variable variable"],
    coefficients: Float[np.ndarray, " term"],
    seed: int,
) -> Float[np.ndarray, " draw"]:
    """The same of coefficients that were dealt out anew among the heads; the last term stays."""
    rng = np.random.default_rng(seed)
    heads = rng.permuted(np.tile(coefficients[:-1], (PERMUTATIONS, 1)), axis=1)
    rest = np.full((PERMUTATIONS, 1), coefficients[-1])
    return explained(centred, np.concatenate([heads, rest], 1))
