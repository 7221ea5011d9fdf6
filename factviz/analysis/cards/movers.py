"""What a model shows of P2: heads that read the topic, and what holds the answer back."""

from __future__ import annotations

from typing import Any

import xarray as xr

from factviz.analysis.movers import find_movers
from factviz.analysis.suppressors import find_suppressors
from factviz.facts.factset import FactSet
from factviz.models.factmodel import FactModel

MOST = 5


def measure_topic_heads(model: FactModel, facts: FactSet, *, seed: int = 0) -> list[dict[str, Any]]:
    """The heads with the most attention from END to the topic, and what they write of it.

    Returns
    -------
    list of dict
        layer, head; attention: [mean, low, high] of END's attention to the topic's tokens, a
        fraction; answer: the same of the head's contribution to the answer from there, logits; r:
        of Pearson's r of attention with the write of the topic; copying: share of topic tokens
        that it gives back; mover: whether it is one by `find_movers`.
    """
    found = find_movers(model, facts, seed=seed)
    frame: Any = found.to_frame()
    best = frame.sort_values("attention", ascending=False, kind="stable").head(MOST)
    return [
        {
            "layer": int(row["layer"]),
            "head": int(row["head"]),
            "attention": _band(row, "attention"),
            "answer": _band(row, "answer_dla"),
            "r": _band(row, "r_topic"),
            "copying": round(float(row["copying_read"]), 4),
            "mover": bool(row["mover"]),
        }
        for row in best.to_dict("records")
    ]


def _band(row: dict[str, Any], name: str) -> list[float]:
    return [round(float(row[name + edge]), 4) for edge in ("", "_low", "_high")]


def measure_final_parts(model: FactModel, facts: FactSet, *, seed: int = 0) -> list[dict[str, Any]]:
    """What each part of the last layer does to the answer less the mean of R.

    Returns
    -------
    list of dict
        part ("L5H3" or "mlp 5"); effect: [mean, low, high], direct, logits, most negative first;
        negative: whether the interval lies below 0; ablation: the change under mean ablation, in
        the model's own logits; correlation: of the effect with P(answer); suppressor: whether it
        is one by `find_suppressors`.
    """
    found = find_suppressors(model, facts, seed=seed)
    kinds, heads = found.dataset["kind"].values, found.dataset["head"].values
    layers = found.dataset["layer"].values
    effect, ablation, correlation = (
        found.of(name) for name in ("effect", "ablation", "correlation")
    )
    suppressors = set(found.components)
    rows: list[dict[str, Any]] = []
    for place, name in enumerate(found.dataset["part"].values):
        own = _of(effect, place)
        head = kinds[place] == "head"
        rows.append(
            {
                "part": f"L{layers[place]}H{heads[place]}" if head else f"mlp {layers[place]}",
                "effect": own,
                "negative": own[2] < 0,
                "ablation": _of(ablation, place),
                "correlation": _of(correlation, place),
                "suppressor": str(name) in suppressors,
            }
        )
    return sorted(rows, key=lambda row: row["effect"][0])


def _of(bands: xr.Dataset, place: int) -> list[float]:
    return [round(float(bands[edge].values[place]), 4) for edge in ("mean", "low", "high")]
