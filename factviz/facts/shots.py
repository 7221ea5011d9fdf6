"""Few-shot prompts: statements of other facts in front of the question."""

from __future__ import annotations

import random
import re
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


def shots_of(fact: Fact) -> list[tuple[str, str]]:
    """Subjects and answers of the shots in front of a fact, as `in_front` puts them there.

    Empty where there are none, or what stands there is not the fact's template filled.
    """
    text = fact.prompt[: -len(asked_alone(fact))] if fact.template else ""
    before, after = map(re.escape, fact.template.split(SLOT)) if text else ("", "")
    shot = re.compile(f"{before}(.+?){after} (.+?)\\. ", re.DOTALL)
    found: list[tuple[str, str]] = []
    while text and (match := shot.match(text)):
        found.append((match[1], match[2]))
        text = text[match.end() :]
    return [] if text else found


def asked_alone(fact: Fact) -> str:
    """A fact's own template filled, without what stands in front of it."""
    return fact.template.replace(SLOT, fact.subject).rstrip()


def behind(fact: Fact, shown: Sequence[tuple[str, str]]) -> Fact:
    """The fact behind these shots, in place of those it has."""
    text = "".join(f"{fact.template.replace(SLOT, s)} {answer}. " for s, answer in shown)
    start = len(text) + fact.template.index(SLOT)
    return fact.replace(prompt=text + asked_alone(fact), prefix="", subject_start=start)
