"""The topic token X of a prompt: the last token of the topic, or of the subject (P2)."""

from __future__ import annotations

from collections.abc import Sequence

from factviz.analysis.positions import subject_positions
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens, encode_prompts
from factviz.models.factmodel import FactModel


def topic_positions(
    model: FactModel, facts: Sequence[Fact], tokens: Sequence[PromptTokens]
) -> list[int]:
    """Where each prompt's topic ends: a topic of several tokens is known by its last.

    Raises
    ------
    FactvizError
        If a topic has no token of its own.
    """
    return [_last(model, fact, row) for fact, row in zip(facts, tokens, strict=True)]


def _last(model: FactModel, fact: Fact, row: PromptTokens) -> int:
    if not fact.topic or fact.topic == fact.subject:
        found = subject_positions(fact, row)
        if found:
            return found[-1]
        raise FactvizError(
            f"subject {fact.subject!r} has no token of its own in {fact.prompt[:80]!r}"
        )
    final = fact.prompt.rfind(fact.topic) + len(fact.topic.rstrip()) - 1
    spans = encode_prompts(model.tokenizer, [fact])[0][1]
    found = [index for index, (start, stop) in enumerate(spans) if start <= final < stop]
    if not found:
        raise FactvizError(f"topic {fact.topic!r} has no token in {fact.prompt[:80]!r}")
    return found[-1] + row.has_bos


def long_topics(
    facts: Sequence[Fact], tokens: Sequence[PromptTokens], positions: Sequence[int]
) -> list[str]:
    """A sentence on topics of several tokens, if there are any."""
    count = 0
    for fact, row, last in zip(facts, tokens, positions, strict=True):
        text = row.texts[last].strip()
        count += len(text) < len((fact.topic or fact.subject).strip())
    if not count:
        return []
    return [f"{count} of {len(facts)} topics have several tokens: X is the last of each"]
