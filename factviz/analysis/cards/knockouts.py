"""Where recall breaks: attention edges of END, and updates at the subject, taken out (P3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from factviz.analysis.attention_knockout import knock_out_attention
from factviz.analysis.attributes_rate import attributes_rate
from factviz.analysis.blocking import block_attention
from factviz.analysis.sublayer_knockout import knock_out_sublayers
from factviz.facts.factset import FactSet
from factviz.models.factmodel import FactModel
from factviz.results.attention_knockout import AttentionKnockout
from factviz.results.attributes_rate import AttributesRate
from factviz.results.halves import subject_halves

WINDOWS = (1, 3)
GROUPS = ("subject", "relation")
_CURVE = ("mean", "low", "high", "control")


def measure_directions(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """The curves of both knockouts on a set of facts.

    Parameters
    ----------
    model : FactModel
    facts : FactSet
    seed : int
        Of controls and resamples.

    Returns
    -------
    dict
        facts (how many); attention, sublayers and halves: one entry a curve, with mean, low, high
        and control [layer], percent of the clean probability. halves: the MLPs of the model's early
        and of its late half cancelled at the last subject token, one value each. worst_three: END →
        subject blocked at once in the three layers where that costs most one at a time: layers,
        mean, low, high, control, chosen on one half of the subjects and judged on the other.
    """
    attention = knock_out_attention(model, facts, window=WINDOWS, groups=GROUPS, seed=seed)
    by_window = attention.curves(seed=seed)
    by_kind = knock_out_sublayers(model, facts, seed=seed).curves(seed=seed)
    half = model.n_layers // 2
    wide = knock_out_sublayers(model, facts, window=half, seed=seed).curves(seed=seed)
    mlp = wide.sel(sublayer="mlp")
    return {
        "facts": len(facts),
        "attention": [
            {"window": window, "group": group, **_curve(by_window.sel(window=window, group=group))}
            for window in WINDOWS
            for group in GROUPS
        ],
        "sublayers": [
            {"sublayer": kind, **_curve(by_kind.sel(sublayer=kind))}
            for kind in ("attention", "mlp")
        ],
        "halves": [
            {"layers": [first, first + half - 1], **_curve(mlp.sel(layer=[first]))}
            for first in (0, half)
        ],
        "worst_three": _worst_three(model, facts, attention, seed),
    }


def _worst_three(
    model: FactModel, facts: FactSet, attention: AttentionKnockout, seed: int
) -> dict[str, Any]:
    data = attention.dataset
    subjects, relations = ([str(v) for v in data[name].values] for name in ("subject", "relation"))
    chosen, judged = subject_halves(subjects, relations, seed=seed)
    some = AttentionKnockout(data.isel(fact=list(chosen)), attention.provenance)
    curve = some.curves(seed=seed)["mean"].sel(window=1, group="subject").values
    layers = sorted(int(layer) for layer in np.argsort(curve)[:3])
    facts = FactSet(facts[fact] for fact in judged)
    run = block_attention(
        model, facts, "end", "subject", layers, target="top1", controls=1, seed=seed
    )
    (row,) = run.effects("percent", seed=seed).to_dict("records")
    names = {"mean": "effect", "low": "low", "high": "high", "control": "control"}
    return {"layers": layers, **{key: round(float(row[name]), 2) for key, name in names.items()}}


def measure_enrichment(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """Recall at 50 of a subject's attributes in the state of its last token, layer by layer.

    Returns
    -------
    dict
        facts; top_k; layer; mean, low, high [layer] and shuffled, the same against other subjects'
        attributes; ratio: [mean, low, high] of mean over shuffled in the layer where it is largest:
        chosen on one half of the subjects (best_layer), judged on the other.
    """
    found = attributes_rate(model, facts)
    bands = _last_token(found.bands("recall", seed=seed))
    names = ("mean", "low", "high", "shuffled")
    data = found.dataset
    subjects, relations = ([str(v) for v in data[name].values] for name in ("subject", "relation"))
    chosen, judged = (
        _last_token(AttributesRate(data.isel(fact=list(half)), found.provenance).bands("recall"))
        for half in subject_halves(subjects, relations, seed=seed)
    )
    best = int(np.argmax((chosen["mean"] / chosen["shuffled"]).values))
    edges = np.array([float(judged[name].values[best]) for name in ("mean", "low", "high")])
    return {
        "facts": len(facts),
        "top_k": int(data.attrs["top_k"]),
        "layer": [int(layer) for layer in bands["layer"].values],
        **{name: _rounded(bands[name].values) for name in names},
        "best_layer": int(bands["layer"].values[best]),
        "ratio": _rounded(edges / float(judged["shuffled"].values[best])),
    }


def _last_token(bands: xr.Dataset) -> xr.Dataset:
    return bands.sel(position="subject_last")


def worst(curve: dict[str, Any]) -> int:
    """The layer of the largest loss."""
    return int(np.argmin(curve["mean"]))


def _curve(curves: xr.Dataset) -> dict[str, list[float]]:
    return {name: _rounded(curves[name].values, 2) for name in _CURVE}


def _rounded(values: Any, digits: int = 4) -> list[float]:
    return [round(float(value), digits) for value in values]
