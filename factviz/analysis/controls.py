"""Controls drawn at random: as many positions, none of them of the set that is tested."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np

from factviz.facts.errors import FactvizError
from factviz.facts.tokens import PromptTokens


def check_draws(draws: int) -> None:
    """Refuse a number of control draws below 0, or one that is no whole number."""
    if not isinstance(draws, Integral) or draws < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise FactvizError(f"controls={draws!r} draws can't be made: give 0 (none) or more")


def random_positions(
    row: PromptTokens,
    avoid: Sequence[int],
    size: int,
    rng: np.random.Generator,
    *,
    overlap: bool = False,
) -> tuple[int, ...]:
    """As many positions at random, outside a set.

    BOS, an attention sink in many models, and END are drawn only where the others do not suffice.

    Parameters
    ----------
    row : PromptTokens
    avoid : sequence of int
        The set that the draw is compared with.
    size : int
    rng : numpy Generator
    overlap : bool
        Where too few positions are outside, draw from all; the draw still differs from the set.

    Returns
    -------
    tuple of int
        In order; empty where no such draw exists.
    """
    length = len(row)
    special = {length - 1, *row.groups["bos"]}
    others = [p for p in range(length) if p not in avoid]
    inner = [p for p in others if p not in special]
    pools = [inner, others, *([list(range(length))] if overlap else [])]
    for pool in pools:
        if len(pool) < size or set(pool) == set(avoid):
            continue
        while True:
            drawn = tuple(sorted(rng.choice(pool, size, replace=False).tolist()))
            if drawn != tuple(sorted(avoid)):
                return drawn
    return ()
