"""Which facts an analysis may use: those the model knows; the others are counted, and said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact

TOP = 10  # a fact counts as known when its answer is in the top 10 (arXiv 2402.07321)


def known_rows(facts: Sequence[Fact], rank: Int[np.ndarray, " fact"]) -> list[int]:
    """The numbers of the facts whose answer is in the model's top 10.

    Raises
    ------
    FactvizError
        If there are none.
    """
    kept = [int(row) for row in np.flatnonzero(rank <= TOP)]
    if not kept:
        raise FactvizError(
            f"the model knows none of the {len(facts)} facts (answer in its top {TOP}): the answer "
            f"{facts[0].answer!r} of {facts[0].prompt[:80]!r} has rank {rank[0]}"
        )
    return kept


def unknown_note(facts: Sequence[Fact], kept: Sequence[int]) -> list[str]:
    """How many facts were left out, and which, for the provenance."""
    out = [fact.prompt for row, fact in enumerate(facts) if row not in set(kept)]
    if not out:
        return []
    some = ", ".join(repr(prompt[:60]) for prompt in out[:3]) + (", …" if len(out) > 3 else "")
    return [
        f"{len(out)} of {len(facts)} facts were excluded, as the answer is not in the model's top "
        f"{TOP}: {some}"
    ]


def check_subjects(facts: Sequence[Fact], what: str) -> None:
    """Refuse facts of one subject, where an interval over subjects is needed."""
    subjects = {fact.subject for fact in facts}
    if len(subjects) < 2:
        raise FactvizError(
            f"{what} need facts of two subjects or more that the model knows, for means with "
            f"intervals; there is 1 ({next(iter(subjects))!r})"
        )
