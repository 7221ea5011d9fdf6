"""What shots in front of a question change (P2): top-1 and P(answer), paired over facts."""

from __future__ import annotations

from typing import Any

from factviz.analysis.cards.recall import ask, band
from factviz.facts.factset import FactSet
from factviz.models.factmodel import FactModel

SHOTS = (0, 1, 2, 4)


def measure_shots(model: FactModel, facts: FactSet, *, seed: int = 0) -> list[dict[str, Any]]:
    """Recall behind 0, 1, 2 and 4 other facts of the relation.

    Returns
    -------
    list of dict
        shots; top1 and probability: [mean, low, high], fractions; gain: the same of P(answer) less
        that of the same facts without shots, None for no shots.
    """
    found: list[dict[str, Any]] = []
    plain, every = ask(model, facts), FactSet.builtin()
    for shots in SHOTS:
        shown = facts.with_shots(shots, among=every, seed=seed)
        asked = ask(model, shown) if shots else plain
        gain = band(facts, asked.answer - plain.answer, seed=seed) if shots else None
        found.append(
            {
                "shots": shots,
                "top1": band(facts, asked.right, seed=seed),
                "probability": band(facts, asked.answer, seed=seed),
                "gain": gain,
            }
        )
    return found
