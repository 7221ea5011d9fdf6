"""Second moments of a regression's variables over prompts: all that resampling needs.

For variables z (the terms, then the output) [prompt, variable, d] the fit hangs on two small
tables: the mean of z zᵀ, and that of the means. Their difference is what centring leaves. So a
bootstrap draw, a fold or a shuffled control costs as much as a table of [variable, variable].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from factviz.analysis.linear_fit import RANK, shares
from factviz.facts.errors import FactvizError

_NUMBERS = 1 << 24


@dataclass(frozen=True)
class Moments:
    """raw: weighted mean over prompts of z zᵀ; of_means: the same of the mean z; ``width`` is d."""

    raw: Float[np.ndarray, "*draw variable variable"]
    of_means: Float[np.ndarray, "*draw variable variable"]
    width: int

    @property
    def centred(self) -> Float[np.ndarray, "*draw variable variable"]:
        """What is left when the mean over prompts is taken out per dimension."""
        return self.raw - self.of_means


def moments(
    stacked: Float[np.ndarray, "prompt variable d"], weights: Float[np.ndarray, "draw prompt"]
) -> Moments:
    """The moments under several sets of weights.

    Parameters
    ----------
    stacked : [prompt, variable, d]
    weights : [draw, prompt]
        Each row's sum is taken for 1.
    """
    share = weights / weights.sum(1, keepdims=True)
    each = stacked @ stacked.transpose(0, 2, 1)
    raw = np.einsum("wp,pij->wij", share, each, optimize=True)
    flat = stacked.reshape(len(stacked), -1)
    step = max(1, _NUMBERS // flat.shape[1])
    outer: list[np.ndarray] = []
    for some in np.split(share, range(step, len(share), step)):
        mean = (some @ flat).reshape(len(some), *stacked.shape[1:])
        outer.append(mean @ mean.transpose(0, 2, 1))
    return Moments(raw, np.concatenate(outer), stacked.shape[2])


def solve(centred: Float[np.ndarray, "*draw variable variable"]) -> Float[np.ndarray, "*draw term"]:
    """The least-squares coefficients of centred moments; NaN where they are not determined."""
    size = np.sqrt(np.maximum(np.diagonal(centred, axis1=-2, axis2=-1)[..., :-1], 0))
    safe = np.where(size > 0, size, 1)
    table = centred[..., :-1, :-1] / safe[..., :, None] / safe[..., None, :]
    values, vectors = np.linalg.eigh(table)
    # Moments square the condition number: rounding hides more of it than in `least_squares`.
    whole = (values[..., :1] > RANK**2 * values[..., -1:]) & (size > 0).all(-1, keepdims=True)
    seen = np.einsum("...ij,...i->...j", vectors, centred[..., :-1, -1] / safe)
    seen = seen / np.where(values > 0, values, 1)
    found = np.einsum("...ij,...j->...i", vectors, seen) / safe
    return np.where(whole, found, np.nan)


@dataclass(frozen=True)
class HeldOut:
    """R² of each fold: against the other folds' mean output (centred), and against zero."""

    r2: Float[np.ndarray, " fold"]
    r2_zero: Float[np.ndarray, " fold"]


def held_out(
    stacked: Float[np.ndarray, "prompt variable d"],
    fold: Int[np.ndarray, " prompt"],
    weights: Float[np.ndarray, " prompt"] | None = None,
    *,
    coefficients: Float[np.ndarray, "fold term"] | None = None,
    intercepts: Float[np.ndarray, "fold d"] | None = None,
) -> HeldOut:
    """Fit on the other folds, judge on each.

    Parameters
    ----------
    stacked : [prompt, variable, d]
        The output is the last variable; divided by whatever scales its dimensions.
    fold : [prompt]
        Numbers 0 to folds − 1.
    weights : [prompt], optional
    coefficients, intercepts : [fold, term], [fold, d], optional
        Of another solver, fitted on the other folds; exact ones without them.

    Raises
    ------
    FactvizError
        If the other folds do not determine the coefficients.
    """
    share = shares(len(stacked), weights)
    norms = share * (stacked[:, -1] ** 2).sum(1)
    middle = _mean(stacked, share)  # nothing hangs on where 0 is, but rounding
    inner = stacked - middle
    member = fold == np.arange(int(fold.max()) + 1)[:, None]  # [fold, prompt]
    offsets = _mean(inner, share * member)
    second = np.tensordot(share * member, inner @ inner.transpose(0, 2, 1), 1)
    sizes = (share * member).sum(1)
    found = np.full((2, len(member)), np.nan)
    for number, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        trained = (offsets.sum(0) - offset) / (1 - size)
        around = trained @ trained.T
        centred = second.sum(0) - second[number] - (1 - size) * around
        chosen = _chosen(coefficients, number, centred)
        # The held-out prompts' second moments around the mean of the others.
        cross = offset @ trained.T
        seen = second[number] - cross - cross.T + size * around
        reading = np.append(-chosen, 1.0)
        missed = reading @ seen @ reading
        if intercepts is not None:
            wrong = reading @ (trained + middle) - intercepts[number]
            missed += 2 * wrong @ (reading @ (offset - size * trained)) + size * (wrong @ wrong)
        found[:, number] = 1 - missed / np.array([seen[-1, -1], norms[member[number]].sum()])
    return HeldOut(*found)


def _mean(
    stacked: Float[np.ndarray, "prompt variable d"], weights: Float[np.ndarray, "*set prompt"]
) -> Float[np.ndarray, "*set variable d"]:
    """Weighted sums over prompts."""
    flat = weights @ stacked.reshape(len(stacked), -1)
    return flat.reshape(*weights.shape[:-1], *stacked.shape[1:])


def _chosen(
    coefficients: Float[np.ndarray, "fold term"] | None,
    number: int,
    centred: Float[np.ndarray, "variable variable"],
) -> Float[np.ndarray, " term"]:
    if coefficients is not None:
        return coefficients[number]
    found = solve(centred)
    _check_fold(found, number)
    return found


def _check_fold(coefficients: Float[np.ndarray, " term"], number: int) -> None:
    if np.isnan(coefficients).any():
        raise FactvizError(
            f"rank deficient without fold {number}: the other folds' prompts do not determine the "
            "coefficients; give more and more varied facts"
        )
