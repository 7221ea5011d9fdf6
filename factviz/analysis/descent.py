"""The paper's gradient descent on the regression of an MLP on heads, and how far it got.

The loss is quadratic, so its gradient needs the moments of the data only, and in the eigenbasis of
its Hessian every direction moves alone: a step of SGD with momentum is a 2 × 2 matrix, n steps its
n-th power. That is the same sequence of points that n full-batch steps of `torch.optim.SGD` give
(no dampening, no Nesterov, all parameters begin at 0), without taking them one by one. It is not
minibatch SGD: nothing is sampled, so nothing hangs on a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
from jaxtyping import Float

from factviz.analysis.moments import Moments
from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError

_NULL = 1e-14


@dataclass(frozen=True)
class Descent:
    """Where gradient descent stands.

    Attributes
    ----------
    coefficients : [draw, term]
    intercept_weights : [draw, variable]
        The intercept as a sum of the variables' means (it never leaves their span).
    excess : [draw, checkpoint]
        Loss above the least possible, as a share of the output's spread over prompts: the
        in-sample R² that is still missing.
    """

    coefficients: Float[np.ndarray, "draw term"]
    intercept_weights: Float[np.ndarray, "draw variable"]
    excess: Float[np.ndarray, "draw checkpoint"]


def descend(
    data: Moments,
    *,
    rate: float = 0.005,
    momentum: float = 0.99,
    steps: int = 60_000,
    checkpoints: Sequence[int] = (),
    strict: bool = True,
) -> Descent:
    """Full-batch gradient descent with momentum on the mean squared error over prompts and dims.

    Parameters
    ----------
    data : Moments
        With a leading draw dimension.
    rate, momentum, steps
        arXiv 2403.19521 has 0.005, 0.99 and 60,000.
    checkpoints : sequence of int
        Steps at which the excess loss is read; the last step is always.
    strict : bool
        Refuse a rate that diverges in any draw; else that draw is NaN.

    Raises
    ------
    FactvizError
        If a setting makes no sense, or the rate is so high that the descent diverges.
    """
    check_settings(rate, momentum, steps)
    hessian, slope, basis = _quadratic(data)
    values, vectors = np.linalg.eigh(hessian)
    if strict:
        _check_rate(rate, momentum, float(values.max()))
    values = np.where(rate * values < 2 * (1 + momentum), values, np.nan)
    moving = values > _NULL * values[:, -1:]
    target = np.einsum("wij,wi->wj", vectors, slope) / np.where(moving, values, 1)
    target = np.where(moving, target, 0)
    spread = np.maximum(data.centred[:, -1, -1], 1e-300) / data.width
    excess: list[np.ndarray] = []
    left = target
    for count in sorted({*checkpoints, steps}):
        left = target * _kept(values, rate, momentum, count)
        excess.append(0.5 * (values * left**2).sum(1) / spread)
    point = np.einsum("wij,wj->wi", vectors, target - left)
    terms = data.raw.shape[-1] - 1
    weights = np.einsum("wij,wj->wi", basis, point[:, terms:])
    return Descent(point[:, :terms], weights, np.stack(excess, 1))


def check_settings(rate: float, momentum: float, steps: int) -> None:
    """Refuse settings that make no sense."""
    numbers = all(isinstance(value, Real) for value in (rate, momentum)) and is_whole(steps)
    if not (numbers and rate > 0 and 0 <= momentum < 1 and steps >= 1):
        raise FactvizError(
            f"SGD with rate={rate!r}, momentum={momentum!r}, steps={steps!r} can't be run: the "
            "rate is above 0, momentum in [0, 1), steps 1 or more (the paper: 0.005, 0.99, 60000)"
        )


def _check_rate(rate: float, momentum: float, largest: float) -> None:
    most = 2 * (1 + momentum) / largest if largest > 0 else np.inf
    if rate >= most:
        raise FactvizError(
            f"SGD with rate={rate} and momentum={momentum} diverges on these activations: the rate "
            f"must stay below {most:.2g}; or take solver='exact'"
        )


def _quadratic(data: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hessian and slope at 0 in coefficients and intercept, the latter in an orthonormal basis.

    The basis spans the variables' means M [variable, d]: its vectors are ``basis``ᵀ M.
    """
    values, vectors = np.linalg.eigh(data.of_means)
    there = values > _NULL * np.maximum(values[:, -1:], 1e-300)
    root = np.sqrt(np.where(there, values, 0))
    basis = vectors * np.where(there, 1 / np.where(there, root, 1), 0)[:, None, :]
    seen = root[:, :, None] * vectors.transpose(0, 2, 1)  # [basis vector, variable]
    draws, size = data.raw.shape[:2]
    terms = size - 1
    hessian = np.zeros((draws, terms + size, terms + size))
    hessian[:, :terms, :terms] = data.raw[:, :-1, :-1]
    hessian[:, terms:, :terms] = seen[:, :, :-1]
    hessian[:, :terms, terms:] = seen[:, :, :-1].transpose(0, 2, 1)
    hessian[:, terms:, terms:] = np.eye(size) * there[:, None, :]
    slope = np.concatenate([data.raw[:, :-1, -1], seen[:, :, -1]], 1)
    scale = 2 / data.width
    return scale * hessian, scale * slope, basis


def _kept(
    values: Float[np.ndarray, "draw mode"], rate: float, momentum: float, steps: int
) -> Float[np.ndarray, "draw mode"]:
    """The share of each mode's first distance that is left after some steps."""
    step = np.empty((*values.shape, 2, 2))
    step[..., 0, 0] = 1 - rate * values
    step[..., 0, 1] = -rate * momentum
    step[..., 1, 0] = values
    step[..., 1, 1] = momentum
    return np.linalg.matrix_power(step, steps)[..., 0, 0]
