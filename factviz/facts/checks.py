"""Numbers that a user gives: whole ones, seeds, shares; NumPy's too, but no booleans or texts."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, TypeGuard

from factviz.facts.errors import FactvizError


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether this is a whole number."""
    return not isinstance(value, bool) and isinstance(value, Integral)


def check_counts(**counts: tuple[Any, int]) -> None:
    """Refuse what is no whole number, or too few: ``name=(value, least)``.

    Raises
    ------
    FactvizError
        With the name and the value.
    """
    for name, (value, least) in counts.items():
        if not is_whole(value):
            raise FactvizError(f"{name}={value!r} is no whole number: give {least} or more")
        if value < least:
            raise FactvizError(f"{name}={value} is too few: give {least} or more")


def check_seed(seed: Any) -> None:
    """Refuse a seed that is no whole number from 0 on.

    Raises
    ------
    FactvizError
        With the value.
    """
    if not is_whole(seed) or seed < 0:
        raise FactvizError(f"seed={seed!r} can't begin draws: give a whole number, 0 or more")


def check_shares(**shares: Any) -> None:
    """Refuse what is no number from 0 to 1.

    Raises
    ------
    FactvizError
        With the name and the value.
    """
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
            raise FactvizError(f"{name}={value!r} is out of its range: give 0 to 1")
