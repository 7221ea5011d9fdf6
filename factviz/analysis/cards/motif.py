"""What the parts of an embedded model write and carry: the additive motif (P1), and two routes."""

from __future__ import annotations

from typing import Any

from factviz.analysis.head_classes import classify_heads
from factviz.facts.factset import FactSet
from factviz.models.factmodel import FactModel
from factviz.results.head_classes import HeadClasses

CLASSES = ("subject", "relation", "mixed", "suppressing")


def measure_heads(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """Which heads lift what, and the class of each; only what holds on both halves.

    Returns
    -------
    dict
        facts; subject: heads ("L3H4") that lift S over O from subject tokens, their interval above
        0 on each of two halves that share no subject; relation: the same for R from relation
        tokens; "class subject" and so on: heads of that class on both halves.
    """
    classes = classify_heads(model, facts, seed=seed)
    halves = classes.halves()
    lifting = {
        part: [_lifting(half, f"{part}_lift_low") for half in halves]
        for part in ("subject", "relation")
    }
    of_class = {
        f"class {name}": [{_name(*at) for at in half.heads(name)} for half in halves]
        for name in CLASSES
    }
    both = {key: sorted(first & second) for key, (first, second) in (lifting | of_class).items()}
    return {"facts": classes.dataset.sizes["fact"], **both}


def _lifting(half: HeadClasses, low: str) -> set[str]:
    above = half.bands().sel(relation="all")[low].values > 0
    return {_name(int(layer), int(head)) for layer, head in zip(*above.nonzero(), strict=True)}


def _name(layer: int, head: int) -> str:
    return f"L{layer}H{head}"
