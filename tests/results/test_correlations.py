"""Pearson's r within relations, and how much of it chance gives."""

from __future__ import annotations

import numpy as np
import pytest

from factviz.results.correlations import (
    chances,
    correlation_bands,
    correlations,
    null_correlations,
    shuffles,
)
from factviz.results.halves import cross_fit, sample_rows

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
Y = 2 * X + RNG.normal(size=(30, 3))
NAMES = [f"s{i}" for i in range(30)]


def test_one_relation_is_pearson() -> None:
    r = correlations(X, Y, ["r"] * 30)
    assert r == pytest.approx([np.corrcoef(X[:, i], Y[:, i])[0, 1] for i in range(3)])
    bands = correlation_bands(X, Y, NAMES, ["r"] * 30)
    assert bands[0, 0] == pytest.approx(r)
    slopes = [np.polyfit(X[:, i], Y[:, i], 1)[0] for i in range(3)]
    assert bands[1, 0] == pytest.approx(slopes)
    assert (bands[:, 1] < bands[:, 0]).all() and (bands[:, 0] < bands[:, 2]).all()


def test_a_difference_between_relations_is_no_correlation() -> None:
    x, y = RNG.normal(size=(2, 200, 1))
    relations = ["a"] * 100 + ["b"] * 100
    x[100:] += 9
    y[100:] += 9
    assert np.corrcoef(x[:, 0], y[:, 0])[0, 1] > 0.9
    assert abs(correlations(x, y, relations)[0]) < 0.3


def test_relations_weigh_the_same() -> None:
    """By hand: covariances 1 and −1 with variances 1 cancel, whatever their numbers of facts."""
    x = np.array([[1.0], [-1.0], *[[1.0], [-1.0]] * 5])
    y = np.concatenate([x[:2], -x[2:]])
    assert correlations(x, y, ["a"] * 2 + ["b"] * 10)[0] == pytest.approx(0)


def test_what_does_not_vary_but_for_rounding_has_none() -> None:
    x = np.full((10, 1), 0.25) + 1e-8 * RNG.normal(size=(10, 1))
    y = RNG.normal(size=(10, 1))
    assert np.isnan(correlations(x, y, ["r"] * 10)).all()
    assert np.isnan(correlation_bands(x, y, NAMES[:10], ["r"] * 10)).all()
    null = null_correlations(x, y, ["r"] * 10, shuffles(NAMES[:10], ["r"] * 10, 20))
    assert np.isnan(null).all()
    assert np.isnan(chances(np.array([np.nan]), null)).all()


def test_one_subject_has_no_interval() -> None:
    bands = correlation_bands(X, Y, ["s"] * 30, ["r"] * 30)
    assert np.isfinite(bands[:, 0]).all() and np.isnan(bands[:, 1:]).all()


def test_shuffles_keep_subjects_together_and_stay_in_relations() -> None:
    subjects = ["a", "a", "b", "b", "c", "d", "e", "f"]
    relations = ["r"] * 5 + ["q"] * 3
    found = shuffles(subjects, relations, 50, seed=1)
    assert (np.sort(found, axis=1) == np.arange(8)).all()
    assert {tuple(row) for row in found[:, :5].tolist()} == {(0, 1, 2, 3, 4), (2, 3, 0, 1, 4)}
    assert len({tuple(row) for row in found[:, 5:].tolist()}) == 6


def test_shuffled_r_is_r_of_shuffled_values() -> None:
    relations = ["a"] * 12 + ["b"] * 18
    rows = shuffles(NAMES, relations, 5, seed=2)
    wanted = [correlations(X[row], Y, relations) for row in rows]
    assert null_correlations(X, Y, relations, rows) == pytest.approx(np.stack(wanted))


def test_chances_by_hand() -> None:
    null = np.array([[0.1, 0.5], [0.3, 0.2], [0.0, 0.0]])
    p, corrected = chances(np.array([0.25, 0.4]), null)
    assert p.tolist() == [2 / 4, 2 / 4]
    assert corrected.tolist() == [3 / 4, 2 / 4]
    assert chances(np.array([0.25, 0.4]), null, [0])[1].tolist() == [2 / 4, 2 / 4]


def test_corrected_chances_are_uniform_under_the_null() -> None:
    """Of 60 sets without any correlation, about one in ten has a head at 0.1."""
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(60):
        x, y = rng.normal(size=(2, 16, 20))
        rows = shuffles(NAMES[:16], ["r"] * 16, 99, seed=seed)
        r = correlations(x, y, ["r"] * 16)
        null = null_correlations(x, y, ["r"] * 16, rows)
        hits += bool((chances(r, null)[1] <= 0.1).any())
    assert 1 <= hits <= 14


def test_cross_fit_judges_what_was_chosen_on_the_other_half() -> None:
    table = {"first": np.array([1, 1, 0, 0], bool), "second": np.array([1, 0, 1, 0], bool)}
    asked: list[tuple[str, object]] = []

    def holds(half: str, among: np.ndarray | None) -> np.ndarray:
        asked.append((half, None if among is None else among.tolist()))
        return table[half]

    chosen, held = cross_fit(holds)
    assert chosen.tolist() == [table["first"].tolist(), table["second"].tolist()]
    assert held.tolist() == [[True, False, False, False]] * 2
    assert asked[2:] == [("second", table["first"].tolist()), ("first", table["second"].tolist())]


def test_no_half_shares_a_subject() -> None:
    subjects = [f"s{i % 7}" for i in range(21)]
    rows = sample_rows(subjects, ["r"] * 21)
    first, second = ({subjects[i] for i in rows[half]} for half in ("first", "second"))
    assert not first & second and len(first | second) == 7
    assert sorted([*rows["first"], *rows["second"]]) == rows["all"].tolist()
