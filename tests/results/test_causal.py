"""Mean effects, controls and their intervals, on numbers made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from factviz.results.causal import Causal


def _made(probability: Any, subjects: str, relations: str, draws: int) -> Causal:
    """Base, one component, and its control draws [fact, run]."""
    values = np.array(probability, dtype=float)
    count, runs = values.shape
    dims = ("fact", "run")
    data: dict[str, Any] = {
        "probability": (dims, values),
        "logit": (dims, 10 * values),
        "rank": (dims, np.where(np.isnan(values), np.nan, 1.0)),
        "source_probability": (dims, np.full_like(values, np.nan)),
    }
    coords: dict[str, Any] = {
        name: ("fact", np.array(list(subjects))) for name in ("prompt", "subject", "answer")
    }
    coords |= {
        "relation": ("fact", np.array(list(relations))),
        "target_token": ("fact", np.array(["t"] * count)),
        "target_id": ("fact", np.zeros(count, int)),
        "variant": ("run", np.array(["base", "intervened", *["control"] * draws])),
        "component": ("run", np.array(["", *["L0H0"] * (runs - 1)])),
        "draw": ("run", np.arange(runs) - 2),
    }
    return Causal(xr.Dataset(data, coords=coords, attrs={"single": count == 1}), {})


def test_effects_are_macro_averaged_and_controls_averaged_over_draws_first() -> None:
    nan = np.nan
    rows = [
        [0.5, 0.1, 0.5, 0.4],  # −0.4, control −0.05
        [0.5, 0.3, 0.3, nan],  # −0.2, control −0.2
        [0.8, 0.2, nan, nan],  # −0.6, none
    ]
    row = _made(rows, "abc", "xxy", 2).effects().iloc[0]
    assert row["effect"] == pytest.approx((-0.3 - 0.6) / 2)
    assert row["control"] == pytest.approx(-0.125)  # relation x alone has one
    assert row["difference"] == pytest.approx((-0.35 - 0.0) / 2)
    assert row["low"] <= row["effect"] <= row["high"] and row["low"] > -0.61
    assert row["control_low"] == pytest.approx(-0.2)
    assert row["control_high"] == pytest.approx(-0.05)


def test_one_subject_has_no_interval_but_its_draws_a_range() -> None:
    row = _made([[0.5, 0.1, 0.4, 0.6]], "a", "x", 2).effects().iloc[0]
    assert row["effect"] == pytest.approx(-0.4) and np.isnan(row["low"])
    assert (row["control_low"], row["control_high"]) == pytest.approx((-0.1, 0.1))
    # One of two subjects has a control: no interval either.
    two = _made([[0.5, 0.1, 0.4], [0.5, 0.2, np.nan]], "ab", "xx", 1).effects().iloc[0]
    assert two["control"] == pytest.approx(-0.1) and np.isnan(two["control_low"])
    assert not np.isnan(two["low"])


def test_no_control_at_all() -> None:
    for draws in (0, 1):
        rows = [[0.5, 0.1, *[np.nan] * draws], [0.5, 0.3, *[np.nan] * draws]]
        result = _made(rows, "ab", "xx", draws)
        row = result.effects().iloc[0]
        assert row["effect"] == pytest.approx(-0.3)
        assert np.isnan(row["control"]) and np.isnan(row["difference"])
        assert "control" not in repr(result).splitlines()[2]
        assert len(result.to_frame()) == 4


def test_measures() -> None:
    result = _made([[0.5, 0.1]], "a", "x", 0)
    found = {m: float(result.change(m)[1]) for m in ("probability", "logit", "percent")}
    assert found == pytest.approx({"probability": -0.4, "logit": -4.0, "percent": -80.0})
    assert result.change("percent").attrs["units"] == "percent of P"
    assert result.to_frame()["change"].tolist() == pytest.approx([0.0, -80.0])
