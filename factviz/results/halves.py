"""Two halves of facts that share no subject: choose on one, judge on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from factviz.facts.errors import FactvizError


def subject_halves(
    subjects: Sequence[str], relations: Sequence[str], *, seed: int = 0
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of the facts of either half.

    Subjects are dealt out at random, those with the same relations in turn, so that both halves
    have facts of every relation as far as there are two subjects. The order of the facts does not
    matter.

    Parameters
    ----------
    subjects, relations : [fact]
    seed : int

    Raises
    ------
    FactvizError
        If there are fewer than two subjects.
    """
    kinds: dict[str, set[str]] = {}
    for subject, relation in zip(subjects, relations, strict=True):
        kinds.setdefault(subject, set()).add(relation)
    if len(kinds) < 2:
        raise FactvizError(
            f"{len(kinds)} subject ({next(iter(kinds), '')!r}) can't be halved: give facts of two "
            "or more"
        )
    rng = np.random.default_rng(seed)
    names = sorted(kinds)
    order = sorted(
        (sorted(kinds[names[i]]), rank, names[i])
        for rank, i in enumerate(rng.permutation(len(names)))
    )
    half = {name: place % 2 for place, (_, _, name) in enumerate(order)}
    rows = [tuple(i for i, s in enumerate(subjects) if half[s] == side) for side in (0, 1)]
    return rows[0], rows[1]
