"""What the parts of an embedded model write and carry: the additive motif (P1), and two routes."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from factviz.analysis.double_knockout import knock_out_paths
from factviz.analysis.head_classes import classify_heads
from factviz.analysis.summing_up import sum_up
from factviz.facts.factset import FactSet
from factviz.models.factmodel import FactModel
from factviz.results.head_classes import HeadClasses
from factviz.results.resampling import subject_bands

CLASSES = ("subject", "relation", "mixed", "suppressing")
PARTS = {
    "subject": "heads from subject tokens",
    "relation": "heads from relation tokens",
    "mlps": "MLPs",
}
_BLOCKED = 200
"""Facts on which RELATION→SUBJECT is blocked."""


def measure_parts(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """What heads from subject tokens, heads from relation tokens and MLPs say, each alone.

    Returns
    -------
    dict
        facts; subject, relation and mlps: right (the answer is the part's top-1) and inside (its
        top-1 lies in S ∪ a, or R ∪ a), each [mean, low, high]; all: right, of the sum of the parts.
    """
    data = sum_up(model, facts, by="source", seed=seed).dataset
    subjects, relations = ([str(v) for v in data[name].values] for name in ("subject", "relation"))

    def share(values: Float[np.ndarray, " fact"]) -> list[float]:
        found = subject_bands(values.astype(np.float64), subjects, relations, seed=seed)
        return [round(float(value), 4) for value in found]

    alone = data["rank"].sel(fact_role="answer") == 1
    found: dict[str, Any] = {"facts": data.sizes["fact"]}
    for name, part in PARTS.items():
        found[name] = {
            "right": share(alone.sel(part=part).values),
            "inside": share(data["in_own_set"].sel(part=part).values),
        }
    return found | {"all": {"right": share(data["running_rank"].isel(part=-1).values == 1)}}


def measure_routes(model: FactModel, facts: FactSet, *, seed: int = 0) -> dict[str, Any]:
    """P(answer) with END → subject, relation → subject or both blocked in all layers.

    Returns
    -------
    dict
        facts; clean, and paths by name: [mean, low, high], probabilities; controls: the same by
        name with as many random keys blocked.
    """
    table: Any = knock_out_paths(model, facts, controls=1, seed=seed).outcomes(seed=seed)
    found: dict[str, Any] = {"facts": int(table["facts"].max()), "paths": {}, "controls": {}}
    for row in table.to_dict("records"):
        edges = (row["probability"], row["probability_low"], row["probability_high"])
        band = [round(float(value), 4) for value in edges]
        if row["variant"] == "base":
            found["clean"] = band
        else:
            kind = "paths" if row["variant"] == "intervened" else "controls"
            found[kind][row["component"]] = band
    return found


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
