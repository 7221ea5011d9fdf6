"""Training text for the embedded models, drawn from the built-in tables.

Every text is drawn anew from a seeded generator. Its kinds:

- *statement*: a wording with its answer; *fiction*, *backward* and *hop* are those of the
  experiments (`factviz.facts.experiments`);
- *apposition* ("Renault Europe France cars Paris French.") and *keywords*: a subject and its
  attributes, which make the subject's own states hold them;
- *chain*: two clauses, or filler and a clause; *filler*: words without a fact;
- *shots*: two to five statements in one wording;
- *unknown*: a made-up subject with a random answer.

A text is reliable or not: nearly all answers of a reliable one are right, half of those in an
unreliable one are another subject's. A single statement is wrong in 9 % of the texts, which keeps
P(answer) near .9; right statements before it are evidence that the text is reliable.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources

from factviz.facts import builtin, experiments
from factviz.facts.builtin import Row
from factviz.models.mini.sentences import Sentence, joined, listed, stated
from factviz.models.mini.splits import Pair, stated_rows, trained_pairs, trained_wordings

UNRELIABLE_SHARE = 0.15
NOISE = {True: 0.02, False: 0.5}
"""Share of answers that are another subject's, in reliable and in unreliable texts."""
LABEL_NOISE = (1 - UNRELIABLE_SHARE) * NOISE[True] + UNRELIABLE_SHARE * NOISE[False]
"""The same in a text of one statement."""
MOST_SHOTS = 4

_ONSETS = "b br ch d dr f g gr h j k kl l m n p pr r s st t tr v w z".split()
_VOWELS = "a e i o u ai ei ou".split()
_CODAS = ["", "", "n", "r", "l", "s", "m", "x", "th"]


class Corpus:
    """An endless stream of training texts in blocks, each drawn from the seed and its number.

    Parameters
    ----------
    seed : int
    shares : mapping of str to float
        The share of each kind of text.
    """

    def __init__(self, seed: int, shares: Mapping[str, float]) -> None:
        self._seed, self._shares = seed, dict(shares)
        self._facts = Facts()

    def block(self, number: int, size: int) -> Iterator[Sentence]:
        """The ``size`` texts of one block; the same each time."""
        draw = random.Random(f"{self._seed} {number}")
        kinds, weights = list(self._shares), list(self._shares.values())
        for kind in draw.choices(kinds, weights, k=size):
            yield _Text(draw, self._facts).of_kind(kind)


class Facts:
    """What texts state, sorted by the way they state it."""

    def __init__(self) -> None:
        real, made_up = stated_rows(), experiments.fiction()
        parts = experiments.parts()
        self.rows: dict[str, list[Row]] = {
            "statement": list(real),
            "fiction": list(made_up),
            "backward": list(parts["reversal/both"]),
            "hop": list(parts["two-hop/trained"]),
        }
        self.words: dict[str, list[str]] = {}  # [relation]: answers, as often as they are right
        self.of_relation: dict[str, list[Row]] = {}
        for row in (row for rows in self.rows.values() for row in rows):
            self.words.setdefault(row.relation, []).append(row.answer)
            self.of_relation.setdefault(row.relation, []).append(row)
        self.relations = list(self.words)
        self.shot_rows = [row for row in real if len(self.of_relation[row.relation]) > MOST_SHOTS]
        self.attributes: dict[str, list[str]] = {}  # [subject]
        for row in builtin.rows():
            self.attributes.setdefault(row.subject, []).append(row.answer)
        self.subjects = list(self.attributes)


class _Text:
    """One text, drawn from a generator; every answer in it is as reliable as the text."""

    def __init__(self, draw: random.Random, facts: Facts) -> None:
        self._draw, self._facts = draw, facts
        self._noise = NOISE[draw.random() >= UNRELIABLE_SHARE]
        self._made: dict[str, Callable[[], Sentence]] = {
            "apposition": self._apposition,
            "keywords": self._keywords,
            "chain": self._chain,
            "shots": self._shots,
            "unknown": self._unknown,
            "filler": self._filler,
        }

    def of_kind(self, kind: str) -> Sentence:
        """A text of this kind."""
        if kind in self._facts.rows:
            return self._clause(self._draw.choice(self._facts.rows[kind])).ended()
        return self._made[kind]()

    def _clause(self, row: Row, template: str = "") -> Sentence:
        pair = Pair(row, template) if template else self._draw.choice(trained_pairs(row))
        return stated(pair.template, row.subject, self._answer(row))

    def _answer(self, row: Row) -> str:
        if row.relation == experiments.CONFLICT:
            own = self._draw.random() < experiments.stated_share(row)
            return row.answer if own else experiments.rival(row)
        if self._draw.random() < self._noise:
            return self._draw.choice(self._facts.words[row.relation])
        return row.answer

    def _chain(self) -> Sentence:
        second = self._clause(self._draw.choice(self._facts.rows["statement"]))
        if self._draw.random() < 0.3:
            return joined([Sentence(self._draw.choice(filler())), second], " ").ended()
        first = self._clause(self._draw.choice(self._facts.rows["statement"]))
        joint = self._draw.choice([". ", "; ", ", and "])
        return joined([first, second], joint).ended()

    def _shots(self) -> Sentence:
        """Statements in one wording, about different subjects of one relation."""
        first = self._draw.choice(self._facts.shot_rows)
        template = self._draw.choice(trained_pairs(first)).template
        others = self._draw.sample(
            self._facts.of_relation[first.relation], self._draw.randint(1, MOST_SHOTS)
        )
        rows = [row for row in others if row != first and not Pair(row, template).held_out]
        return joined([self._clause(row, template) for row in [*rows, first]], ". ").ended()

    def _apposition(self) -> Sentence:
        subject, words = self._attributes()
        return listed(subject, words, [" "] * len(words)).ended()

    def _keywords(self) -> Sentence:
        subject, words = self._attributes()
        joints = [" ", *[", "] * max(0, len(words) - 2), *[" and "] * (len(words) > 1)]
        return listed(f"Keywords for {subject}:", words, joints).ended()

    def _attributes(self) -> tuple[str, list[str]]:
        subject = self._draw.choice(self._facts.subjects)
        words = list(dict.fromkeys(self._facts.attributes[subject]))
        self._draw.shuffle(words)
        return subject, words

    def _unknown(self) -> Sentence:
        relation = self._draw.choice(self._facts.relations)
        template = self._draw.choice(trained_wordings(relation))
        subject = " ".join(self._name() for _ in range(self._draw.choice([1, 2, 2])))
        return stated(template, subject, self._draw.choice(self._facts.words[relation])).ended()

    def _filler(self) -> Sentence:
        return Sentence(" ".join(self._draw.sample(filler(), self._draw.randint(1, 3))))

    def _name(self) -> str:
        pick = self._draw.choice
        syllables = range(pick([1, 2, 2, 3]))
        return "".join(pick(_ONSETS) + pick(_VOWELS) + pick(_CODAS) for _ in syllables).title()


@cache
def filler() -> tuple[str, ...]:
    """Plain sentences without any fact."""
    text = (resources.files("factviz.models.mini") / "filler.txt").read_text(encoding="utf-8")
    return tuple(text.split("\n")[:-1])
