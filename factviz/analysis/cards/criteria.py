"""What an embedded model must show, each beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from factviz.analysis.cards.knockouts import worst
from factviz.analysis.cards.motif import PARTS
from factviz.analysis.double_knockout import PATHS

Band = Sequence[float]
"""A mean and the interval around it: [mean, low, high]."""


def criteria(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The criteria of a model, as far as what they need was measured.

    Returns
    -------
    list of dict
        what, bound (in words), value [mean, low, high], holds: whether the mean does.
    """
    found = list(_recall(measured))
    if measured["name"] == "mini-gpt2":
        found += _shots(measured["shots"])
    if measured["name"] == "mini":
        found += [*_parts(measured["parts"]), *_heads(measured["heads"]), *_order(measured)]
    if measured["name"] == "mini-propagation":
        found += [*_routes(measured["routes"]), *_mixed(measured["heads"]["mixed"])]
    found += _reversal(measured["experiments"])
    return found


def held(found: Sequence[Mapping[str, Any]]) -> int:
    """How many criteria hold."""
    return sum(bool(criterion["holds"]) for criterion in found)


def _recall(measured: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    held_out, unseen = (measured["recall"][k] for k in ("held-out pairs", "unseen wordings"))
    yield _at_least("top-1 on (fact, wording) pairs never trained on", held_out["top1"], 0.98)
    yield _at_least("top-1 in wordings never trained on", unseen["top1"], 0.80)
    yield _at_least("P(answer) on those pairs", held_out["probability"], 0.85)
    yield _at_most("P(answer) on those pairs", held_out["probability"], 0.95)


def _shots(found: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in found:
        if row["shots"]:
            yield _at_least(f"top-1 behind {row['shots']} shots", row["top1"], 0.95)


def _parts(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    sets = {"subject": "S ∪ a", "relation": "R ∪ a", "mlps": "R ∪ a"}
    for part, name in sets.items():
        label = PARTS[part]
        yield _below(f"{label} alone: right", found[part]["right"], 0.60)
        yield _above(f"{label} alone: inside {name}", found[part]["inside"], 0.80)
    yield _at_least("all parts together: right", found["all"]["right"], 0.97)


def _heads(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, what in (("subject", "S over O from subject"), ("relation", "R over O from relation")):
        count = float(len(found[key]))
        yield _at_least(f"heads that lift {what} tokens", [count, count, count], 5)


def _order(measured: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    curves = {(c["group"], c["window"]): c for c in measured["directions"]["attention"]}
    relation, subject = curves["relation", 1], curves["subject", 1]
    yield _at_least("loss of P, END → relation blocked in its worst layer, %", _loss(relation), 40)
    three = measured["directions"]["worst_three"]
    lost = [-three["mean"], -three["high"], -three["low"]]
    yield _at_least("loss of P, END → subject blocked in its worst three layers, %", lost, 60)
    before = float(worst(subject) - worst(relation))
    yield _at_least("layers from the relation's worst to the subject's", [before] * 3, 1)
    early, late = (-curve["mean"][0] for curve in measured["directions"]["halves"])
    more = [early - 2 * late] * 3
    yield _at_least("loss of P, early half of the MLPs less twice the late half, %", more, 0)
    yield _at_least(
        "recall@50 of attributes over a shuffled subject's", measured["enrichment"]["ratio"], 5
    )


def _routes(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    direct, through, both = (found["paths"][name] for name in PATHS)
    yield _at_least("P with END → subject blocked", direct, 0.6)
    yield _at_least("P with relation → subject blocked", through, 0.8)
    yield _at_most("P with both blocked", both, 0.2)


def _mixed(found: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """What "near 0" means here: a quarter of the clean value, or less."""
    count = float(len(found["heads"])) if found else 0.0
    yield _at_least("mixed heads", [count] * 3, 1)
    left = found["left"] if found else float("nan")
    what = "share of the mixed heads' a − mean R left, relation → subject blocked"
    yield _at_most(what, [left] * 3, 0.25)


def _reversal(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield _at_most("backward, trained forwards only", found["reversal/forward only"]["top1"], 0.1)
    yield _at_least("backward, trained both ways", found["reversal/both"]["top1"], 0.9)


def _loss(curve: Mapping[str, Any]) -> list[float]:
    at = worst(dict(curve))
    return [-curve["mean"][at], -curve["high"][at], -curve["low"][at]]


def _at_least(what: str, value: Band, limit: float) -> dict[str, Any]:
    return _row(what, value, f"≥ {limit:g}", value[0] >= limit)


def _at_most(what: str, value: Band, limit: float) -> dict[str, Any]:
    return _row(what, value, f"≤ {limit:g}", value[0] <= limit)


def _above(what: str, value: Band, limit: float) -> dict[str, Any]:
    return _row(what, value, f"> {limit:g}", value[0] > limit)


def _below(what: str, value: Band, limit: float) -> dict[str, Any]:
    return _row(what, value, f"< {limit:g}", value[0] < limit)


def _row(what: str, value: Band, bound: str, holds: bool) -> dict[str, Any]:
    return {"what": what, "bound": bound, "value": [float(v) for v in value], "holds": holds}
