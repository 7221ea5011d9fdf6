"""Parts of facts that share no subject: choose or fit on some, judge on the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int

from factviz.facts.checks import check_seed, is_whole
from factviz.facts.errors import FactvizError

HALVES = ("first", "second")
SAMPLES = ("all", *HALVES)
"""All facts, and either half of their subjects."""


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
    check_seed(seed)
    kinds: dict[str, set[str]] = {}
    for subject, relation in zip(subjects, relations, strict=True):
        kinds.setdefault(subject, set()).add(relation)
    if not is_whole(folds) or not 2 <= folds <= len(kinds):
        raise FactvizError(
            f"folds={folds!r} can't be made of {len(kinds)} subjects: give 2 folds or more, and as "
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


def sample_rows(
    subjects: Sequence[str], relations: Sequence[str], *, seed: int = 0
) -> dict[str, Int[np.ndarray, " own"]]:
    """The numbers of the facts of each of `SAMPLES`.

    Raises
    ------
    FactvizError
        If there are fewer than two subjects.
    """
    halves = subject_halves(subjects, relations, seed=seed)
    whole = np.arange(len(subjects))
    return {"all": whole} | {n: np.array(h) for n, h in zip(HALVES, halves, strict=True)}


def cross_fit(
    holds: Callable[[str, Bool[np.ndarray, " n"] | None], Bool[np.ndarray, " n"]],
) -> tuple[Bool[np.ndarray, "half n"], Bool[np.ndarray, "half n"]]:
    """What a rule chooses on each half, and what of that holds on the other half.

    Parameters
    ----------
    holds
        ``holds(half, among)``: which parts the rule holds for on a half; ``among`` are those that
        are judged (None while choosing: all), for a correction for how many they are.

    Returns
    -------
    chosen, held : [half, n]
        Row i: chosen on half i; of these, what holds on the other half.
    """
    chosen = np.stack([holds(half, None) for half in HALVES])
    held = np.zeros_like(chosen)
    for row, other in enumerate(reversed(HALVES)):
        if chosen[row].any():
            held[row] = holds(other, chosen[row]) & chosen[row]
    return chosen, held
