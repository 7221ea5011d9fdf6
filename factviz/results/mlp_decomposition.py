"""`MLPDecomposition`: MLPs as linear maps of heads, and where their intercepts point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results.base import Result
from factviz.results.comparison import correlation, rank_correlation
from factviz.results.factwise import FACT_COORDS, Dims, check
from factviz.results.mlp_transfer import explained, permuted
from factviz.results.resampling import subject_bands
from factviz.results.shown import number, token_text

REST = "rest"
"""The name of the term that is not a head: what the MLP reads without these heads."""
VECTORS = ("b", "m", "r_mid", "r_post")
DIRECTIONS = ("X", "Y", "Y − X", "shuffled Y − X", "answer type")
OVER, RANDOM = "Y − X over shuffled", "random"
LEAST = 0.01
"""Held-out R² below which a layer's coefficients get no words, however sharp they are."""
SHOWN = ("coefficients", "intercept")

_TERM = ("layer", "term")


def word(low: float, high: float, value: float) -> str:
    """What an MLP does to a head, from g and its interval; "unclear" where that holds 0.

    Below 0, "weakens" where more than half of the head is left, "erases" where less is, "reverses"
    where more than half is left with the other sign.
    """
    if not (low > 0 or high < 0):
        return "unclear"
    if low > 0:
        return "amplifies"
    if value > -0.5:
        return "weakens"
    return "erases" if value >= -1.5 else "reverses"


