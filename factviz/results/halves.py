"""Parts of facts that share no subject: choose or fit on some, judge on the others."""

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
    if len(set(subjects)) < 2:
        raise FactvizError(
            f"{len(set(subjects))} subject ({next(iter(subjects), '')!r}) can't be halved: give "
            "facts of two or more"
        )
    part = subject_folds(subjects, relations, 2, seed=seed)
    rows = [tuple(i for i, side in enumerate(part) if side == half) for half in (0, 1)]
    return rows[0], rows[1]


def subject_folds(
    subjects: Sequence[str], relations: Sequence[str], folds: int, *, seed: int = 0
) -> list[int]:
    """The fold of each fact, 0 to folds − 1; all facts of a subject are in one.

    Subjects are dealt out as by `subject_halves`.

    Raises
    ------
    FactvizError
        If there are fewer than two folds, or fewer subjects than folds.
    """
    kinds: dict[str, set[str]] = {}
    for subject, relation in zip(subjects, relations, strict=True):
        kinds.setdefault(subject, set()).add(relation)
    if not 2 <= folds <= len(kinds):
        raise FactvizError(
            f"folds={folds} can't be made of {len(kinds)} subjects: give 2 folds or more, and as "
            "many subjects at least"
        )
    rng = np.random.default_rng(seed)
    names = sorted(kinds)
    order = sorted(
        (sorted(kinds[names[i]]), rank, names[i])
        for rank, i in enumerate(rng.permutation(len(names)))
    )
    fold = {name: place % folds for place, (_, _, name) in enumerate(order)}
    return [fold[subject] for subject in subjects]
