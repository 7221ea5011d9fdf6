"""Where declared words stand in a prompt: the topic (P2's X), the relation words."""

from __future__ import annotations

import re

from factviz.facts.fact import Fact


def topic(fact: Fact) -> str:
    """The topic's words; the subject's where a fact names no topic."""
    return fact.topic or fact.subject


def whole_words(text: str, words: str) -> list[int]:
    """Where words stand by themselves ("w4", but not in "w42")."""
    pattern = rf"(?<!\w){re.escape(words)}(?!\w)"
    return [found.start() for found in re.finditer(pattern, text)]


def last_span(text: str, words: str) -> tuple[int, int]:
    """The last place of some words that a text holds: as whole words, if they ever stand so."""
    start = (whole_words(text, words) or [text.rfind(words)])[-1]
    return start, start + len(words)
