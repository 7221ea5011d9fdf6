"""What training sees of the tables and what it does not: pairs, wordings and subjects held out.

Everything is drawn by a hash of the words (`factviz.facts.draws`), so it is the same in every run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

from factviz.facts import builtin, experiments
from factviz.facts.builtin import Row
from factviz.facts.draws import fraction

UNSEEN_WORDINGS = 4
"""Wordings of each relation kept out of training for every fact; never the canonical one."""
HELD_OUT_SHARE = 0.1
"""Share of the (fact, wording) pairs kept out of training."""


@dataclass(frozen=True)
class Pair:
    """A fact asked in one wording."""

    row: Row
    template: str

    @property
    def prompt(self) -> str:
        """The wording with the subject in it."""
        return self.template.replace("{subject}", self.row.subject)

    @property
    def held_out(self) -> bool:
        """Whether this pair is kept for testing."""
        row = self.row
        return fraction("pair", row.relation, row.subject, self.template) < HELD_OUT_SHARE


@cache
def _uses() -> Counter[str]:
    """How many relations a wording serves."""
    return Counter(t for templates in experiments.every_wording().values() for t in templates)


@cache
def unseen_wordings(relation: str) -> tuple[str, ...]:
    """The wordings of a relation that training never uses, for no other relation either."""
    others = [t for t in experiments.every_wording()[relation][1:] if _uses()[t] == 1]
    return tuple(sorted(others, key=lambda t: fraction("unseen", relation, t))[:UNSEEN_WORDINGS])


@cache
def trained_wordings(relation: str) -> tuple[str, ...]:
    """The wordings of a relation that training uses."""
    unseen = unseen_wordings(relation)
    return tuple(t for t in experiments.every_wording()[relation] if t not in unseen)


@cache
def trained_pairs(row: Row) -> tuple[Pair, ...]:
    """The wordings in which training states a fact; none for subjects that are only listed."""
    if row.listed:
        return ()
    pairs = (Pair(row, template) for template in trained_wordings(row.relation))
    return tuple(pair for pair in pairs if not pair.held_out)


def stated_rows() -> tuple[Row, ...]:
    """The real facts that training states in wordings."""
    return tuple(row for row in builtin.rows() if not row.listed)


def held_out_pairs() -> list[Pair]:
    """(fact, wording) pairs never trained on, whose fact and wording are each trained on."""
    pairs = (Pair(row, t) for row in stated_rows() for t in trained_wordings(row.relation))
    return [pair for pair in pairs if pair.held_out]


def unseen_pairs() -> list[Pair]:
    """Facts in the wordings that training never uses for any fact of their relation."""
    return [Pair(row, t) for row in stated_rows() for t in unseen_wordings(row.relation)]


def listed_pairs() -> list[Pair]:
    """Facts of the subjects that training only lists, in wordings that it uses for others."""
    return [
        Pair(row, template)
        for row in builtin.rows()
        if row.listed
        for template in trained_wordings(row.relation)
    ]
