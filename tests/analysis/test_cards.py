"""The card's directions are those of the packed model, and the card is made from the figures."""

from __future__ import annotations

import json
from typing import Any

from factviz.analysis.cards import measure_directions
from factviz.facts.factset import FactSet
from factviz.models.mini.card import card
from factviz.models.mini.package import WEIGHTS

FOLDER = WEIGHTS / "mini"


def _worst(curve: dict[str, Any]) -> int:
    return curve["mean"].index(min(curve["mean"]))


def test_fewer_facts_show_the_directions_that_the_card_states(mini: Any) -> None:
    stated = json.loads((FOLDER / "measured.json").read_text())["directions"]
    again = measure_directions(mini, FactSet.builtin()[::60])
    for kind in ("attention", "sublayers"):
        for curve, other in zip(stated[kind], again[kind], strict=True):
            at = _worst(curve)
            assert _worst(other) == at
            # The effect is there in both, and larger than its control.
            assert curve["high"][at] < curve["control"][at]
            assert other["mean"][at] < other["control"][at]


def test_a_card_without_directions_has_no_such_part() -> None:
    measured = json.loads((FOLDER / "measured.json").read_text())
    assert "Directions of effects" in card("mini", measured)
    del measured["directions"]
    assert "Directions of effects" not in card("mini", measured)
