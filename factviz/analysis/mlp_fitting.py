"""MLPs fitted on heads, one by one: coefficients, intervals, held-out folds, shuffled heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from factviz.analysis.descent import descend
from factviz.analysis.intercept_geometry import Targets, layer_cosines
from factviz.analysis.linear_fit import Fit, check, constant, least_squares, shares, stack
from factviz.analysis.mlp_terms import EndStates, Heads
from factviz.analysis.moments import HeldOut, Moments, held_out, moments, solve
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.results.halves import subject_folds
from factviz.results.mlp_decomposition import REST
from factviz.results.resampling import subject_draws

Solver = Literal["exact", "sgd"]
CHECKPOINTS = 60
"""Steps of a descent that are looked at."""


@dataclass(frozen=True)
class Settings:
    """How each layer is fitted."""

    solver: Solver
    heads: Heads
    scaled: bool
    rate: float
    momentum: float
    steps: int

    @property
    def how(self) -> dict[str, Any]:
        """The settings of the descent."""
        return {"rate": self.rate, "momentum": self.momentum, "steps": self.steps}

    @property
    def checkpoints(self) -> list[int]:
        """Steps at which the descent is looked at."""
        return sorted({max(1, self.steps * i // CHECKPOINTS) for i in range(1, CHECKPOINTS + 1)})


@dataclass(frozen=True)
class Sampling:
    """What is drawn over facts, the same for every layer."""

    weights: Float[np.ndarray, " fact"]
    fold: Int[np.ndarray, " fact"]
    boot: Float[np.ndarray, "draw fact"]
    shuffles: Int[np.ndarray, "control fact"]


def sample(facts: Sequence[Fact], *, folds: int, n_boot: int, controls: int, seed: int) -> Sampling:
    """Draw folds, resamples of subjects and shuffles within relations.

    Raises
    ------
    FactvizError
        If there are fewer subjects than folds.
    """
    subjects = [fact.subject for fact in facts]
    relations = np.array([fact.relation for fact in facts])
    fold = np.array(subject_folds(subjects, relations.tolist(), folds, seed=seed))
    _, owner, count = np.unique(relations, return_inverse=True, return_counts=True)
    weights = shares(len(facts), 1 / count[owner])
    rng = np.random.default_rng(seed)
    drawn = subject_draws(subjects, n_boot, rng)
    shuffles = np.tile(np.arange(len(facts)), (controls, 1))
    for row in shuffles:
        for number in range(len(count)):
            own = np.flatnonzero(owner == number)
            row[own] = rng.permutation(own)
    return Sampling(weights, fold, drawn * weights, shuffles)


@dataclass(frozen=True)
class Fitter:
    """Fits layers; what should be said of one is added to ``notes``."""

    states: EndStates
    settings: Settings
    sampling: Sampling
    targets: Targets
    notes: list[str]

    def fit(self, layer: int) -> dict[str, Any]:
        """Fit one layer.

        Raises
        ------
        FactvizError
            If the fit is not determined.
        """
        source = layer if self.settings.heads == "own" else layer - 1
        if source < 0:
            raise FactvizError("no layer lies before it, whose heads its MLP could read")
        written, rest, output = self.states.terms(layer, self.settings.heads)
        terms = np.concatenate([written, rest[:, None]], 1)
        check(stack(terms, output))
        without = _still(rest, self.sampling.weights)
        if without:
            self._say(
                layer,
                "what the MLP reads beside the heads is the same in every prompt, so that c_r is "
                "not determined (g is)",
            )
            terms = terms[:, :-1]
        names = [f"L{source}H{head}" for head in range(written.shape[1])]
        made = self._fitted(layer, terms, output, names)
        if without:
            made = {name: _with_gap(name, value) for name, value in made.items()}
        cosine, random = self._cosines(layer, made["intercept"], output)
        return made | {"source": source, "cosine": cosine, "random": random}

    def _say(self, layer: int, what: str) -> None:
        self.notes.append(f"layer {layer}: {what}")

    def _fitted(
        self,
        layer: int,
        terms: Float[np.ndarray, "fact term d"],
        output: Float[np.ndarray, "fact d"],
        heads: list[str],
    ) -> dict[str, Any]:
        """The exact fit, the chosen solver's, and what both are judged by."""
        sampling = self.sampling
        scale = _spread(output, sampling.weights) if self.settings.scaled else None
        names = [*heads, REST][: terms.shape[1]]
        fit = least_squares(terms, output, names=names, weights=sampling.weights, scale=scale)
        for some in fit.alike:
            self._say(layer, f"nearly collinear: {some}")
        stacked = stack(terms, output)
        scaled = stacked if scale is None else stacked / scale
        data = moments(scaled, sampling.weights[None])
        made: dict[str, Any] = {
            "exact": fit.coefficients,
            "moments": data.centred[0],
            "condition": fit.condition,
            "r2_fit": fit.r2,
            "inflation": fit.inflation,
        }
        if self.settings.solver == "exact":
            made |= self._exact(fit, scaled)
        else:
            made |= self._descended(data, scaled, stacked)
        made["low"], made["high"] = np.nanquantile(made["draws"], [0.025, 0.975], axis=0)
        return made | _controls(scaled, sampling, len(heads))

    def _exact(self, fit: Fit, scaled: Float[np.ndarray, "fact variable d"]) -> dict[str, Any]:
        sampling = self.sampling
        judged = held_out(scaled, sampling.fold, sampling.weights)
        return {
            "coefficients": fit.coefficients,
            "intercept": fit.intercept,
            "draws": solve(moments(scaled, sampling.boot).centred),
            "r2": judged.r2,
            "r2_zero": judged.r2_zero,
        }

    def _descended(
        self,
        data: Moments,
        scaled: Float[np.ndarray, "fact variable d"],
        stacked: Float[np.ndarray, "fact variable d"],
    ) -> dict[str, Any]:
        sampling, how = self.sampling, self.settings.how
        end = descend(data, checkpoints=self.settings.checkpoints, **how)
        judged = _held_out_descent(scaled, sampling, how)
        mean = np.einsum("p,pvd->vd", sampling.weights, stacked)
        return {
            "coefficients": end.coefficients[0],
            "intercept": end.intercept_weights[0] @ mean,
            "excess": end.excess[0],
            "draws": descend(moments(scaled, sampling.boot), strict=False, **how).coefficients,
            "r2": judged.r2,
            "r2_zero": judged.r2_zero,
        }

    def _cosines(
        self, layer: int, intercept: Float[np.ndarray, " d"], output: Float[np.ndarray, "fact d"]
    ) -> tuple[np.ndarray, np.ndarray]:
        states = self.states
        vectors = {
            "m": output,
            "r_mid": None if states.parallel else states.mid(layer).cpu().numpy(),
            "r_post": states.after(layer).cpu().numpy(),
        }
        return layer_cosines(self.targets, intercept, vectors)


