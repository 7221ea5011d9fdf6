"""Which class a head belongs to (arXiv 2402.07321): a rule on mean DLA, told in one place.

Everything it needs are means and the lower ends of their intervals, so that another threshold
costs nothing.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from factviz.facts.errors import FactvizError

CLASSES = ("subject", "relation", "mixed", "suppressing", "unclassified")
LEAST = 0.1  # logits from subject and relation together, for a head to have a class
SHARE = 0.01  # of all heads' |DLA|
WITHIN = 0.5  # of the head's own |DLA| that is read from subject and relation
MIXED = 0.05  # logits from each of the two, for a mixed head

RULE = (
    "s and r: mean DLA on the answer from subject and from relation tokens (with END); a head has "
    f"a class if |s| + |r| is at least {LEAST:g} logits, {SHARE:.0%} of all heads' |DLA| and half "
    "of its own; subject: s > 0 and s ≥ τ|r|; relation: r > 0 and r ≥ τ|s|; mixed: both ≥ "
    f"{MIXED:g} logits with intervals above 0, ratio inside; suppressing: s + r < 0"
)


def check_threshold(threshold: Any) -> float:
    """The threshold as a number.

    Raises
    ------
    FactvizError
        If it is none above 1.
    """
    wrong = isinstance(threshold, bool) or not isinstance(threshold, (Real, np.number))
    if wrong or not 1 < float(threshold) < math.inf:
        raise FactvizError(
            f"threshold={threshold!r} is no ratio that tells subject from relation heads: give a "
            "number above 1, such as 10 or 3"
        )
    return float(threshold)


def sizes(
    subject: Float[np.ndarray, "*heads"],
    relation: Float[np.ndarray, "*heads"],
    other: Float[np.ndarray, "*heads"],
) -> Float[np.ndarray, "*heads"]:
    """|DLA| of a head: over the three source groups, so that they cannot cancel, logits."""
    return np.abs(subject) + np.abs(relation) + np.abs(other)


def eligible(
    subject: Float[np.ndarray, "*n layer head"],
    relation: Float[np.ndarray, "*n layer head"],
    other: Float[np.ndarray, "*n layer head"],
) -> Bool[np.ndarray, "*n layer head"]:
    """Heads large enough to have a class, and not made of BOS and the like."""
    size = sizes(subject, relation, other)
    total = size.sum((-2, -1), keepdims=True)
    both = np.abs(subject) + np.abs(relation)
    return (both >= np.maximum(LEAST, SHARE * total)) & (both >= WITHIN * size)


def classes(
    subject: Float[np.ndarray, "*n layer head"],
    relation: Float[np.ndarray, "*n layer head"],
    *,
    able: Bool[np.ndarray, "*n layer head"],
    above: Bool[np.ndarray, "*n layer head"],
    threshold: float,
) -> np.ndarray:
    """The class of every head, as text.

    Parameters
    ----------
    subject, relation : [..., layer, head]
        Mean DLA on the answer, logits.
    able
        Which heads are `eligible`.
    above
        Where both intervals lie above 0.
    threshold : float
        τ.
    """
    ratio = (np.abs(subject) < threshold * np.abs(relation)) & (
        np.abs(relation) < threshold * np.abs(subject)
    )
    found = np.full(subject.shape, "unclassified", dtype=object)
    found[able & (subject + relation < 0)] = "suppressing"
    mixed = (subject >= MIXED) & (relation >= MIXED) & above & ratio
    found[able & mixed] = "mixed"
    found[able & (subject > 0) & (subject >= threshold * np.abs(relation))] = "subject"
    found[able & (relation > 0) & (relation >= threshold * np.abs(subject))] = "relation"
    return found
