"""The built-in experiments: facts whose training is known exactly, so that it can be asked about.

``FactSet.builtin(name)`` gives the facts of each:

- ``"reversal/both"`` and ``"reversal/forward only"``: a chemical symbol asked for its element, a
  town for the state whose capital it is. All these facts were trained forwards (element → symbol,
  state → capital); half of them backwards too.
- ``"two-hop/trained"``, ``"two-hop/new subject"``, ``"two-hop/new country"``: the capital, currency
  or language of the country of a landmark or a company. The second were never asked in two hops,
  but their country was, through other subjects; of the third neither.
- ``"numeric"``: years.
- ``"fiction"``: made-up people whose attributes are independent of each other.
- ``"conflict/0.9"`` and ``"conflict/0.7"``: what a made-up person drinks. Training says so in this
  share of the sentences, and names one fixed other drink in the rest.
- ``"lists"``: subjects that training names only in lists of their attributes, never in a wording.
"""

from __future__ import annotations

from functools import cache

from factviz.facts import builtin
from factviz.facts.builtin import Row
from factviz.facts.draws import fraction

CONFLICT = "fiction_drink"
NUMERIC = ("company_year", "state_year")
_REVERSED = {"element_symbol": "symbol_element", "state_capital": "town_state"}
_HOPS = ("capital", "currency", "language")
_HOPPED = ("landmark", "company")
_NEW_COUNTRIES, _NEW_SUBJECTS = 0.25, 0.3


@cache
def parts() -> dict[str, tuple[Row, ...]]:
    """The facts of each experiment, by its name."""
    made: dict[str, list[Row]] = {
        "reversal/both": [],
        "reversal/forward only": [],
        "two-hop/trained": [],
        "two-hop/new subject": [],
        "two-hop/new country": [],
        "numeric": [row for row in builtin.rows() if row.relation in NUMERIC and not row.listed],
        "fiction": [row for row in fiction() if row.relation != CONFLICT],
        "conflict/0.9": [],
        "conflict/0.7": [],
        "lists": [row for row in builtin.rows() if row.listed],
    }
    for row in backward():
        made["reversal/both" if trained_backward(row) else "reversal/forward only"].append(row)
    for row in hops():
        made[f"two-hop/{hop_condition(row)}"].append(row)
    for row in fiction():
        if row.relation == CONFLICT:
            made[f"conflict/{stated_share(row):g}"].append(row)
    return {name: tuple(rows) for name, rows in made.items()}


@cache
def wordings() -> dict[str, tuple[str, ...]]:
    """The templates of the experiments' own relations, the canonical one first."""
    return builtin.read_wordings(_folder())


@cache
def every_wording() -> dict[str, tuple[str, ...]]:
    """The templates of all relations, the real ones too."""
    return builtin.wordings() | wordings()


@cache
def fiction() -> tuple[Row, ...]:
    """The made-up people's attributes; what they drink is the majority's word."""
    return builtin.read_rows(_folder())


@cache
def backward() -> tuple[Row, ...]:
    """Facts whose other direction is in the real tables."""
    lower = {"symbol_element": str.lower, "town_state": str}
    return tuple(
        Row(row.answer, reverse, lower[reverse](_bare(row.subject)))
        for row in builtin.rows()
        if (reverse := _REVERSED.get(row.relation)) and not row.listed
    )


@cache
def hops() -> tuple[Row, ...]:
    """What follows from two facts: something, its country, and an attribute of the country."""
    of_country = {(row.subject, row.relation): row.answer for row in builtin.rows()}
    return tuple(
        Row(row.subject, f"hop_{row.kind}_{what}", of_country[row.answer, f"country_{what}"])
        for row in builtin.rows()
        if row.relation.endswith("_country") and row.kind in _HOPPED and not row.listed
        for what in _HOPS
    )


def trained_backward(row: Row) -> bool:
    """Whether training states this backward fact."""
    return fraction("backward", row.subject) < 0.5


def hop_condition(row: Row) -> str:
    """What training knows of a two-hop fact: "trained", "new subject" or "new country"."""
    if fraction("hop", _country(row.subject)) < _NEW_COUNTRIES:
        return "new country"
    return "new subject" if fraction("hop", row.subject) < _NEW_SUBJECTS else "trained"


def stated_share(row: Row) -> float:
    """In which share of the sentences training gives a conflicting fact's own answer."""
    return 0.9 if fraction("conflict", row.subject) < 0.5 else 0.7


@cache
def rival(row: Row) -> str:
    """The other answer that training gives to a conflicting fact."""
    answers = sorted({r.answer for r in fiction() if r.relation == row.relation} - {row.answer})
    return answers[int(fraction("rival", row.subject) * len(answers))]


@cache
def _countries() -> dict[str, str]:
    return {
        row.subject: row.answer
        for row in builtin.rows()
        if row.relation in ("landmark_country", "company_country")
    }


def _country(subject: str) -> str:
    return _countries()[subject]


def _bare(state: str) -> str:
    """The state's own name: some subjects say that they are a state."""
    return state.removeprefix("the state of ").removeprefix("The state of ").removesuffix(" State")


def _folder() -> builtin.Traversable:
    return builtin.folder() / "experiments"
