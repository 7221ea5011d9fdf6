"""Calibration: how far confidence is from accuracy, in bins of equal mass, and proper scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from factviz.facts.errors import FactvizError
from factviz.results.resampling import subject_draws

BINS = 10


def equal_bins(
    confidence: Float[np.ndarray, " fact"], bins: int = BINS
) -> list[Int[np.ndarray, " own"]]:
    """The numbers of the facts of each bin, least confident first; as many in each as can be.

    Raises
    ------
    FactvizError
        If there is to be less than one bin.
    """
    if bins < 1:
        raise FactvizError(f"{bins} bins hold nothing: give 1 or more")
    order = np.argsort(confidence, kind="stable")
    return [rows for rows in np.array_split(order, bins) if len(rows)]


def reliability(
    confidence: Float[np.ndarray, " fact"], right: Float[np.ndarray, " fact"], *, bins: int = BINS
) -> Float[np.ndarray, "bin three"]:
    """Mean confidence, accuracy and number of facts of each bin of equal mass.

    Parameters
    ----------
    confidence : [fact]
        The probability of the most probable token.
    right : [fact]
        1 where that token is the answer, else 0.
    bins : int
        Fewer where there are fewer facts.
    """
    found = [
        (confidence[rows].mean(), right[rows].mean(), len(rows))
        for rows in equal_bins(confidence, bins)
    ]
    return np.array(found, dtype=np.float64).reshape(-1, 3)


def calibration_error(
    confidence: Float[np.ndarray, " fact"], right: Float[np.ndarray, " fact"], *, bins: int = BINS
) -> float:
    """Expected calibration error: mean |confidence − accuracy| over bins of equal mass."""
    table = reliability(confidence, right, bins=bins)
    return float(np.average(np.abs(table[:, 0] - table[:, 1]), weights=table[:, 2]))


def error_draws(
    confidence: Float[np.ndarray, " fact"],
    right: Float[np.ndarray, " fact"],
    subjects: Sequence[str],
    *,
    bins: int = BINS,
    n_boot: int = 200,
    seed: int = 0,
) -> Float[np.ndarray, " draw"]:
    """The calibration error on resampled subjects; the same draws for the same seed.

    Resamples hold facts twice, which fall into one bin, so that these errors lie above the whole
    set's: compare them with each other, and see `error_band` for an interval.
    """
    drawn = subject_draws(subjects, n_boot, np.random.default_rng(seed))
    rows = [np.repeat(np.arange(len(counts)), counts) for counts in drawn]
    return np.array([calibration_error(confidence[r], right[r], bins=bins) for r in rows])


def error_band(
    confidence: Float[np.ndarray, " fact"],
    right: Float[np.ndarray, " fact"],
    subjects: Sequence[str],
    *,
    bins: int = BINS,
    n_boot: int = 200,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The calibration error and its 95 % interval from resampled subjects (percentiles).

    The interval is NaN where there are fewer than two subjects.
    """
    whole = calibration_error(confidence, right, bins=bins)
    if len(set(subjects)) < 2:
        return whole, float("nan"), float("nan")
    drawn = error_draws(confidence, right, subjects, bins=bins, n_boot=n_boot, seed=seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return whole, float(low), float(high)
