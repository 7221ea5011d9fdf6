"""Everything a card says of a model, measured on one half of the subjects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factviz.analysis.cards.criteria import criteria
from factviz.analysis.cards.few_shot import measure_shots
from factviz.analysis.cards.knockouts import measure_directions, measure_enrichment
from factviz.analysis.cards.mechanisms import (
    measure_answer_heads,
    measure_maps,
    measure_mitigation,
    measure_onsets,
    measure_senders,
)
from factviz.analysis.cards.motif import measure_heads, measure_parts, measure_routes
from factviz.analysis.cards.movers import measure_final_parts, measure_topic_heads
from factviz.analysis.cards.recall import in_half, measure_experiments, measure_recall, pairs_of
from factviz.facts.factset import FactSet
from factviz.models.factmodel import FactModel

INTERVENED, ATTRIBUTED = 250, 600
"""Facts that are run many times over, and facts that are run once."""


def measure(
    model: FactModel, name: str, *, half: str = "judging", share: float = 1.0, seed: int = 0
) -> dict[str, Any]:
    """What the model shows, by the names of the card's sections.

    Parameters
    ----------
    model : FactModel
    name : str
        The embedded model it is, or may become: decides the criteria.
    half : {"judging", "choosing"}
        Whose subjects are asked about.
    share : float
        Of the facts that a card is made from.
    seed : int
    """
    facts = in_half(FactSet.builtin(), half)
    few, many = spread(facts, int(share * INTERVENED)), spread(facts, int(share * ATTRIBUTED))
    known = few.known(model, top_k=1)
    found: dict[str, Any] = {
        "name": name,
        "recall": {
            kind: measure_recall(model, pairs_of(kind, half, seed=seed), seed=seed)
            for kind in ("held-out pairs", "unseen wordings", "lists")
        },
        "experiments": measure_experiments(model, half, seed=seed),
        "shots": measure_shots(model, many, seed=seed),
        "directions": measure_directions(model, known, seed=seed),
        "enrichment": measure_enrichment(model, many, seed=seed),
        "routes": measure_routes(model, known, seed=seed),
        "parts": measure_parts(model, many, seed=seed),
        "heads": measure_heads(model, many, seed=seed),
    }
    found |= _mechanisms(model, many, known, half, seed)
    return found | {"criteria": criteria(found)}


def spread(facts: FactSet, count: int) -> FactSet:
    """About so many facts, evenly from the whole set."""
    return facts[:: max(1, len(facts) // count)]


def _mechanisms(
    model: FactModel, many: FactSet, known: FactSet, half: str, seed: int
) -> Mapping[str, Any]:
    """The rows of P2."""
    return {
        "onsets": measure_onsets(model, known, half, seed=seed),
        "senders": measure_senders(model, known, seed=seed),
        "topic_heads": measure_topic_heads(model, many, seed=seed),
        "answer_heads": measure_answer_heads(model, many, seed=seed),
        "maps": measure_maps(model, many.known(model, top_k=1), seed=seed),
        "final_parts": measure_final_parts(model, many, seed=seed),
        "mitigation": measure_mitigation(model, many, seed=seed),
    }
