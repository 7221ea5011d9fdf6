"""Means over facts with intervals: bootstrap by subject, macro-averaged over relations.

Facts of one subject are not independent, so subjects are drawn, not rows; a relation with many
facts does not outvote one with few.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def subject_bands(
    values: Float[np.ndarray, " fact *n"],
    subjects: Sequence[str],
    relations: Sequence[str],
    *,
    n_boot: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " *n"], Float[np.ndarray, " *n"], Float[np.ndarray, " *n"]]:
    """The macro-average over relations, and its interval from resampled subjects.

    Parameters
    ----------
    values : [fact, ...]
        NaN where a fact has none.
    subjects, relations : [fact]
    n_boot : int
        Resamples.
    level : float
        Of the interval, a fraction.
    seed : int

    Returns
    -------
    mean, low, high : [...]
        The interval is NaN where there are fewer than two subjects.
    """
    flat = values.reshape(len(values), -1).astype(np.float64)
    mean = _macro(flat, np.ones((1, len(flat))), relations)[0]
    weights = _drawn(subjects, n_boot, seed)
    if weights is None:
        empty = np.full(values.shape[1:], np.nan)
        return mean.reshape(values.shape[1:]), empty, empty
    means = _macro(flat, weights, relations)
    edges = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.full((2, flat.shape[1]), np.nan)
    gaps = np.isnan(means)
    whole, some = ~gaps.any(0), gaps.any(0) & ~gaps.all(0)
    low[whole], high[whole] = np.quantile(means[:, whole], edges, axis=0)
    if some.any():  # column by column, and slow
        low[some], high[some] = np.nanquantile(means[:, some], edges, axis=0)
    shape = values.shape[1:]
    return mean.reshape(shape), low.reshape(shape), high.reshape(shape)


def ratio_bands(
    values: Float[np.ndarray, " fact *n"],
    base: Float[np.ndarray, " fact"],
    subjects: Sequence[str],
    relations: Sequence[str],
    *,
    n_boot: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " *n"], Float[np.ndarray, " *n"], Float[np.ndarray, " *n"]]:
    """Percent of a base as a ratio of means, and its interval from resampled subjects.

    Numerator and denominator are of the same subjects in every resample. All is NaN where the base
    is not above 0, and the interval where a resample's is not: a percentage would mean nothing.

    Parameters
    ----------
    values : [fact, ...]
    base : [fact]
    subjects, relations, n_boot, level, seed
        As for `subject_bands`.

    Returns
    -------
    ratio, low, high : [...]
        Percent.
    """
    flat = np.concatenate([base[:, None], values.reshape(len(values), -1)], 1).astype(np.float64)
    shape, width = values.shape[1:], flat.shape[1] - 1
    whole = _macro(flat, np.ones((1, len(flat))), relations)
    found = np.full((3, width), np.nan)
    if whole[0, 0] > 0:
        found[0] = 100 * whole[0, 1:] / whole[0, 0]
        weights = _drawn(subjects, n_boot, seed)
        if weights is not None:
            means = _macro(flat, weights, relations)
            if (means[:, 0] > 0).all():
                ratios = 100 * means[:, 1:] / means[:, :1]
                found[1:] = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2], axis=0)
    ratio, low, high = (row.reshape(shape) for row in found)
    return ratio, low, high


def _drawn(
    subjects: Sequence[str], n_boot: int, seed: int
) -> Float[np.ndarray, "draw fact"] | None:
    """How often each fact is drawn when subjects are; None for fewer than two of them."""
    if len(set(subjects)) < 2:
        return None
    return subject_draws(subjects, n_boot, np.random.default_rng(seed)).astype(np.float64)


def subject_draws(
    subjects: Sequence[str], n_boot: int, rng: np.random.Generator
) -> Int[np.ndarray, "draw fact"]:
    """How often each fact is there when as many subjects as there are are drawn, with repeats."""
    names, owner = np.unique(np.asarray(subjects), return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_boot)
    return drawn[:, owner]


def macro_means(
    values: Float[np.ndarray, " fact *n"], relations: Sequence[str]
) -> Float[np.ndarray, " *n"]:
    """The macro-average over relations alone, without an interval."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    return _macro(flat, np.ones((1, len(flat))), relations)[0].reshape(values.shape[1:])


def _macro(
    flat: Float[np.ndarray, "fact n"],
    weights: Float[np.ndarray, "draw fact"],
    relations: Sequence[str],
) -> Float[np.ndarray, "draw n"]:
    """Weighted means of each relation, then their mean; relations without facts do not count."""
    known, filled = (~np.isnan(flat)).astype(np.float64), np.nan_to_num(flat)
    total = np.zeros((len(weights), flat.shape[1]))
    count = np.zeros_like(total)
    for relation in np.unique(np.asarray(relations)):
        rows = np.asarray(relations) == relation
        own = weights[:, rows]
        # Where no value is missing, every column has the same weight.
        there = own.sum(1, keepdims=True) if known[rows].all() else own @ known[rows]
        sums = own @ filled[rows]
        total += np.divide(sums, there, out=np.zeros_like(sums), where=there > 0)
        count += there > 0
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
