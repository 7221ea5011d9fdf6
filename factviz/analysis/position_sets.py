"""Sets of positions that an analysis blocks or changes: named ones, or a user's own, checked."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence

from factviz.analysis.positions import subject_positions
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens

PositionSet = tuple[int, ...]
Asked = str | Iterable[str] | Mapping[str, Sequence[int]] | Sequence[Mapping[str, Sequence[int]]]

NAMES = ("subject", "subject_last", "non_subject", "last", "bos", "prefix", "relation", "all")


def named_set(name: str, fact: Fact, row: PromptTokens) -> PositionSet:
    """One of the sets `NAMES` in a prompt; it may be empty.

    "non_subject" is all but the subject and END, BOS included; "last" is END alone (P3). "relation"
    is whatever is neither BOS, prefix, subject nor END.
    """
    end = len(row) - 1
    subject = subject_positions(fact, row)
    if name in ("bos", "prefix", "relation"):
        return row.groups[name]
    return {
        "subject": subject,
        "subject_last": subject[-1:],
        "non_subject": tuple(p for p in range(end) if p not in subject),
        "last": (end,),
        "all": tuple(range(end + 1)),
    }[name]


def position_sets(
    asked: Asked, facts: Sequence[Fact], tokens: Sequence[PromptTokens]
) -> dict[str, list[PositionSet]]:
    """What was asked for, in every prompt.

    Parameters
    ----------
    asked
        Names among `NAMES`, or positions by a name of one's own (−1 is END), for all facts or one
        mapping a fact.
    facts, tokens : [fact]

    Returns
    -------
    dict
        By name, a set for every fact; empty where a prompt has no such positions.

    Raises
    ------
    FactvizError
        If a name is unknown, a position is not in the prompt or in two sets, a set of one's own is
        empty, or a named one is empty in every prompt.
    """
    own = _own_sets(asked, tokens)
    if own is not None:
        return own
    names = list(dict.fromkeys([asked] if isinstance(asked, str) else asked))
    if not names:
        raise FactvizError(f"no groups were given: name some of {', '.join(NAMES)}")
    found: dict[str, list[PositionSet]] = {}
    for name in names:
        if name not in NAMES:
            raise FactvizError(
                f"unknown group {name!r}: name some of {', '.join(NAMES)}, or give positions, "
                "{'name': [3, 4]}"
            )
        found[str(name)] = [named_set(str(name), *pair) for pair in zip(facts, tokens, strict=True)]
        if not any(found[str(name)]):
            raise FactvizError(
                f"group {name!r} is empty: prompt {facts[0].prompt[:60]!r} has no such token"
                + (f", nor have the {len(facts) - 1} others" if len(facts) > 1 else "")
                + "; leave it out of groups="
            )
    return found


def _own_sets(asked: Asked, tokens: Sequence[PromptTokens]) -> dict[str, list[PositionSet]] | None:
    """The user's own sets, or None where names were given."""
    if isinstance(asked, Mapping):
        mappings = [asked] * len(tokens)
    elif isinstance(asked, str) or not isinstance(asked, Sequence) or not asked:
        return None
    elif all(isinstance(one, Mapping) for one in asked):
        mappings = [one for one in asked if isinstance(one, Mapping)]
    else:
        return None
    if len(mappings) != len(tokens):
        raise FactvizError(
            f"{len(mappings)} groupings for {len(tokens)} facts: give one, or one per fact"
        )
    names = list(dict.fromkeys(str(name) for one in mappings for name in one))
    if not names:
        raise FactvizError("no groups were given: give positions, {'name': [3, 4]}")
    rows = [
        _checked(one, fact, len(row))
        for fact, (one, row) in enumerate(zip(mappings, tokens, strict=True))
    ]
    return {name: [row.get(name, ()) for row in rows] for name in names}


def _checked(groups: Mapping[str, Sequence[int]], fact: int, length: int) -> dict[str, PositionSet]:
    owner: dict[int, str] = {}
    found: dict[str, PositionSet] = {}
    for name, positions in groups.items():
        if isinstance(positions, (str, int)) or not len(positions):
            raise FactvizError(
                f"group {name!r} holds no positions ({positions!r}): give a list, [3, 4]"
            )
        for asked in positions:
            position = _position(asked, length)
            if position is None:
                raise FactvizError(
                    f"group {name!r} names position {asked!r}; the prompt of fact {fact} has 0 to "
                    f"{length - 1}"
                )
            if position in owner:
                raise FactvizError(
                    f"position {position} of fact {fact} is in group {owner[position]!r} and again "
                    f"in {name!r}: groups may not overlap; ask for them in two calls"
                )
            owner[position] = str(name)
        found[str(name)] = tuple(sorted(p for p, its in owner.items() if its == str(name)))
    return found


def _position(asked: object, length: int) -> int | None:
    """A whole number, NumPy's too, counted from the front; None where there is no such position."""
    try:
        number = operator.index(asked)  # type: ignore[arg-type]
    except TypeError:
        return None
    return number % length if -length <= number < length else None
