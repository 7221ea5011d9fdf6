"""The other prompt that a patch comes from: given, or another subject's of the same relation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from factviz.analysis.outcomes import Prompts, read_prompts
from factviz.analysis.places import Where, positions, told
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact

Counterfactuals = Fact | Iterable[Fact] | Literal["other_subject"]


def check_sizes(here: Sequence[int], there: Sequence[int], at: Where) -> None:
    """Refuse a position set that differs in size between two prompts."""
    if len(here) != len(there):
        raise FactvizError(
            f"{told(at)} has {len(here)} positions in the fact's prompt and {len(there)} in the "
            "counterfactual's: patch single positions, such as 'subject_last' or 'end'"
        )


def sources_of(
    prompts: Prompts,
    counterfactuals: Counterfactuals,
    at: Where,
    rngs: Sequence[np.random.Generator],
) -> Prompts:
    """The prompt to patch from, for each fact.

    Raises
    ------
    FactvizError
        If their number fits neither one nor all facts, or no other subject is among the facts.
    """
    if isinstance(counterfactuals, str):
        if counterfactuals != "other_subject":
            raise FactvizError(
                f"counterfactuals {counterfactuals!r} are unknown: facts, or 'other_subject'"
            )
        found = [_other_subject(prompts, fact, at, rngs[fact]) for fact in range(len(rngs))]
    else:
        given = read_prompts(prompts.model, counterfactuals).facts
        found = given * len(prompts.facts) if len(given) == 1 else given
    if len(found) != len(prompts.facts):
        raise FactvizError(
            f"{len(found)} counterfactuals for {len(prompts.facts)} facts: give one for all, or "
            "one for each"
        )
    return read_prompts(prompts.model, found)


def _other_subject(prompts: Prompts, fact: int, at: Where, rng: np.random.Generator) -> Fact:
    one = prompts.facts[fact]
    size = len(positions(one, prompts.tokens[fact], at))
    pool = [
        other
        for other, row in prompts.each()
        if other.relation == one.relation
        and other.subject != one.subject
        and other.answer != one.answer
        and len(positions(other, row, at)) == size
    ]
    if not pool:
        raise FactvizError(
            f"no other fact of relation {one.relation!r} has another subject and answer and as "
            f"many positions as {one.prompt[:80]!r}: give counterfactuals"
        )
    return pool[int(rng.integers(len(pool)))]
