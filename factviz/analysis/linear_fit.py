"""An output as a sum of given vectors with scalar coefficients and a vector intercept: exact fits.

y ≈ Σ_t c_t · x_t + b over prompts, c a scalar for each term t, b a vector. With the mean over
prompts taken out per dimension, b drops out and what is left is ordinary least squares in as many
unknowns as there are terms, however wide the vectors are. NumPy alone, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from factviz.facts.errors import FactvizError

RANK = 1e-6
"""Singular values below this share of the largest are rounding (of float32 activations)."""
PROMPTS = 3
"""A fit needs so many different prompts: two are one difference."""
ALIKE, INDEX, SHARE = 0.9, 30.0, 0.3
"""Pairs of that cosine are named, and groups of that condition index by their share (Belsley)."""


@dataclass(frozen=True)
class Fit:
    """A least-squares solution.

    Attributes
    ----------
    coefficients : [term]
    intercept : [d]
        In the output's own units.
    r2 : float
        In-sample and centred: the share of the output's spread over prompts that the terms give.
    condition : float
        Condition number of the centred design, columns scaled to length 1.
    inflation : [term]
        How much a coefficient's variance grows because the other terms resemble this one.
    alike : tuple of str
        Pairs and groups of terms that are nearly collinear, in words.
    """

    coefficients: Float[np.ndarray, " term"]
    intercept: Float[np.ndarray, " d"]
    r2: float
    condition: float
    inflation: Float[np.ndarray, " term"]
    alike: tuple[str, ...]


def least_squares(
    terms: Float[np.ndarray, "prompt term d"],
    output: Float[np.ndarray, "prompt d"],
    *,
    names: Sequence[str] | None = None,
    weights: Float[np.ndarray, " prompt"] | None = None,
    scale: Float[np.ndarray, " d"] | None = None,
) -> Fit:
    """Fit scalar coefficients and a vector intercept, exactly (METHODS.md, P2 item 4).

    Parameters
    ----------
    terms : [prompt, term, d]
    output : [prompt, d]
    names : [term], optional
        For messages.
    weights : [prompt], optional
        All alike without it.
    scale : [d], optional
        Dimensions are divided by it, so that errors in each count alike.

    Returns
    -------
    Fit

    Raises
    ------
    FactvizError
        If values are not finite, there are fewer than three different prompts, or the terms do not
        determine the coefficients (rank deficiency; the terms are named).

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521 (who fit by SGD).
    """
    stacked = stack(terms, output)
    named = [f"term {i}" for i in range(terms.shape[1])] if names is None else list(names)
    check(stacked, weights)
    share = shares(len(stacked), weights)
    mean: Any = np.einsum("p,ptd->td", share, stacked)
    centred = (stacked - mean) * np.sqrt(share)[:, None, None]
    centred = centred if scale is None else centred / scale
    sizes = np.linalg.norm(centred, axis=(0, 2))
    _check_varying(sizes, stacked, share, scale, [*named, "the output"])
    sizes = sizes[:-1]
    design = np.concatenate([centred[:, :-1] / sizes[:, None], centred[:, -1:]], 1)
    # R alone says everything of the fit; Q would be as large as the activations.
    upper: Any = np.linalg.qr(design.transpose(0, 2, 1).reshape(-1, len(sizes) + 1), mode="r")
    left, right = upper[: len(sizes), : len(sizes)], upper[: len(sizes), -1]
    singular, rows = np.linalg.svd(left)[1:]
    _check_rank(singular, rows, named)
    solution = np.linalg.solve(left, right)
    missed, total = upper[len(sizes) :, -1], upper[:, -1]
    inverse = np.linalg.inv(left)
    coefficients = solution / sizes
    return Fit(
        coefficients=coefficients,
        intercept=mean[-1] - coefficients @ mean[:-1],
        r2=1 - float(missed @ missed) / float(total @ total),
        condition=float(singular[0] / singular[-1]),
        inflation=(inverse**2).sum(1),
        alike=_alike(left, singular, rows, named),
    )


def stack(
    terms: Float[np.ndarray, "prompt term d"], output: Float[np.ndarray, "prompt d"]
) -> Float[np.ndarray, "prompt variable d"]:
    """Terms and, as the last variable, the output, in float64."""
    return np.concatenate([terms, output[:, None]], 1, dtype=np.float64)


def shares(count: int, weights: Float[np.ndarray, " prompt"] | None) -> Float[np.ndarray, " p"]:
    """Weights that sum to 1."""
    found = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    return found / found.sum()


def check(
    stacked: Float[np.ndarray, "prompt variable d"],
    weights: Float[np.ndarray, " prompt"] | None = None,
) -> None:
    """Refuse values that are not finite, and too few prompts."""
    bad = ~np.isfinite(stacked).all((1, 2))
    if bad.any():
        raise FactvizError(
            f"the activations of prompt {int(bad.argmax())} are not finite (NaN or infinity): load "
            "the model with dtype='float32'"
        )
    counted = stacked if weights is None else stacked[np.asarray(weights) > 0]
    different = len({row.tobytes() for row in counted})
    if different < PROMPTS:
        raise FactvizError(
            f"a regression over {different} different prompts says nothing (any difference between "
            f"two can be fitted): give {PROMPTS} or more, better some dozens"
        )


def _check_varying(
    sizes: Float[np.ndarray, " term"],
    terms: Float[np.ndarray, "prompt term d"],
    share: Float[np.ndarray, " prompt"],
    scale: Float[np.ndarray, " d"] | None,
    names: Sequence[str],
) -> None:
    still = constant(sizes, terms, share, scale)
    if still.any():
        some = ", ".join(name for name, same in zip(names, still, strict=True) if same)
        raise FactvizError(
            f"rank deficient: {some} is the same in every prompt, so that nothing tells it from "
            "the intercept; give prompts in which it differs"
        )


def constant(
    sizes: Float[np.ndarray, " term"],
    terms: Float[np.ndarray, "prompt term d"],
    share: Float[np.ndarray, " prompt"],
    scale: Float[np.ndarray, " d"] | None = None,
) -> np.ndarray:
    """Which terms do not vary over prompts, but for rounding."""
    scaled = terms if scale is None else terms / scale
    whole = np.sqrt(np.einsum("p,ptd,ptd->t", share, scaled, scaled, optimize=True))
    return sizes <= RANK * whole


def _check_rank(
    singular: Float[np.ndarray, " term"],
    rows: Float[np.ndarray, "term term"],
    names: Sequence[str],
) -> None:
    if singular[-1] > RANK * singular[0]:
        return
    part = np.abs(rows[-1]) > 0.1 * np.abs(rows[-1]).max()
    some = ", ".join(name for name, there in zip(names, part, strict=True) if there)
    raise FactvizError(
        f"rank deficient: one of {some} is a sum of the others over these prompts (condition "
        f"number {singular[0] / max(singular[-1], 1e-300):.1e}), so that their coefficients are "
        "not determined; give more and more varied prompts, or leave this layer out"
    )


def _alike(
    left: Float[np.ndarray, "term term"],
    singular: Float[np.ndarray, " term"],
    rows: Float[np.ndarray, "term term"],
    names: Sequence[str],
) -> tuple[str, ...]:
    """Near-collinear pairs, by their cosine, and larger groups, by their condition index."""
    cosines = left.T @ left
    pairs = [(i, j) for j in range(len(names)) for i in range(j) if abs(cosines[i, j]) >= ALIKE]
    found = [f"{names[i]} and {names[j]} (cosine {cosines[i, j]:.3f})" for i, j in pairs]
    for value, row in zip(singular, rows, strict=True):
        members = tuple(i for i in range(len(names)) if abs(row[i]) >= SHARE)
        if singular[0] / value >= INDEX and len(members) > 1 and members not in pairs:
            some = ", ".join(names[i] for i in members)
            found.append(f"{some} together (condition index {singular[0] / value:.0f})")
    return tuple(found)
