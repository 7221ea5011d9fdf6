"""The regression of MLPs on heads, pure arithmetic: planted cases, plain loops, torch's SGD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from factviz.analysis.descent import descend
from factviz.analysis.linear_fit import least_squares, stack
from factviz.analysis.moments import held_out, moments, solve
from factviz.facts.errors import FactvizError
from factviz.results.halves import subject_folds, subject_halves
from factviz.results.mlp_transfer import explained, permuted


def planted(prompts=30, terms=5, width=24, *, noise=0.0, seed=0, spread=1.0):
    """Terms with means, coefficients, an intercept, and the output they make."""
    rng = np.random.default_rng(seed)
    given_terms = spread * rng.normal(size=(prompts, terms, width)) + rng.normal(
        size=(terms, width)
    )
    c, b = rng.normal(size=terms), rng.normal(size=width)
    output = np.einsum("t,ptd->pd", c, given_terms) + b
    return given_terms, output + noise * rng.normal(size=output.shape), c, b


class TestExact:
    @settings(max_examples=20, deadline=None)
    @given(
        prompts=st.integers(4, 40),
        terms=st.integers(1, 9),
        seed=st.integers(0, 10**6),
        size=st.sampled_from([1e-3, 1.0, 1e3]),
    )
    def test_planted_coefficients_come_back(self, prompts, terms, seed, size):
        x, y, c, b = planted(prompts, terms, seed=seed)
        found = least_squares(size * x, y)
        np.testing.assert_allclose(size * found.coefficients, c, atol=1e-8)
        np.testing.assert_allclose(found.intercept, b, atol=1e-8)
        assert found.r2 == pytest.approx(1, abs=1e-12)

    def test_nearly_collinear_terms_too(self):
        x, y, c, _ = planted(40, 4)
        x[:, 1] = x[:, 0] + 1e-3 * x[:, 1]
        y = np.einsum("t,ptd->pd", c, x)
        found = least_squares(x, y)
        np.testing.assert_allclose(found.coefficients, c, atol=1e-8)
        assert found.condition > 1e3 and found.inflation[0] > 1e5 > 100 > found.inflation[2]

    def test_it_is_least_squares_with_an_intercept_a_dimension(self):
        x, y, _, _ = planted(20, 3, 7, noise=0.5)
        rows = [np.concatenate([x[p].T, np.eye(7)], 1) for p in range(20)]
        expected = np.linalg.lstsq(np.concatenate(rows), y.ravel(), rcond=None)[0]
        found = least_squares(x, y)
        np.testing.assert_allclose(found.coefficients, expected[:3], atol=1e-12)
        np.testing.assert_allclose(found.intercept, expected[3:], atol=1e-12)
        missed = y - np.einsum("t,ptd->pd", found.coefficients, x) - found.intercept
        r2 = 1 - (missed**2).sum() / ((y - y.mean(0)) ** 2).sum()
        assert 0.3 < found.r2 < 0.999 and found.r2 == pytest.approx(r2, abs=1e-12)

    def test_weights_are_repeats(self):
        x, y, _, _ = planted(8, 2, 5, noise=0.5)
        times = np.array([1, 2, 3, 1, 1, 2, 1, 4])
        twice = least_squares(np.repeat(x, times, 0), np.repeat(y, times, 0))
        found = least_squares(x, y, weights=times.astype(float))
        np.testing.assert_allclose(found.coefficients, twice.coefficients, atol=1e-12)
        np.testing.assert_allclose(found.intercept, twice.intercept, atol=1e-12)

    def test_scaled_dimensions_count_alike(self):
        x, y, _, _ = planted(20, 3, 6, noise=0.5)
        y[:, 0] += 100 * np.random.default_rng(1).normal(size=20)
        scale = y.std(0)
        found = least_squares(x, y, scale=scale)
        plain = least_squares(x / scale, y / scale)
        np.testing.assert_allclose(found.coefficients, plain.coefficients, atol=1e-10)
        np.testing.assert_allclose(found.intercept, plain.intercept * scale, atol=1e-9)
        assert abs(found.coefficients - least_squares(x, y).coefficients).max() > 0.1

    def test_a_dimension_without_spread_weighs_nothing(self):
        x, y, _, _ = planted(20, 3, 6, noise=0.5)
        found = least_squares(x, y, scale=np.array([1, 1, 1, 1, 1, np.inf]))
        np.testing.assert_allclose(
            found.coefficients, least_squares(x[..., :5], y[..., :5]).coefficients, atol=1e-12
        )
        assert np.isfinite(found.intercept).all()


class TestRefused:
    def test_rank_deficiency_names_the_terms(self):
        x, y, _, _ = planted(20, 4)
        x[:, 3] = 2 * x[:, 1] - x[:, 2]
        with pytest.raises(FactvizError, match=r"rank deficient: one of b, c, d is a sum"):
            least_squares(x, y, names=list("abcd"))
        x[:, 3] = x[:, 0] + 1e-7 * x[:, 1]  # rounding of float32 activations
        with pytest.raises(FactvizError, match=r"one of a, d is a sum"):
            least_squares(x, y, names=list("abcd"))

    def test_what_never_varies_is_named(self):
        x, y, _, _ = planted(20, 3)
        x[:, 1] = x[0, 1]
        with pytest.raises(FactvizError, match="b is the same in every prompt"):
            least_squares(x, y, names=list("abc"))
        with pytest.raises(FactvizError, match="the output is the same in every prompt"):
            least_squares(planted(20, 3)[0], np.ones_like(y))

    @pytest.mark.parametrize("prompts", [1, 2])
    def test_two_prompts(self, prompts):
        x, y, _, _ = planted(prompts, 2)
        with pytest.raises(FactvizError, match=f"over {prompts} different prompts says nothing"):
            least_squares(x, y)
        again = [0] * 5 + [prompts - 1] * 5  # the same ones repeated are no more
        with pytest.raises(FactvizError, match=f"over {prompts} different prompts"):
            least_squares(x[again], y[again])
        with pytest.raises(FactvizError, match="different prompts"):
            least_squares(*planted(9, 2)[:2], weights=np.array([1.0, 1] + [0] * 7))

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_values_that_are_not_finite(self, bad):
        x, y, _, _ = planted(20, 3)
        x[7, 1, 2] = bad
        with pytest.raises(FactvizError, match=r"prompt 7 are not finite.*float32"):
            least_squares(x, y)


def test_collinear_terms_are_reported_as_pairs_and_groups():
    x, y, _, _ = planted(40, 6)
    assert least_squares(x, y).alike == ()
    x[:, 1] = x[:, 0] + 0.2 * x[:, 1]
    (pair,) = least_squares(x, y, names=list("abcdef")).alike
    assert pair.startswith("a and b (cosine 0.98")
    x[:, 5] = x[:, 2] + x[:, 3] - x[:, 4] + 0.02 * x[:, 5]
    found = least_squares(x, y, names=list("abcdef")).alike
    assert found[0] == pair and len(found) == 2
    assert found[1].startswith("c, d, e, f together (condition index")


class TestFolds:
    @given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("rs")), min_size=8))
    def test_no_fold_shares_a_subject(self, pairs):
        subjects = [*"abcdefgh", *(subject for subject, _ in pairs)]
        relations = [*"rrrrrrrr", *(relation for _, relation in pairs)]
        folds = subject_folds(subjects, relations, 4)
        owners = {subject: set() for subject in subjects}
        for subject, fold in zip(subjects, folds, strict=True):
            owners[subject].add(fold)
        assert all(len(own) == 1 for own in owners.values()) and set(folds) == {0, 1, 2, 3}

    def test_two_folds_are_the_halves(self):
        subjects, relations = [*"abcdefg"], [*"rrrssss"]
        folds = subject_folds(subjects, relations, 2, seed=3)
        halves = subject_halves(subjects, relations, seed=3)
        assert [[i for i, f in enumerate(folds) if f == half] for half in (0, 1)] == [
            list(half) for half in halves
        ]

    @pytest.mark.parametrize("folds", [0, 1, 4])
    def test_more_folds_than_subjects(self, folds):
        with pytest.raises(FactvizError, match=rf"folds={folds} can't be made of 3 subjects"):
            subject_folds([*"aabc"], [*"rrrr"], folds)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_held_out_r2_is_that_of_a_plain_loop(self, weighted):
        x, y, _, _ = planted(24, 3, 10, noise=1.0)
        weights = np.random.default_rng(5).uniform(0.2, 2, 24) if weighted else np.ones(24)
        fold = np.arange(24) % 4
        found = held_out(stack(x, y), fold, weights)
        for number in range(4):
            train, test = fold != number, fold == number
            fit = least_squares(x[train], y[train], weights=weights[train])
            missed = y[test] - np.einsum("t,ptd->pd", fit.coefficients, x[test]) - fit.intercept
            mean = np.average(y[train], 0, weights[train])
            left = (weights[test, None] * missed**2).sum()
            centred = 1 - left / (weights[test, None] * (y[test] - mean) ** 2).sum()
            against_zero = 1 - left / (weights[test, None] * y[test] ** 2).sum()
            assert found.r2[number] == pytest.approx(centred, abs=1e-12)
            assert found.r2_zero[number] == pytest.approx(against_zero, abs=1e-12)

    def test_a_mean_vector_alone_explains_nothing(self):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(60, 4, 20)), 3 + rng.normal(size=(60, 20))
        found = held_out(stack(x, y), np.arange(60) % 4)
        assert found.r2.max() < 0.02 and found.r2_zero.min() > 0.8

    def test_given_coefficients_and_intercepts_are_judged_as_they_are(self):
        x, y, _, _ = planted(24, 3, 10, noise=1.0)
        fold = np.arange(24) % 4
        rng = np.random.default_rng(2)
        c, b = rng.normal(size=(4, 3)), rng.normal(size=(4, 10))
        found = held_out(stack(x, y), fold, coefficients=c, intercepts=b)
        for number in range(4):
            train, test = fold != number, fold == number
            missed = y[test] - np.einsum("t,ptd->pd", c[number], x[test]) - b[number]
            expected = 1 - (missed**2).sum() / ((y[test] - y[train].mean(0)) ** 2).sum()
            assert found.r2[number] == pytest.approx(expected, rel=1e-12)

    def test_a_fold_that_others_need_is_named(self):
        x, y, _, _ = planted(12, 2)
        x[:9, 1] = x[0, 1]  # varies in the last fold only
        with pytest.raises(FactvizError, match="rank deficient without fold 3"):
            held_out(stack(x, y), np.repeat([0, 1, 2, 3], 3))


def test_moments_give_the_fit_and_its_r2_anywhere():
    x, y, _, _ = planted(20, 3, 8, noise=0.5)
    weights = np.random.default_rng(1).uniform(0, 1, (5, 20))
    many = solve(moments(stack(x, y), weights).centred)
    for row, found in zip(weights, many, strict=True):
        fit = least_squares(x, y, weights=row)
        np.testing.assert_allclose(found, fit.coefficients, atol=1e-10)
        table = moments(stack(x, y), row[None]).centred[0]
        assert explained(table, fit.coefficients) == pytest.approx(fit.r2, abs=1e-12)
        assert explained(table, 0.9 * fit.coefficients) < fit.r2
    assert np.isnan(solve(moments(stack(x, y), np.eye(20)[:1]).centred)).all()  # one prompt


def test_permuted_coefficients_stay_with_heads():
    x, y, c, _ = planted(20, 4, 8)
    table = moments(stack(x, y), np.ones((1, 20))).centred[0]
    found = permuted(table, c, 0)
    assert explained(table, c) == pytest.approx(1) and found.max() <= 1 + 1e-9
    same = permuted(table, np.array([1.0, 1, 1, c[3]]), 0)
    np.testing.assert_allclose(same, same[0])


FAST = {"rate": 0.05, "momentum": 0.9}


class TestDescent:
    @pytest.mark.parametrize("steps", [1, 2, 50, 400])
    def test_it_is_what_torch_does(self, steps):
        x, y, _, _ = planted(15, 3, 6, noise=0.3)
        c = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        b = torch.zeros(6, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.SGD([c, b], lr=0.05, momentum=0.9)
        terms, output = torch.from_numpy(x), torch.from_numpy(y)
        for _ in range(steps):
            optimiser.zero_grad()
            ((torch.einsum("t,ptd->pd", c, terms) + b - output) ** 2).mean().backward()
            optimiser.step()
        found = descend(moments(stack(x, y), np.ones((1, 15))), steps=steps, **FAST)
        np.testing.assert_allclose(found.coefficients[0], c.detach().numpy(), atol=1e-12)
        intercept = found.intercept_weights[0] @ stack(x, y).mean(0)
        np.testing.assert_allclose(intercept, b.detach().numpy(), atol=1e-12)

    def test_with_the_papers_settings_it_reaches_the_exact_solution(self):
        x, y, c, b = planted(30, 5, 24)
        found = descend(moments(stack(x, y), np.ones((1, 30))))
        np.testing.assert_allclose(found.coefficients[0], c, atol=1e-8)
        np.testing.assert_allclose(found.intercept_weights[0] @ stack(x, y).mean(0), b, atol=1e-8)
        assert found.excess[0, -1] < 1e-12

    def test_on_an_ill_conditioned_case_it_does_not_and_says_so(self):
        x, y, c, _ = planted(30, 2, 24)
        x[:, 1] = x[:, 0] + 0.01 * x[:, 1]
        y = np.einsum("t,ptd->pd", c, x)
        found = descend(moments(stack(x, y), np.ones((1, 30))), checkpoints=[10, 1000])
        assert abs(found.coefficients[0] - c).max() > 0.01
        first, second, last = found.excess[0]
        assert first > second > last > 1e-9

    def test_the_excess_is_the_r2_that_is_missing(self):
        x, y, _, _ = planted(30, 3, 8, noise=0.5)
        data = moments(stack(x, y), np.ones((1, 30)))
        end = descend(data, steps=40, **FAST)
        mean = stack(x, y).mean(0)
        missed = y - np.einsum("t,ptd->pd", end.coefficients[0], x)
        missed = missed - end.intercept_weights[0] @ mean
        r2 = 1 - (missed**2).sum() / ((y - y.mean(0)) ** 2).sum()
        assert end.excess[0, -1] == pytest.approx(least_squares(x, y).r2 - r2, rel=1e-9)

    def test_a_rate_that_diverges_is_refused_with_one_that_works(self):
        x, y, c, _ = planted(30, 3, 8, spread=30)
        data = moments(stack(x, y), np.ones((1, 30)))
        with pytest.raises(
            FactvizError, match=r"rate=0.005 .* diverges .* below 0\.00\d"
        ) as caught:
            descend(data)
        limit = float(str(caught.value).split("below ")[1].split(";")[0])
        assert np.isnan(descend(data, strict=False).coefficients).all()
        np.testing.assert_allclose(descend(data, rate=0.8 * limit).coefficients[0], c, atol=1e-6)

    @pytest.mark.parametrize("bad", [{"rate": 0}, {"momentum": 1.0}, {"steps": 0}])
    def test_settings_that_make_no_sense(self, bad):
        x, y, _, _ = planted(9, 2, 4)
        with pytest.raises(FactvizError, match="can't be run"):
            descend(moments(stack(x, y), np.ones((1, 9))), **bad)
