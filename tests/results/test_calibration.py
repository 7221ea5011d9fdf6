"""Calibration, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from factviz.analysis.gain_runs import fit_temperature, scores
from factviz.facts.errors import FactvizError
from factviz.results.calibration import calibration_error, error_band, reliability

CONFIDENCE = np.array([0.9, 0.2, 0.8, 0.4])
RIGHT = np.array([1.0, 0.0, 1.0, 1.0])


def test_error_by_hand() -> None:
    # Bins {0.2, 0.4} and {0.8, 0.9}: confidence 0.3 and 0.85, accuracy 0.5 and 1.
    assert reliability(CONFIDENCE, RIGHT, bins=2).tolist() == pytest.approx(
        [pytest.approx([0.3, 0.5, 2]), pytest.approx([0.85, 1, 2])]
    )
    assert calibration_error(CONFIDENCE, RIGHT, bins=2) == pytest.approx((0.2 + 0.15) / 2)
    # Bins of 2, 1 and 1 facts weigh by their numbers.
    assert calibration_error(CONFIDENCE, RIGHT, bins=3) == pytest.approx((2 * 0.2 + 0.2 + 0.1) / 4)
    # More bins than facts: one each.
    assert calibration_error(CONFIDENCE, RIGHT, bins=10) == pytest.approx(
        (0.1 + 0.2 + 0.2 + 0.6) / 4
    )
    with pytest.raises(FactvizError, match="0 bins"):
        calibration_error(CONFIDENCE, RIGHT, bins=0)


def test_interval_is_over_subjects() -> None:
    whole, low, high = error_band(CONFIDENCE, RIGHT, ["a", "b", "c", "d"], bins=2)
    assert whole == pytest.approx(0.175) and low < high
    one = error_band(CONFIDENCE, RIGHT, ["a"] * 4, bins=2)
    assert one[0] == pytest.approx(0.175) and math.isnan(one[1])


def test_scores_by_hand() -> None:
    logits = torch.tensor([[math.log(0.5), math.log(0.3), math.log(0.2)]])
    probability, confidence, right, nll, brier = scores(logits, 1)[:, 0]
    assert (probability, confidence, right) == pytest.approx((0.3, 0.5, 0))
    assert nll == pytest.approx(-math.log(0.3))
    assert brier == pytest.approx(0.5**2 + (1 - 0.3) ** 2 + 0.2**2)


def test_temperature_in_closed_form() -> None:
    """Two tokens, logits 3 and 0, right 4 times of 5: σ(3/T) = 0.8."""
    logits = torch.tensor([[3.0, 0.0]] * 5)
    answers = torch.tensor([0, 0, 0, 0, 1])
    wanted = 3 / math.log(0.8 / 0.2)
    assert fit_temperature(logits, answers, np.ones(5)) == pytest.approx(wanted, rel=1e-6)
    # Half of the weight on the one that is wrong: σ(3/T) = 0.5, as hot as it is looked for.
    weights = np.array([1.0, 1, 1, 1, 4])
    assert fit_temperature(logits, answers, weights) == pytest.approx(20, rel=1e-3)
    assert fit_temperature(logits[:4], answers[:4], np.ones(4)) == pytest.approx(0.05, rel=1e-3)
