"""What a model shows of P2: heads that read the topic, and what holds the answer back."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.analysis.attribution import attribute_logits
from factviz.analysis.cards.recall import band
from factviz.models.traced import Trace

MOST = 5


def measure_topic_heads(traced: Trace, *, seed: int = 0) -> list[dict[str, Any]]:
    """The heads with the most attention from END to the subject, and what they write of it.

    Returns
    -------
    list of dict
        layer, head; attention: [mean, low, high] of END's attention to the subject's tokens, a
        fraction; answer: the same of the head's contribution to the answer from there, logits.
    """
    groups = np.zeros(traced.pattern.shape[:1] + traced.pattern.shape[-1:])
    for fact, named in enumerate(traced.groups):
        groups[fact, list(named["subject"])] = 1
    mass = np.einsum("flhs,fs->flh", traced.pattern.double().cpu().numpy(), groups)
    written = attribute_logits(traced).by_group().isel(attribute=0).sel(group="subject")
    order = np.argsort(-mass.mean(0), axis=None)[:MOST]
    return [
        {
            "layer": int(layer),
            "head": int(head),
            "attention": band(traced.facts, mass[:, layer, head], seed=seed),
            "answer": band(traced.facts, written.values[:, layer, head], seed=seed),
        }
        for layer, head in (divmod(int(i), mass.shape[-1]) for i in order)
    ]


def measure_final_parts(traced: Trace, *, seed: int = 0) -> list[dict[str, Any]]:
    """What each part of the last layer writes towards the answer less the mean of R.

    Returns
    -------
    list of dict
        part ("L5H3" or "mlp 5"); effect: [mean, low, high], logits, most negative first; negative:
        whether the interval lies below 0.
    """
    contrast = attribute_logits(traced).contrast("same_relation").dataset.isel(attribute=0)
    last = contrast.isel(layer=-1)
    layer, heads = int(last["layer"]), last["heads"].sum("source").values
    written = {f"L{layer}H{head}": heads[:, head] for head in range(heads.shape[1])}
    written[f"mlp {layer}"] = last["mlps"].values
    effects = {part: band(traced.facts, values, seed=seed) for part, values in written.items()}
    return [
        {"part": part, "effect": effect, "negative": effect[2] < 0}
        for part, effect in sorted(effects.items(), key=lambda item: item[1][0])
    ]
