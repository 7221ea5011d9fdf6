"""What the parts of an embedded model write and carry: the additive motif (P1), and two routes."""

from __future__ import annotations

from typing import Any

import numpy as np

from factviz.analysis.head_classes import classify_heads
from factviz.facts.factset import FactSet
from factviz.models.factmodel import FactModel
from factviz.results.head_classes import HeadClasses
from factviz.results.resampling import subject_bands

CLASSES = ("subject", "relation", "mixed", "suppressing")
_BLOCKED = 200
"""Facts on which RELATION→SUBJECT is blocked."""


def measure_heads(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """Which heads lift what, and the class of each; only what holds on both halves.

    Returns
    -------
    dict
        facts; subject: heads ("L3H4") that lift S over O from subject tokens, their interval above
        0 on each of two halves that share no subject; relation: the same for R from relation
        tokens; "class subject" and so on: heads of that class on both halves; mixed: what the mixed
        heads of the first half write in the second, see `_mixed`.
    """
    classes = classify_heads(model, facts, seed=seed, n_blocked=_BLOCKED)
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
    return {"facts": classes.dataset.sizes["fact"], **both, "mixed": _mixed(*halves, seed)}


def _mixed(chosen: HeadClasses, judged: HeadClasses, seed: int) -> dict[str, Any] | None:
    """What the mixed heads write together from relation tokens towards a − mean R, in logits.

    Clean, with RELATION→SUBJECT blocked and with as many random keys blocked, each [mean, low,
    high]; left: what is left of the clean one, a share. None where no head is mixed.
    """
    heads = chosen.heads("mixed")
    if not heads:
        return None
    data = judged.dataset
    names = ("preference", "preference_blocked", "preference_random")
    sums = np.stack(
        [sum(data[name].values[:, layer, head] for layer, head in heads) for name in names], 1
    )
    tested = ~np.isnan(sums).any(1)
    subjects, relations = (
        [str(value) for value in data[name].values[tested]] for name in ("subject", "relation_name")
    )
    bands = np.stack(subject_bands(sums[tested], subjects, relations, seed=seed))
    clean, blocked, random = ([round(float(v), 4) for v in bands[:, i]] for i in range(3))
    return {
        "heads": [_name(*at) for at in heads],
        "facts": int(tested.sum()),
        "clean": clean,
        "blocked": blocked,
        "random": random,
        "left": round(blocked[0] / clean[0], 4),
    }


def _lifting(half: HeadClasses, low: str) -> set[str]:
    above = half.bands().sel(relation="all")[low].values > 0
    return {_name(int(layer), int(head)) for layer, head in zip(*above.nonzero(), strict=True)}


def _name(layer: int, head: int) -> str:
    return f"L{layer}H{head}"
