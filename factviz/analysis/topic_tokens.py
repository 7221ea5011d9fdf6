"""The topic of a fact, X (arXiv 2403.19521): its positions in the prompt, and its tokens."""

from __future__ import annotations

import warnings

from factviz.analysis.positions import subject_positions
from factviz.facts.errors import FactvizError, FactvizWarning
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel


def topic_positions(model: FactModel, fact: Fact, row: PromptTokens) -> tuple[int, ...]:
    """Where the topic stands: the fact's topic word, or its subject where none is named.

    Raises
    ------
    FactvizError
        If no token of the prompt belongs to it.
    """
    found = subject_positions(fact, row)
    if fact.topic and fact.topic != fact.subject:
        with warnings.catch_warnings():  # the last of several is meant, as for subjects
            warnings.simplefilter("ignore", FactvizWarning)
            named = fact.replace(subject=fact.topic)
        found = subject_positions(named, model.tokenize(named))
    if not found:
        raise FactvizError(f"prompt {fact.prompt[:80]!r} has no token of its topic {topic(fact)!r}")
    return found


def topic(fact: Fact) -> str:
    """The topic's words."""
    return fact.topic or fact.subject


def topic_ids(model: FactModel, fact: Fact, row: PromptTokens | None = None) -> list[int]:
    """The topic's tokens as they stand in the prompt."""
    row = model.tokenize(fact) if row is None else row
    return [row.ids[position] for position in topic_positions(model, fact, row)]
