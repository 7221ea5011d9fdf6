"""Zero- against few-shot, side by side: recall, and the layer at which movers start (P2 item 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from factviz.analysis.attribution import check_finite, checked_sum
from factviz.analysis.controls import random_positions
from factviz.analysis.decomposition import Parts, split_logits
from factviz.analysis.experiments import read_logits
from factviz.analysis.grouped import chunks
from factviz.analysis.head_classes import PROJECTION
from factviz.analysis.outcomes import Prompts, answer_id, generators, read_prompts
from factviz.analysis.partial import kept_on_interrupt, progress
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance
from factviz.analysis.topics import read_topics, topic_ids
from factviz.facts.checks import check_seed, is_whole
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import FactSet, as_facts
from factviz.facts.topics import topic
from factviz.models.factmodel import FactModel, check_model
from factviz.models.traced import Trace, trace
from factviz.results.shot_comparison import MEASURES, ShotComparison

_NAMES = tuple(f"{name}{end}" for name in MEASURES for end in ("", "_control"))


@torch.inference_mode()
def compare_shots(
    model: FactModel,
    facts: Iterable[Fact],
    *,
    counts: Iterable[int] = (0, 1, 2),
    among: Iterable[Fact] | None = None,
    controls: int = 3,
    seed: int = 0,
) -> ShotComparison:
    """Ask the same facts behind so many others of their relation, and see what changes.

    Recall, and by layer what heads write at END of the answer and of the topic, and END's attention
    to the topic: each beside a control, so that the layer at which heads start to move the topic
    or the answer shows (`ShotComparison.onsets`). With shots the other facts' topics and answers
    stand in the prompt too; what is followed is the question's.

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
        Of two subjects or more, each made from a template (`Fact.from_template`). All are kept,
        known or not.
    counts : iterable of int
        Numbers of shots; gains are over the smallest.
    among : iterable of Fact, optional
        Facts to draw shots and controls from; these without it.
    controls : int
        Other facts of the relation, with other topics and answers and not among the shots, whose
        answers and topics are the control; and draws of as many random positions as the topic has.
        The same for every number of shots.
    seed : int
        Of shots and controls.

    Returns
    -------
    ShotComparison

    Raises
    ------
    FactvizError
        If a number of shots is below 0 or more than there are other subjects, the facts are of one
        subject, a fact has no template or is too long with shots, or the parts do not add up.

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521.
    """
    check_model(model)
    check_seed(seed)
    found = FactSet(as_facts(facts))
    numbers = _counts(counts)
    if not is_whole(controls) or controls < 1:
        raise FactvizError(f"controls={controls!r} facts can't be drawn: 1 or more")
    _check_subjects(found)
    pool = found if among is None else FactSet(as_facts(among))
    asked = [
        read_prompts(model, found.with_shots(count, among=pool, seed=seed)) for count in numbers
    ]
    others, notes = _others(found, pool, asked, controls, seed)
    said = _said(model, controls, seed, notes)
    runs: list[dict[str, np.ndarray]] = []

    def packed() -> ShotComparison | None:
        done = len(runs)
        return _packed(asked[:done], numbers[:done], runs, said) if runs else None

    with kept_on_interrupt(packed):
        for prompts in progress(asked, "compare shots"):
            measured = _measure(prompts, model, others, controls, seed)
            runs.append(measured)
    result = packed()
    assert result is not None
    return result


def _said(model: FactModel, controls: int, seed: int, notes: Sequence[str]) -> dict[str, Any]:
    """What the provenance says beside prompts and numbers of shots."""
    return {
        "kind": ShotComparison.kind,
        "projection": f"heads: {PROJECTION}; recall: the model's own logits",
        "layer_norm": "frozen",
        "target": "centred logits at END of the answer, and of the topic's tokens (their mean)"
        + before_cap(model),
        "notes": notes,
        "value_bias": "out",
        "seed": seed,
        "control": f"answers and topics of {controls} other facts of the relation (not among the "
        "shots, as far as there are others); as many random positions as the topic has",
    }


def _counts(counts: Iterable[int]) -> list[int]:
    asked: Any = counts
    found: list[Any] = list(asked) if isinstance(asked, Iterable) else [asked]
    for count in found:
        if not is_whole(count) or count < 0:
            raise FactvizError(f"{count!r} shots can't be given: whole numbers from 0 on")
    if not found:
        raise FactvizError("no numbers of shots were given: counts=(0, 1, 2), say")
    return sorted({int(count) for count in found})


def _check_subjects(facts: Sequence[Fact]) -> None:
    subjects = {fact.subject for fact in facts}
    if len(subjects) < 2:
        raise FactvizError(
            f"the {len(facts)} facts are of 1 subject ({next(iter(subjects))!r}): give facts of "
            "two or more, for shots, controls and intervals"
        )


def _others(
    facts: Sequence[Fact], pool: Sequence[Fact], asked: Sequence[Prompts], count: int, seed: int
) -> tuple[list[list[Fact]], list[str]]:
    """Each fact's control facts, the same for every number of shots."""
    found: list[list[Fact]] = []
    shown = bare = 0
    for number, (fact, rng) in enumerate(zip(facts, generators(len(facts), seed), strict=True)):
        there = [
            one
            for one in dict.fromkeys(pool)
            if one.relation == fact.relation
            and topic(one) != topic(fact)
            and one.answer != fact.answer
        ]
        prompts = [one.facts[number].prompt for one in asked]
        fresh = [one for one in there if not any(_stands(one, text) for text in prompts)]
        shown += bool(there) and not fresh
        bare += not there
        some = fresh or there
        found.append([some[i] for i in rng.permutation(len(some))[:count]])
    notes: list[str] = []
    if shown:
        notes.append(f"{shown} facts have no control that is not among their shots")
    if bare:
        notes.append(f"{bare} facts have no control: no other topic and answer in their relation")
    return found, notes