def _still(rest: Float[np.ndarray, "fact d"], weights: Float[np.ndarray, " fact"]) -> bool:
    mean: Any = weights @ rest
    inner = (rest - mean) * np.sqrt(weights).reshape(-1, 1)
    return bool(constant(np.array([np.linalg.norm(inner)]), rest[:, None], weights)[0])


def _spread(
    output: Float[np.ndarray, "fact d"], weights: Float[np.ndarray, " fact"]
) -> Float[np.ndarray, " d"]:
    """The output's spread per dimension; a dimension without any weighs nothing."""
    mean: Any = weights @ output
    spread: Any = np.sqrt(weights @ (output - mean) ** 2)
    return np.where(spread > 0, spread, np.inf)


_TERMS = ("coefficients", "exact", "low", "high", "inflation", "control_low", "control_high")


def _with_gap(name: str, value: Any) -> Any:
    """The same with NaN (0 in moments) where the constant term is."""
    if name in _TERMS:
        return np.append(value, np.nan)
    if name == "draws":
        return np.concatenate([value, np.full((len(value), 1), np.nan)], 1)
    if name == "moments":
        return np.insert(np.insert(value, -1, 0, axis=0), -1, 0, axis=1)
    return value


def _held_out_descent(
    scaled: Float[np.ndarray, "fact variable d"], sampling: Sampling, how: dict[str, Any]
) -> HeldOut:
    folds = int(sampling.fold.max()) + 1
    others = np.stack([sampling.weights * (sampling.fold != number) for number in range(folds)])
    end = descend(moments(scaled, others), **how)
    share = others / others.sum(1, keepdims=True)
    means = np.einsum("fp,pvd->fvd", share, scaled)
    return held_out(
        scaled,
        sampling.fold,
        sampling.weights,
        coefficients=end.coefficients,
        intercepts=np.einsum("fv,fvd->fd", end.intercept_weights, means),
    )


def _controls(
    scaled: Float[np.ndarray, "fact variable d"], sampling: Sampling, heads: int
) -> dict[str, np.ndarray]:
    """The same exact fit with the heads' outputs of other prompts."""
    nothing = np.full((1, scaled.shape[1] - 1), np.nan)
    r2, found = [np.nan], nothing
    if len(sampling.shuffles):
        others = (_shuffled(scaled, order, heads) for order in sampling.shuffles)
        rows = [_one_control(other, sampling) for other in others]
        r2, found = [row[0] for row in rows], np.stack([row[1] for row in rows])
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    return {"control_low": low, "control_high": high, "control_r2": np.array(r2)}


def _shuffled(
    scaled: Float[np.ndarray, "fact variable d"], order: Int[np.ndarray, " fact"], heads: int
) -> Float[np.ndarray, "fact variable d"]:
    return np.concatenate([scaled[order, :heads], scaled[:, heads:]], 1)


def _one_control(
    other: Float[np.ndarray, "fact variable d"], sampling: Sampling
) -> tuple[float, Float[np.ndarray, " term"]]:
    judged = held_out(other, sampling.fold, sampling.weights)
    return float(judged.r2.mean()), solve(moments(other, sampling.weights[None]).centred)[0]
