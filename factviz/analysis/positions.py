"""The positions of a prompt that have names: the subject's first and last token, and so on."""

from __future__ import annotations

from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens

NAMED = ("subject_last", "subject_first", "after_subject", "end")


def subject_positions(fact: Fact, row: PromptTokens) -> tuple[int, ...]:
    """The subject's positions, END too where the prompt ends with the subject.

    (The source groups are a partition, in which END is never the subject's.)
    """
    found = row.groups["subject"]
    if fact.subject_span[1] >= len(fact.prompt.rstrip()):
        return (*found, len(row) - 1)
    return found


def named_positions(fact: Fact, row: PromptTokens) -> dict[str, int]:
    """The positions `NAMED`, as far as the prompt has them."""
    subject = subject_positions(fact, row)
    found = {"subject_last": subject[-1], "subject_first": subject[0]} if subject else {}
    if subject and subject[-1] + 1 < len(row):
        found["after_subject"] = subject[-1] + 1
    return {**found, "end": len(row) - 1}
