"""Pearson's r within relations: bootstrap by subject, and a permutation null.

Values are centred in each relation and every relation weighs the same, so that a difference between
relations is no correlation, and one with many facts does not outvote one with few.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from factviz.results.resampling import subject_draws

CONSTANT = 1e-5
"""A spread of less than this share of the largest value is rounding: the value is constant."""


def correlations(
    x: Float[np.ndarray, "fact n"], y: Float[np.ndarray, "fact n"], relations: Sequence[str]
) -> Float[np.ndarray, " n"]:
    """Pearson's r within relations; NaN where one of the two does not vary."""
    weights = np.ones((1, len(x)))
    return _ratios(*_moments(x, y, relations, weights), *_floors(x, y))[0][0]


def correlation_bands(
    x: Float[np.ndarray, "fact n"],
    y: Float[np.ndarray, "fact n"],
    subjects: Sequence[str],
    relations: Sequence[str],
    *,
    n_boot: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Float[np.ndarray, "two three n"]:
    """r, and the slope of y over x, each with its interval from resampled subjects.

    Parameters
    ----------
    x, y : [fact, n]
    subjects, relations : [fact]
    n_boot : int
        Resamples.
    level : float
        Of the interval, a fraction.
    seed : int

    Returns
    -------
    array [r or slope, mean or low or high, n]
        NaN where x or y does not vary, and for the interval of fewer than two subjects.
    """
    floors = _floors(x, y)
    whole = np.stack([v[0] for v in _ratios(*_moments(x, y, relations, np.ones((1, len(x)))),
                                            *floors)])  # fmt: skip
    found = np.full((2, 3, x.shape[1]), np.nan)
    found[:, 0] = whole
    known = np.flatnonzero(~np.isnan(whole[0]))
    if len(set(subjects)) < 2 or not len(known):
        return found
    drawn = subject_draws(subjects, n_boot, np.random.default_rng(seed))
    weights = drawn.astype(np.float64)
    moments = _moments(x[:, known], y[:, known], relations, weights)
    draws = np.stack(_ratios(*moments, *(floor[known] for floor in floors)))
    edges = [(1 - level) / 2, (1 + level) / 2]
    some = ~np.isnan(draws).all((0, 1))
    low, high = np.nanquantile(draws[:, :, some], edges, axis=1)
    found[:, 1, known[some]], found[:, 2, known[some]] = low, high
    return found


def _floors(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances up to which a column is constant but for rounding."""
    least = np.finfo(np.float64).tiny
    floor_x, floor_y = ((CONSTANT * np.abs(v).max(0)) ** 2 + least for v in (x, y))
    return floor_x, floor_y


def _moments(
    x: Float[np.ndarray, "fact n"],
    y: Float[np.ndarray, "fact n"],
    relations: Sequence[str],
    weights: Float[np.ndarray, "draw fact"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance of x, of y, and covariance [draw, n]: the mean over the relations that are there."""
    names = np.asarray(relations)
    total = np.zeros((3, len(weights), x.shape[1]))
    count = np.zeros((len(weights), 1))
    for relation in np.unique(names):
        rows = names == relation
        own = weights[:, rows]
        size = own.sum(1, keepdims=True)
        share = np.divide(own, size, out=np.zeros_like(own), where=size > 0)
        a, b = (v[rows].astype(np.float64) - v[rows].mean(0, dtype=np.float64) for v in (x, y))
        mean_a, mean_b = share @ a, share @ b
        total[0] += share @ a**2 - mean_a**2
        total[1] += share @ b**2 - mean_b**2
        total[2] += share @ (a * b) - mean_a * mean_b
        count += size > 0
    total /= np.maximum(count, 1)
    return total[0], total[1], total[2]


def _ratios(
    of_x: np.ndarray, of_y: np.ndarray, both: np.ndarray, floor_x: np.ndarray, floor_y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """r, and the slope of y over x; NaN where one is constant."""
    varies = (of_x > floor_x) & (of_y > floor_y)
    empty = np.full(both.shape, np.nan)
    root = np.sqrt(np.maximum(of_x, 0) * np.maximum(of_y, 0))
    r = np.divide(both, root, out=empty.copy(), where=varies)
    return np.clip(r, -1, 1), np.divide(both, of_x, out=empty, where=varies)


def shuffles(
    subjects: Sequence[str], relations: Sequence[str], count: int, *, seed: int = 0
) -> Int[np.ndarray, "shuffle fact"]:
    """Random exchanges of facts between subjects of a relation.

    All facts that a subject has of a relation stay together, in their order, and trade places with
    those of another subject that has as many: facts of one subject are not independent.
    """
    names, owner = np.asarray(relations), np.asarray(subjects)
    blocks: dict[tuple[str, int], list[np.ndarray]] = {}
    for relation in np.unique(names):
        rows = np.flatnonzero(names == relation)
        for subject in np.unique(owner[rows]):
            own = rows[owner[rows] == subject]
            blocks.setdefault((str(relation), len(own)), []).append(own)
    rng = np.random.default_rng(seed)
    found = np.tile(np.arange(len(owner)), (count, 1))
    for alike in blocks.values():
        places = np.stack(alike)
        for row in found:
            row[places] = places[rng.permutation(len(places))]
    return found


def null_correlations(
    x: Float[np.ndarray, "fact n"],
    y: Float[np.ndarray, "fact n"],
    relations: Sequence[str],
    shuffled: Int[np.ndarray, "shuffle fact"],
) -> Float[np.ndarray, "shuffle n"]:
    """R with x taken from other facts (`shuffles`); NaN where one does not vary."""
    names = np.asarray(relations)
    unique, owner, counts = np.unique(names, return_inverse=True, return_counts=True)
    weight = 1 / counts[owner] / len(unique)
    one = np.equal(owner[:, None], np.arange(len(unique))).astype(np.float64)
    a, b = (v - one @ ((one.T @ v) / counts[:, None]) for v in (x.astype(float), y.astype(float)))
    root = np.sqrt((weight @ a**2) * (weight @ b**2))
    floor_x, floor_y = _floors(x, y)
    varies = (weight @ a**2 > floor_x) & (weight @ b**2 > floor_y)
    weighted = b * weight[:, None]
    sums = np.stack([np.einsum("fn,fn->n", a[rows], weighted) for rows in shuffled])
    empty = np.full(sums.shape, np.nan)
    return np.divide(sums, root, out=empty, where=np.broadcast_to(varies, sums.shape))


def chances(
    r: Float[np.ndarray, " n"],
    null: Float[np.ndarray, "shuffle n"],
    among: Sequence[int] | None = None,
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """How often chance gives an r as large: of each column, and of the largest of all columns.

    Parameters
    ----------
    r : [n]
    null : [shuffle, n]
    among : sequence of int, optional
        The columns among which the largest is taken (all without it).

    Returns
    -------
    p, corrected : [n]
        One-sided, (1 + times as large) / (1 + shuffles). ``corrected`` compares with the largest of
        the columns in each shuffle (Westfall and Young's maximum): it holds for all together. NaN
        where r is.
    """
    known = ~np.isnan(r)
    loose = 1e-12  # a shuffle that changes nothing gives the same r but for rounding
    filled = np.where(np.isnan(null), -np.inf, null)
    columns = np.arange(len(r)) if among is None else np.asarray(among, dtype=int)
    best = filled[:, columns].max(1, initial=-np.inf)
    own = (1 + (filled >= r - loose).sum(0)) / (1 + len(null))
    largest = (1 + (best[:, None] >= r - loose).sum(0)) / (1 + len(null))
    return np.where(known, own, np.nan), np.where(known, np.maximum(own, largest), np.nan)