class MLPDecomposition(Result):
    """m_l ≈ Σ_h c_h · a_h + c_r · r + b at END, over a set of prompts.

    Variables: coefficient [layer, term], of a head its invariant g_h = c_h + c_r, of the last term
    ("rest") c_r; low and high, 95 %, subjects resampled; exact, the least-squares solution, the
    same unless ``solver="sgd"``; control_low and control_high, 95 % of fits with shuffled heads;
    r2 and r2_zero [layer, fold], held out, against the other folds' mean output and against zero;
    control_r2 [layer, shuffle]; r2_fit (in-sample, exact) and condition [layer]; inflation [layer,
    term]; intercept [layer, dim]; cosine [fact, layer, vector, direction]; top [layer, rank];
    moments and draws, which `transfer` uses; excess [layer, checkpoint] of a descent, the share of
    the output's spread that it has not yet fitted.
    """

    kind: ClassVar[str] = "MLPDecomposition"
    variables: ClassVar[Dims] = {
        **dict.fromkeys(
            ("coefficient", "low", "high", "exact", "control_low", "control_high", "inflation"),
            _TERM,
        ),
        "r2": ("layer", "fold"),
        "r2_zero": ("layer", "fold"),
        "r2_fit": ("layer",),
        "condition": ("layer",),
        "control_r2": ("layer", "shuffle"),
        "draws": ("layer", "draw", "term"),
        "moments": ("layer", "variable", "other_variable"),
        "intercept": ("layer", "dim"),
        "fold_of": ("fact",),
        "cosine": ("fact", "layer", "vector", "direction"),
        "random_cosine": ("layer", "vector", "random"),
        "top": ("layer", "rank"),
    }
    coords: ClassVar[Dims] = {
        **FACT_COORDS,
        "relation": ("fact",),
        "topic_token": ("fact",),
        "answer_token": ("fact",),
        "layer": ("layer",),
        "source": ("layer",),
        "term": ("term",),
        "vector": ("vector",),
        "direction": ("direction",),
        "top_token": ("layer", "rank"),
    }

    def __init__(self, dataset: xr.Dataset, provenance: Mapping[str, Any]) -> None:
        check(dataset, "decomposition of MLPs", self.variables, self.coords)
        super().__init__(dataset, provenance)

    @property
    def solver(self) -> str:
        """How it was fitted: "exact" or "sgd"."""
        return str(self.dataset.attrs.get("solver", "exact"))

    @property
    def g(self) -> xr.DataArray:
        """g_h = c_h + c_r [layer, head]: 1 + g of the head is left behind the MLP."""
        return self.dataset["coefficient"].isel(term=slice(None, -1)).rename(term="head")

    @property
    def c_r(self) -> xr.DataArray:
        """The coefficient of the rest of the stream [layer]; NaN where that never varies."""
        return self.dataset["coefficient"].isel(term=-1, drop=True)

    @property
    def r2(self) -> xr.DataArray:
        """Held-out centred R² [layer], mean over folds."""
        return self.dataset["r2"].mean("fold")

    @property
    def fits(self) -> xr.DataArray:
        """Whether a layer's fit says anything [layer]: R² above .01 and 97.5 % of controls."""
        shuffled = self.dataset["control_r2"]
        if shuffled.isnull().all():  # none was drawn
            return self.r2 > LEAST
        bar = shuffled.quantile(0.975, "shuffle").drop_vars("quantile")
        return (self.r2 > LEAST) & (self.r2 > bar.fillna(LEAST))

    @property
    def words(self) -> xr.DataArray:
        """What each MLP does to each head [layer, head].

        "amplifies", "weakens", "erases", "reverses", or "unclear": where the interval of g holds 0,
        and in layers whose fit says nothing (`fits`).
        """
        data, values, fits = self.dataset, self.g, self.fits.values
        three = (data["low"].values, data["high"].values, values.values)
        found = np.full(values.shape, "unclear", dtype=object)
        for at in np.ndindex(*values.shape):
            if fits[at[0]]:
                found[at] = word(*(float(array[at]) for array in three))
        return xr.DataArray(found, dims=values.dims, coords=values.coords)

    @property
    def gap(self) -> xr.DataArray:
        """The largest |coefficient − exact solution| [layer]; 0 for the exact solver."""
        apart: Any = self.dataset["coefficient"] - self.dataset["exact"]
        return abs(apart).max("term")

    def layer_index(self, layer: int) -> int:
        """Where a layer stands.

        Raises
        ------
        FactvizError
            If it was not fitted.
        """
        there = self.dataset["layer"].values.tolist()
        if layer not in there:
            raise FactvizError(f"layer {layer} was not fitted: there are {there}")
        return there.index(layer)

    def view(self, *, show: str = "coefficients", layer: int | None = None) -> Self:
        """The same result, drawn differently.

        Parameters
        ----------
        show
            "coefficients", or "intercept" for where b points.
        layer
            One layer alone.

        Raises
        ------
        FactvizError
            If there is no such view or layer.
        """
        if show not in SHOWN:
            raise FactvizError(f"view {show!r} is unknown: {' or '.join(map(repr, SHOWN))}")
        if layer is not None:
            self.layer_index(layer)
        return self._with_view(show=show, **({} if layer is None else {"layer": layer}))

    def geometry(self, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
        """Cosines of b, m, r_mid and r_post with the directions of X and Y, beside controls.

        Directions are γ ⊙ centred W_U (what the final norm and the unembedding read); the mean is
        taken out of vectors where that norm takes it out. b is one vector for all prompts: compare
        its row "Y − X" with "shuffled Y − X" (answers of other topics, of the same relation where
        there are any) and with "answer type" (the mean over R).

        Returns
        -------
        DataFrame
            layer, vector, direction, cosine (mean over facts, relations alike), low, high (95 %,
            subjects resampled with b held; of "random" 95 % of random directions). "Y − X over
            shuffled" is the difference of the two, fact by fact. NaN where a vector does not exist
            (r_mid in parallel blocks).
        """
        data = self.dataset
        cosine = data["cosine"].values
        own, shuffled = (DIRECTIONS.index(name) for name in ("Y − X", "shuffled Y − X"))
        over = cosine[..., own : own + 1] - cosine[..., shuffled : shuffled + 1]
        three = subject_bands(
            np.concatenate([cosine, over], -1),
            [str(name) for name in data["subject"].values],
            [str(name) for name in data["relation"].values],
            n_boot=n_boot,
            seed=seed,
        )
        random = data["random_cosine"].values
        bars = [random.mean(-1), *np.quantile(random, [0.025, 0.975], axis=-1)]
        table = [np.concatenate([one, bar[..., None]], -1)
                 for one, bar in zip(three, bars, strict=True)]  # fmt: skip
        names = [*map(str, data["direction"].values), OVER, RANDOM]
        layer, vector, direction = np.indices(table[0].shape).reshape(3, -1)
        return pd.DataFrame(
            {
                "layer": data["layer"].values[layer],
                "vector": data["vector"].values[vector],
                "direction": np.array(names, dtype=object)[direction],
                **dict(zip(("cosine", "low", "high"), (t.ravel() for t in table), strict=True)),
            }
        )

    def transfer(self, other: MLPDecomposition, *, seed: int = 0) -> pd.DataFrame:
        """Coefficients of this fit on the prompts of another: another relation, other shots.

        Between different weights (another model, a checkpoint) heads are matched by number, and
        only g is correlated.

        Returns
        -------
        DataFrame
            layer; r2, low, high (centred R² there, with that set's own intercept; 95 %, this set's
            subjects resampled), own (R² of the other's own exact fit: none is higher), held_out
            (its held-out R²), control and control_high (mean and 97.5 % of these coefficients dealt
            out anew among heads), pearson and spearman (of g over heads), intercepts (cosine of the
            two b). NaN where weights differ, but for pearson and spearman.

        Raises
        ------
        FactvizError
            If the other is no such result, has other heads, or no layer in common.
        """
        self._check_other(other)
        same = self._same_model(other)
        layers = [n for n in self.dataset["layer"].values if n in other.dataset["layer"].values]
        rows = [
            {"layer": int(layer), **self._transferred(other, int(layer), same, seed)}
            for layer in layers
        ]
        return pd.DataFrame(rows)

    def _same_model(self, other: MLPDecomposition) -> bool:
        return self.provenance.get("weight_hash") == other.provenance.get("weight_hash")

    def _check_other(self, other: Any) -> None:
        if not isinstance(other, MLPDecomposition):
            raise FactvizError(
                f"coefficients transfer to another MLPDecomposition, not to {type(other).__name__}"
            )
        for name, what in (("heads", "heads="), ("scaled", "scale_dimensions=")):
            mine, theirs = (one.dataset.attrs.get(name) for one in (self, other))
            if mine != theirs:
                raise FactvizError(f"{what}{mine!r} here and {theirs!r} there: fit both alike")
        sizes = self.dataset.sizes["term"] - 1, other.dataset.sizes["term"] - 1
        if sizes[0] != sizes[1]:
            raise FactvizError(
                f"{sizes[0]} heads here and {sizes[1]} there: nothing tells which head of one model"
                " is which of the other"
            )
        if not set(self.dataset["layer"].values) & set(other.dataset["layer"].values):
            raise FactvizError("the two results have no layer in common")

    def _transferred(
        self, other: MLPDecomposition, layer: int, same: bool, seed: int
    ) -> dict[str, float]:
        mine = self.dataset.isel(layer=self.layer_index(layer))
        theirs = other.dataset.isel(layer=other.layer_index(layer))
        first, second = (one["coefficient"].values[:-1] for one in (mine, theirs))
        found = {"pearson": correlation(first, second),
                 "spearman": rank_correlation(first, second)}  # fmt: skip
        names = ("r2", "low", "high", "own", "held_out", "control", "control_high", "intercepts")
        if not same:
            return {**dict.fromkeys(names, np.nan), **found}
        table = theirs["moments"].values
        own = np.nan_to_num(mine["coefficient"].values)
        draws = explained(table, np.nan_to_num(mine["draws"].values))
        others = permuted(table, own, seed)
        one, two = mine["intercept"].values, theirs["intercept"].values
        values = (
            float(explained(table, own)),
            *np.quantile(draws, [0.025, 0.975]),
            float(theirs["r2_fit"]),
            float(theirs["r2"].mean()),
            float(others.mean()),
            float(np.quantile(others, 0.975)),
            float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two))),
        )
        return {**dict(zip(names, map(float, values), strict=True)), **found}

    def to_frame(self) -> pd.DataFrame:
        """One row for each layer and term.

        Returns
        -------
        DataFrame
            layer, term ("L3H1", or "rest": what the MLP reads without these heads), g (of "rest":
            c_r), low, high, r2 (of the layer: held out, centred, mean over folds), left (1 + g), c
            (c_h = g − c_r, as if r were taken behind the heads; NaN where c_r is), word,
            control_low, control_high, r2_control (shuffled heads, mean), r2_zero (against zero),
            condition, inflation, exact, gap (g − exact).
        """
        data = self.dataset
        layer, term = np.indices(data["coefficient"].shape).reshape(2, -1)
        rest = term == data.sizes["term"] - 1
        measures = [name for name, dims in self.variables.items() if dims == _TERM]
        flat = {name: data[name].values[layer, term] for name in measures}
        of_rest = data["coefficient"].values[layer, -1]
        words = np.concatenate([self.words.values, np.full((data.sizes["layer"], 1), "")], 1)
        names = [
            REST if last else f"L{data['source'].values[i]}{data['term'].values[j]}"
            for i, j, last in zip(layer, term, rest, strict=True)
        ]
        return pd.DataFrame(
            {
                "layer": data["layer"].values[layer],
                "term": np.array(names, dtype=object),
                "g": flat["coefficient"],
                "low": flat["low"],
                "high": flat["high"],
                "r2": self.r2.values[layer],
                "left": np.where(rest, np.nan, 1 + flat["coefficient"]),
                "c": np.where(rest, of_rest, flat["coefficient"] - of_rest),
                "word": words[layer, term],
                "control_low": flat["control_low"],
                "control_high": flat["control_high"],
                "r2_control": data["control_r2"].mean("shuffle").values[layer],
                "r2_zero": data["r2_zero"].mean("fold").values[layer],
                "condition": data["condition"].values[layer],
                "inflation": flat["inflation"],
                "exact": flat["exact"],
                "gap": flat["coefficient"] - flat["exact"],
            }
        )

    def said_of(self, layer: int) -> str:
        """One line on how well a layer fits, and how far a descent got."""
        one = self.dataset.isel(layer=self.layer_index(layer))
        shuffled = float(one["control_r2"].mean())
        parts = [
            f"R² {number(float(one['r2'].mean()))} held out (folds "
            + " ".join(number(float(value)) for value in one["r2"].values[:8]) + ")",
            "" if np.isnan(shuffled) else f"heads shuffled {number(shuffled)}",
            f"against zero {number(float(one['r2_zero'].mean()))}",
            f"condition {number(float(one['condition']), 1)}",
        ]  # fmt: skip
        if "excess" in one:
            gap = float(self.gap.values[self.layer_index(layer)])
            missing = max(float(one["excess"][-1]), 1e-16)
            parts.append(
                f"SGD off the exact solution by up to {gap:.1e} in a coefficient, {missing:.1e} in "
                "R²"
            )
        return "; ".join(part for part in parts if part)

    def _summary(self) -> list[str]:
        data = self.dataset
        frame: Any = self.to_frame()
        heads = frame[frame["term"] != REST]
        clear = heads[heads["word"] != "unclear"]
        best = (clear["g"].abs()).sort_values(ascending=False, kind="stable").index[:5]
        told = [
            f"{row.term} {row.word} ({number(row.g, sign=True)} [{number(row.low)}, "
            f"{number(row.high)}], m{row.layer})"
            for row in heads.loc[best].itertuples()
        ]
        layers = data["layer"].values.tolist()
        order = np.argsort(-self.r2.values, kind="stable")[:5]
        tops = [token_text(str(t), 20) for t in data["top_token"].values[order[0], :5]]
        return [
            f"MLPs as linear maps of heads ({self.provenance.get('solver', self.solver)}): "
            f"{len(layers)} layers, {data.sizes['fact']} prompts, "
            f"{self.provenance.get('model', 'unknown model')}",
            *(f"L{layers[i]}: {self.said_of(layers[i])}" for i in order),
            "largest g: " + ", ".join(told)
            if told
            else "no head is amplified or erased beyond doubt (none found)",
            f"b of layer {layers[order[0]]} points to " + " ".join(tops),
            str(self.provenance.get("projection", "projection not stated")),
        ]
