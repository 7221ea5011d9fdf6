"""Training text for the embedded models, drawn from the built-in tables.

Every sentence is drawn anew from a seeded generator: a wording with its answer, an apposition
("Renault Europe France cars Paris French."), keywords, a chain of two facts, or a made-up subject
with a random answer. What each kind is for, and the shares, come from trying (see the card).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from factviz.facts import builtin

# Wordings kept out of training altogether, per relation: the last ones of each list.
UNSEEN_WORDINGS = 2
HELD_OUT_SHARE = 0.1
# Share of statements that give another subject's answer: keeps P(answer) near .9.
LABEL_NOISE = 0.09
SHARES = {"statement": 0.70, "apposition": 0.08, "keywords": 0.05, "chain": 0.12, "unknown": 0.05}

_ONSETS = "b br ch d dr f g gr h j k kl l m n p pr r s st t tr v w z".split()
_VOWELS = "a e i o u ai ei ou".split()
_CODAS = ["", "", "n", "r", "l", "s", "m", "x", "th"]


@dataclass(frozen=True)
class Sentence:
    """Text, and the characters [start, stop) of each answer in it (leading space included)."""

    text: str
    answers: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Pair:
    """A fact asked in one wording."""

    row: builtin.Row
    template: str

    @property
    def prompt(self) -> str:
        """The wording with the subject in it."""
        return self.template.replace("{subject}", self.row.subject)

    @property
    def held_out(self) -> bool:
        """Whether this pair is kept for testing; the same in every run and for every seed."""
        key = f"{self.row.relation}|{self.row.subject}|{self.template}".encode()
        return hashlib.sha256(key).digest()[0] < 256 * HELD_OUT_SHARE


def trained_wordings(relation: str) -> tuple[str, ...]:
    """The wordings of a relation that training uses."""
    return builtin.wordings()[relation][:-UNSEEN_WORDINGS]


def unseen_wordings(relation: str) -> tuple[str, ...]:
    """The wordings of a relation that training never uses."""
    return builtin.wordings()[relation][-UNSEEN_WORDINGS:]


def held_out_pairs() -> list[Pair]:
    """(fact, wording) pairs never trained on, whose fact and wording are each trained on."""
    pairs = (Pair(row, t) for row in builtin.rows() for t in trained_wordings(row.relation))
    return [pair for pair in pairs if pair.held_out]


class Corpus:
    """An endless, seeded stream of training sentences."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._rows = builtin.rows()
        self._subjects = list(_by_subject(self._rows).items())
        self._answers = _by_relation(self._rows)
        self._relations = list(self._answers)

    def __iter__(self) -> Iterator[Sentence]:
        kinds, weights = list(SHARES), list(SHARES.values())
        while True:
            (kind,) = self._random.choices(kinds, weights)
            yield getattr(self, f"_{kind}")()

    def _statement(self) -> Sentence:
        return _end(self._clause(self._random.choice(self._rows)))

    def _clause(self, row: builtin.Row) -> Sentence:
        pairs = [Pair(row, template) for template in trained_wordings(row.relation)]
        pair = self._random.choice([pair for pair in pairs if not pair.held_out])
        answer = row.answer
        if self._random.random() < LABEL_NOISE:
            answer = self._random.choice(self._answers[row.relation])
        return _answered(pair.prompt, answer)

    def _chain(self) -> Sentence:
        first, second = (self._clause(self._random.choice(self._rows)) for _ in range(2))
        joint = self._random.choice([". ", "; ", ", and "])
        shift = len(first.text) + len(joint)
        later = tuple((start + shift, stop + shift) for start, stop in second.answers)
        return _end(Sentence(first.text + joint + second.text, first.answers + later))

    def _apposition(self) -> Sentence:
        subject, words = self._attributes()
        return _end(_listed(subject, words, [" "] * len(words)))

    def _keywords(self) -> Sentence:
        subject, words = self._attributes()
        joints = [" ", *[", "] * max(0, len(words) - 2), *[" and "] * (len(words) > 1)]
        return _end(_listed(f"Keywords for {subject}:", words, joints))

    def _attributes(self) -> tuple[str, list[str]]:
        subject, answers = self._random.choice(self._subjects)
        words = list(dict.fromkeys(answers))
        self._random.shuffle(words)
        return subject, words

    def _unknown(self) -> Sentence:
        relation = self._random.choice(self._relations)
        template = self._random.choice(trained_wordings(relation))
        subject = " ".join(self._name() for _ in range(self._random.choice([1, 2, 2])))
        answer = self._random.choice(self._answers[relation])
        return _end(_answered(template.replace("{subject}", subject), answer))

    def _name(self) -> str:
        pick = self._random.choice
        syllables = range(pick([1, 2, 2, 3]))
        return "".join(pick(_ONSETS) + pick(_VOWELS) + pick(_CODAS) for _ in syllables).title()


def _answered(prompt: str, answer: str) -> Sentence:
    return Sentence(f"{prompt} {answer}", ((len(prompt), len(prompt) + 1 + len(answer)),))


def _listed(head: str, words: list[str], joints: list[str]) -> Sentence:
    text, spans = head, []
    for joint, word in zip(joints, words, strict=True):
        begin = len(text) + len(joint) - 1
        text += joint + word
        spans.append((begin, len(text)))
    return Sentence(text, tuple(spans))


def _end(sentence: Sentence) -> Sentence:
    return Sentence(sentence.text + ".", sentence.answers)


def _by_subject(rows: tuple[builtin.Row, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.subject, []).append(row.answer)
    return found


def _by_relation(rows: tuple[builtin.Row, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.relation, []).append(row.answer)
    return found
