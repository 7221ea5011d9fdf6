"""The topic of a fact (P2's X): where it stands in the prompt, and its token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from factviz.analysis.positions import subject_positions
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.facts.topics import last_span, whole_words
from factviz.models.factmodel import FactModel


@dataclass(frozen=True)
class Topics:
    """The topics of facts as a model reads them.

    prompts [fact]: the prompts, whose source group "subject" is the topic; positions [fact] of all
    of a topic's tokens, END too where the prompt ends with it; ids [fact]: X, a topic's last token,
    as it stands in the prompt.
    """

    prompts: list[PromptTokens]
    positions: list[tuple[int, ...]]
    ids: list[int]
    notes: list[str]


def about_topic(fact: Fact) -> Fact:
    """The same fact with its topic in the subject's place.

    Where it stands twice, the last one as whole words; if it never does, the last one.
    """
    if not fact.topic or fact.topic == fact.subject:
        return fact
    start, _ = last_span(fact.prompt, fact.topic)
    return fact.replace(subject=fact.topic, subject_start=start, topic="")


def topic_ids(model: FactModel, fact: Fact) -> list[int]:
    """All tokens of one fact's topic, as they stand in the prompt."""
    found = read_topics(model, [fact])
    return [found.prompts[0].ids[at] for at in found.positions[0]]


def read_topics(model: FactModel, facts: Sequence[Fact]) -> Topics:
    """Find the topics: `Fact.topic`, or else the subject.

    Raises
    ------
    FactvizError
        If a topic has no token of its own.
    """
    asked = [about_topic(fact) for fact in facts]
    prompts = model.tokenize_all(asked)
    places = [subject_positions(*pair) for pair in zip(asked, prompts, strict=True)]
    for fact, at in zip(asked, places, strict=True):
        if not at:
            raise FactvizError(
                f"topic {fact.subject!r} has no token of its own in {fact.prompt[:80]!r}"
            )
    ids = [row.ids[at[-1]] for row, at in zip(prompts, places, strict=True)]
    return Topics(prompts, places, ids, _notes(facts, places))


def _notes(facts: Sequence[Fact], places: Sequence[Sequence[int]]) -> list[str]:
    notes: list[str] = []
    if several := sum(len(at) > 1 for at in places):
        notes.append(f"{several} of {len(facts)} topics are of several tokens: X is the last one")
    named = [fact for fact in facts if fact.topic not in ("", fact.subject)]
    twice = [fact for fact in named if len(whole_words(fact.prompt, fact.topic)) > 1]
    if twice:
        notes.append(
            f"{len(twice)} topics stand more than once in their prompt: the last one is taken"
        )
    return notes
