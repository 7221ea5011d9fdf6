from __future__ import annotations

import numpy as np
import pytest

from factviz.results.resampling import ratio_bands, subject_bands


def test_relations_count_the_same_however_many_facts_they_have():
    values = np.array([[1.0], [1.0], [1.0], [0.0]])
    mean, low, high = subject_bands(values, list("abcd"), ["r", "r", "r", "q"])
    assert mean.tolist() == [0.5]
    assert low[0] <= 0.5 <= high[0]


def test_missing_values_do_not_count():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    mean, low, high = subject_bands(values, list("abc"), ["r"] * 3)
    assert mean[0] == 2 and np.isnan(mean[1])
    assert np.isnan(low[1]) and np.isnan(high[1])


def test_subjects_are_drawn_not_rows():
    rng = np.random.default_rng(0)
    own = rng.normal(size=20)
    repeated = np.repeat(own, 10)  # ten equal rows a subject: no more is known
    once = subject_bands(own, [str(i) for i in range(20)], [""] * 20, n_boot=2000)
    often = subject_bands(repeated, [str(i // 10) for i in range(200)], [""] * 200, n_boot=2000)
    assert once[0] == pytest.approx(own.mean())
    assert float(often[2] - often[1]) == pytest.approx(float(once[2] - once[1]), rel=0.1)
    # … and the interval is that of a mean of 20: about ± 1.96 standard errors.
    width = 2 * 1.96 * own.std() / np.sqrt(20)
    assert float(once[2] - once[1]) == pytest.approx(width, rel=0.15)


def test_one_subject_has_no_interval():
    mean, low, high = subject_bands(np.ones((3, 2)), ["a"] * 3, [""] * 3)
    assert mean.tolist() == [1, 1] and np.isnan(low).all() and np.isnan(high).all()


def test_the_seed_fixes_it():
    values = np.random.default_rng(1).normal(size=(9, 3))
    names = [str(i) for i in range(9)]
    first, second = (subject_bands(values, names, [""] * 9, seed=4) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_ratio_of_means_and_not_a_mean_of_ratios():
    values, base = np.array([[1.0], [1.0], [4.0]]), np.array([1.0, 2.0, 5.0])
    ratio, low, high = ratio_bands(values, base, list("abc"), ["r"] * 3)
    assert ratio[0] == pytest.approx(100 * 6 / 8)
    assert 50 <= low[0] < ratio[0] < high[0] <= 100  # the ratios of single facts bound it
    # Relations count the same: r is (1, 1.5), q is (4, 5).
    assert ratio_bands(values, base, list("abc"), ["r", "r", "q"])[0][0] == pytest.approx(500 / 6.5)


def test_numerator_and_denominator_are_of_the_same_subjects():
    base = np.random.default_rng(0).uniform(1, 9, size=12)
    ratio, low, high = ratio_bands(-2 * base[:, None], base, [str(i) for i in range(12)], [""] * 12)
    assert [ratio[0], low[0], high[0]] == pytest.approx([-200] * 3)


def test_a_base_that_is_not_above_zero_has_no_ratio():
    values = np.ones((4, 2))
    none = ratio_bands(values, np.array([1.0, 1, 1, -3]), list("abcd"), [""] * 4)
    assert all(np.isnan(part).all() for part in none)
    some = ratio_bands(values, np.array([1.0, 1, 1, -1]), list("abcd"), [""] * 4)
    assert some[0].tolist() == [200, 200] and np.isnan(some[1]).all() and np.isnan(some[2]).all()
