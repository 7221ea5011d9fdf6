"""How well an embedded model recalls: top-1, P(answer) and calibration, with intervals."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from factviz.analysis.outcomes import answer_id
from factviz.facts import experiments
from factviz.facts.draws import fraction
from factviz.facts.fact import Fact
from factviz.facts.factset import FactSet, asked
from factviz.models.factmodel import FactModel
from factviz.models.mini import splits
from factviz.results.calibration import calibration_error
from factviz.results.resampling import subject_bands

MOST = 3000
"""Pairs of each kind that are asked: more would narrow intervals that are narrow already."""


@dataclass(frozen=True)
class Asked:
    """What a model gave to facts [fact].

    ``right``: the answer is the most probable token (0 or 1); ``answer``: its probability; ``top``
    and ``top_ids``: the most probable token's probability, and that token.
    """

    facts: Sequence[Fact]
    right: Float[np.ndarray, " fact"]
    answer: Float[np.ndarray, " fact"]
    top: Float[np.ndarray, " fact"]
    top_ids: Sequence[int]


def half_of(subject: str) -> str:
    """Which half of the subjects this one belongs to: "choosing" or "judging"."""
    return "choosing" if fraction("half", subject) < 0.5 else "judging"


def in_half(facts: FactSet, half: str) -> FactSet:
    """The facts whose subjects belong to a half; S and R stay those of the whole set."""
    return FactSet(fact for fact in facts if half_of(fact.subject) == half)


def ask(model: FactModel, facts: Iterable[Fact]) -> Asked:
    """Ask facts, in batches."""
    found = list(facts)
    ids = torch.tensor([answer_id(model, fact) for fact in found])
    answer, top = np.zeros(len(found)), np.zeros(len(found))
    top_ids = np.zeros(len(found), dtype=int)
    for rows, logits in model.end_logits(found):
        probabilities = logits.double().softmax(-1).cpu()
        answer[rows] = probabilities.gather(1, ids[rows][:, None])[:, 0].numpy()
        top[rows], top_ids[rows] = (best.numpy() for best in probabilities.max(-1))
    right = (top_ids == ids.numpy()).astype(np.float64)
    return Asked(found, right, answer, top, top_ids.tolist())


def measure_recall(model: FactModel, facts: Iterable[Fact], *, seed: int = 0) -> dict[str, Any]:
    """Top-1 and P(answer), macro-averaged over relations, each with a 95 % interval over subjects.

    Returns
    -------
    dict
        facts, subjects (how many); top1 and probability: [mean, low, high], fractions; by_relation:
        top-1; ece: expected calibration error of the top token, bins of equal mass.
    """
    gave = ask(model, facts)
    relations = [fact.relation for fact in gave.facts]
    return {
        "facts": len(gave.facts),
        "subjects": len({fact.subject for fact in gave.facts}),
        "top1": band(gave.facts, gave.right, seed=seed),
        "probability": band(gave.facts, gave.answer, seed=seed),
        "ece": round(calibration_error(gave.top, gave.right), 4),
        "by_relation": {
            name: round(float(gave.right[[r == name for r in relations]].mean()), 4)
            for name in sorted(set(relations))
        },
    }


def band(
    facts: Sequence[Fact], values: Float[np.ndarray, " fact"], *, seed: int = 0
) -> list[float]:
    """Mean, low and high of a value over facts: macro-averaged, bootstrap by subject."""
    subjects, relations = [f.subject for f in facts], [f.relation for f in facts]
    found = subject_bands(values, subjects, relations, seed=seed)
    return [round(float(number), 4) for number in found]


def pairs_of(name: str, half: str, *, seed: int = 0) -> list[Fact]:
    """A sample of pairs as facts: "held-out pairs", "unseen wordings" or "lists"."""
    kinds = {
        "held-out pairs": splits.held_out_pairs,
        "unseen wordings": splits.unseen_pairs,
        "lists": splits.listed_pairs,
    }
    pairs = [pair for pair in kinds[name]() if half_of(pair.row.subject) == half]
    drawn = random.Random(seed).sample(pairs, min(MOST, len(pairs)))
    return [asked(pair.row, pair.template) for pair in drawn]


def measure_experiments(model: FactModel, half: str, *, seed: int = 0) -> dict[str, Any]:
    """Recall on each built-in experiment.

    Numeric facts also have how far off wrong years are, conflicting ones P of the other answer.
    """
    found: dict[str, Any] = {}
    for name, every in experiments.parts().items():
        facts = in_half(FactSet.builtin(name), half)
        found[name] = measure_recall(model, facts, seed=seed)
        if name.startswith("conflict"):
            rivals_of = {row.subject: experiments.rival(row) for row in every}
            rivals = [fact.replace(answer=rivals_of[fact.subject]) for fact in facts]
            found[name]["rival"] = band(rivals, ask(model, rivals).answer, seed=seed)
    found["numeric"]["years"] = _years_off(model, in_half(FactSet.builtin("numeric"), half))
    return found


def _years_off(model: FactModel, facts: FactSet) -> dict[str, Any]:
    """Of the wrong top answers: how many are years, and how far they are off, the median."""
    gave = ask(model, facts)
    wrong = [i for i, right in enumerate(gave.right) if not right]
    said = {i: model.tokenizer.decode([gave.top_ids[i]]).strip() for i in wrong}
    off = [abs(int(said[i]) - int(facts[i].answer)) for i in wrong if said[i].isdecimal()]
    return {
        "wrong": len(wrong),
        "are_years": len(off),
        "off": float(np.median(off)) if off else None,
    }
