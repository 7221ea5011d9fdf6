"""A training sentence: its text, and where subjects and answers stand in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SLOT = "{subject}"
Span = tuple[int, int]
"""First character and the one after the last; an answer's span includes its leading space."""


@dataclass(frozen=True)
class Clause:
    """An answer in a sentence, and the subject of the wording that asked for it, if any."""

    answer: Span
    subject: Span | None = None

    def shifted(self, by: int) -> Clause:
        """The clause in a text with so many more characters in front."""
        subject = self.subject and (self.subject[0] + by, self.subject[1] + by)
        return Clause((self.answer[0] + by, self.answer[1] + by), subject)


@dataclass(frozen=True)
class Sentence:
    """Text with its clauses."""

    text: str
    clauses: tuple[Clause, ...] = ()

    def ended(self) -> Sentence:
        """With a full stop."""
        return Sentence(self.text + ".", self.clauses)


def stated(template: str, subject: str, answer: str) -> Sentence:
    """A wording with subject and answer filled in."""
    start = template.index(SLOT)
    prompt = template.replace(SLOT, subject)
    clause = Clause((len(prompt), len(prompt) + 1 + len(answer)), (start, start + len(subject)))
    return Sentence(f"{prompt} {answer}", (clause,))


def listed(head: str, words: Sequence[str], joints: Sequence[str]) -> Sentence:
    """A head and words after it, each behind a joint that ends in a space."""
    text, clauses = head, []
    for joint, word in zip(joints, words, strict=True):
        begin = len(text) + len(joint) - 1
        text += joint + word
        clauses.append(Clause((begin, len(text))))
    return Sentence(text, tuple(clauses))


def joined(sentences: Iterable[Sentence], joint: str) -> Sentence:
    """Several sentences as one."""
    text, clauses = "", []
    for sentence in sentences:
        text += joint if text else ""
        clauses += [clause.shifted(len(text)) for clause in sentence.clauses]
        text += sentence.text
    return Sentence(text, tuple(clauses))
