"""Where something is changed: positions by the name of a group, and layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from factviz.analysis.position_sets import NAMES as SETS
from factviz.analysis.position_sets import named_set
from factviz.analysis.positions import NAMED, named_positions
from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel

Where = str | int | Iterable[str | int]

NAMES = tuple(dict.fromkeys((*SETS, *NAMED)))
"""Names of position sets: those of knockouts, and single positions ("end", "subject_first", …)."""


def positions(fact: Fact, row: PromptTokens, where: Where) -> tuple[int, ...]:
    """The positions of a fact's prompt that names and numbers stand for.

    Parameters
    ----------
    fact, row
        A fact and its prompt as the model reads it.
    where
        One of `NAMES`, a position (−1 is END), or several of both, taken together.

    Raises
    ------
    FactvizError
        If a name is unknown, a position is not in the prompt, or nothing is left.
    """
    found: dict[int, None] = {}
    for item in _items(where):
        chosen = _by_name(fact, row, item) if isinstance(item, str) else _by_number(row, item)
        found |= dict.fromkeys(chosen)
    if not found:
        raise FactvizError(
            f"prompt {fact.prompt[:80]!r} has no position in {told(where)}: it has "
            + ", ".join(f"{name} {list(at)}" for name, at in row.groups.items() if at)
        )
    return tuple(sorted(found))


def told(where: Where) -> str:
    """A position set in words: names as they are, END for the last."""
    words = [
        "END" if item in ("end", "last", -1) else str(item).replace("_", " ")
        for item in _items(where)
    ]
    return ", ".join(words) if words else "an empty set"


def listed(where: Where) -> Where:
    """The same, but no iterator that is empty after a first look."""
    return where if isinstance(where, (str, int, np.integer)) else list(where)


def _items(where: Where) -> list[str | int]:
    return [where] if isinstance(where, (str, int, np.integer)) else list(where)


def _by_name(fact: Fact, row: PromptTokens, name: str) -> Sequence[int]:
    if name in SETS:
        return named_set(name, fact, row)
    if name in NAMED:
        single = named_positions(fact, row)
        return [single[name]] if name in single else []
    raise FactvizError(
        f"position set {name!r} is unknown: {', '.join(NAMES)}, or positions as numbers"
    )


def _by_number(row: PromptTokens, position: int) -> Sequence[int]:
    length = len(row)
    if not -length <= position < length:
        raise FactvizError(f"position {position} is not in the prompt: it has 0 to {length - 1}")
    return [int(position) % length]


def layers_of(model: FactModel, layers: int | Iterable[int] | None) -> tuple[int, ...]:
    """Layers in order, all of them for None.

    Raises
    ------
    FactvizError
        If one does not exist, or none is named.
    """
    if layers is None:
        return tuple(range(model.n_layers))
    asked: list[Any] = list(layers) if isinstance(layers, Iterable) else [layers]
    for layer in asked:
        if not is_whole(layer):
            raise FactvizError(
                f"layer {layer!r} is no whole number: give 0 to {model.n_layers - 1}"
            )
    found = sorted({int(layer) for layer in asked})
    for layer in found:
        if not 0 <= layer < model.n_layers:
            raise FactvizError(f"layer {layer} does not exist: the model has 0 to "
                               f"{model.n_layers - 1}")  # fmt: skip
    if not found:
        raise FactvizError("no layers are named: give at least one, or None for all")
    return tuple(found)