def _stands(other: Fact, prompt: str) -> bool:
    """Whether a fact is one of a prompt's shots."""
    return f"{other.subject}" in prompt and f"{other.answer}." in prompt


def _measure(
    prompts: Prompts,
    model: FactModel,
    others: Sequence[Sequence[Fact]],
    controls: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """One number of shots: [measure] of [fact, layer, head], and recall [3, fact]."""
    shape = (len(prompts.facts), model.n_layers, model.n_heads)
    found = {name: np.full(shape, np.nan) for name in _NAMES}
    recall = np.zeros((3, shape[0]))
    rngs = generators(shape[0], seed + 1)
    for batch in chunks(model, prompts.facts, prompts.tokens):
        tokens = [prompts.tokens[i] for i in batch]
        traced = trace(model, [prompts.facts[i] for i in batch], tokens=tokens)
        ids = [_ids(model, prompts, i, others[i]) for i in batch]
        parts = split_logits(traced, [[one for some in row for one in some] for row in ids])
        for row, fact in enumerate(batch):
            check_finite(traced, row)
            checked_sum(model, parts[row].residual(), parts[row].size())
            read = _attended(traced, row, rngs[fact], controls)
            measured = [*_writes(parts[row], ids[row]), *read]
            for name, values in zip(_NAMES, measured, strict=True):
                found[name][fact] = values
            recall[:, fact] = _recalled(model, traced, row, ids[row][0][0])
    return found | {"recall": recall}


def _ids(model: FactModel, prompts: Prompts, fact: int, others: Sequence[Fact]) -> list[list[int]]:
    """Tokens of the answer, of other answers, of the topic and of other topics."""
    one = prompts.facts[fact]
    answer, own = answer_id(model, one), topic_ids(model, one)
    answers = [token for other in others if (token := answer_id(model, other)) != answer]
    topics = [token for other in others for token in topic_ids(model, other) if token not in own]
    return [[answer], answers, own, topics]


def _writes(parts: Parts, ids: Sequence[Sequence[int]]) -> list[Float[np.ndarray, "layer head"]]:
    """The mean over each set of tokens of what heads wrote from all sources; NaN for none."""
    heads = parts.heads.sum(-1).double().cpu().numpy()
    edges = np.cumsum([0, *map(len, ids)])
    return [
        heads[a:b].mean(0) if b > a else np.full(heads.shape[1:], np.nan)
        for a, b in pairwise(edges.tolist())
    ]


def _attended(
    traced: Trace, row: int, rng: np.random.Generator, controls: int
) -> tuple[Float[np.ndarray, "layer head"], Float[np.ndarray, "layer head"]]:
    """END's attention to the topic, and to as many random positions; NaN where there are none."""
    one, tokens = traced.facts[row], traced.tokens[row]
    own = read_topics(traced.model, [one]).positions[0]
    pattern = traced.pattern[row].double().cpu().numpy()  # [layer, head, source]
    mass = pattern[..., list(own)].sum(-1)
    drawn = [random_positions(tokens, own, len(own), rng) for _ in range(controls)]
    kept = [pattern[..., list(some)].sum(-1) for some in drawn if some]
    return mass, np.mean(kept, axis=0) if kept else np.full_like(mass, np.nan)


def _recalled(
    model: FactModel, traced: Trace, row: int, answer: int
) -> Float[np.ndarray, " measure"]:
    """Probability, centred logit and rank of the answer, as the model gives them."""
    logits = traced.logits[row : row + 1]
    if cap := model.geometry.soft_cap:
        logits = cap * torch.tanh(logits / cap)
    return read_logits(logits, answer, None)[:3, 0]


def _packed(
    asked: Sequence[Prompts],
    numbers: Sequence[int],
    runs: Sequence[dict[str, np.ndarray]],
    said: dict[str, Any],
) -> ShotComparison:
    """The numbers of shots that have run, labelled."""
    model, facts = asked[0].model, asked[0].facts
    pair, heads = ("fact", "shots"), ("fact", "shots", "layer", "head")
    units = {"attention": "fraction", "attention_control": "fraction"}
    data: dict[str, Any] = {}
    for name in _NAMES:
        values = np.stack([run[name] for run in runs], 1)
        data[name] = (heads, values, {"units": units.get(name, "logits")})
    recall = np.stack([run["recall"] for run in runs], 2)
    for name, values in zip(("probability", "logit", "rank"), recall, strict=True):
        data[name] = (pair, values)
    prompts = np.array([[one.facts[i].prompt for one in asked] for i in range(len(facts))], object)
    coords = fact_coordinates(facts) | {
        "shots": np.array(numbers),
        "layer": np.arange(model.n_layers),
        "head": np.arange(model.n_heads),
        "asked": (pair, prompts),
    }
    dataset = xr.Dataset(data, coords=coords, attrs={"single": False})
    tokens = [row for prompts in asked for row in prompts.tokens]
    return ShotComparison(dataset, provenance(model, tokens, shots=list(numbers), **said))
