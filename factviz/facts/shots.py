"""Few-shot prompts: statements of other facts in front of the question."""

from __future__ import annotations

import random
from collections.abc import Sequence

from factviz.facts.errors import FactvizError
from factviz.facts.fact import SLOT, Fact


def in_front(fact: Fact, others: Sequence[Fact], count: int, draw: random.Random) -> Fact:
    """The fact behind ``count`` others with their answers, all in its own template.

    The shots go before whatever prefix the prompt has; they belong to no subject, so that they are
    relation by the default groups.
    """
    if not count:
        return fact
    if not fact.template:
        raise FactvizError(
            f"prompt {fact.prompt[:80]!r} has no template to put other subjects in: make the fact "
            "with Fact.from_template"
        )
    there = sorted({(o.subject, o.answer) for o in others if o.subject != fact.subject})
    if len(there) < count:
        raise FactvizError(
            f"{count} shots asked for, but relation {fact.relation!r} has {len(there)} subjects "
            f"beside {fact.subject!r}"
        )
    shots = "".join(
        f"{fact.template.replace(SLOT, subject)} {answer}. "
        for subject, answer in draw.sample(there, count)
    )
    start = len(shots) + fact.subject_span[0]
    return fact.replace(prompt=shots + fact.prompt, prefix="", subject_start=start)
