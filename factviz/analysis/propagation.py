"""Relation tokens that may not read the subject: what their part of the logits loses (P1 point 8).

END→SUBJECT stays open, and END itself is not among the relation tokens here. The control closes as
many random keys.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from factviz.analysis.blocking import random_edges
from factviz.analysis.grouped import GROUPS, GroupedParts, grouped_parts
from factviz.analysis.roles import ROLES, RoleTokens
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel
from factviz.models.geometry import refusal
from factviz.models.interventions import BlockAttention
from factviz.models.runs import run
from factviz.models.traced import Edges, trace

_CLOSE = 1e-3  # of the largest logit: what the batched and the single run may differ by
_proven: weakref.WeakKeyDictionary[FactModel, str] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Propagation:
    """a − mean R from relation tokens [fact, layer, head], logits; NaN where nothing was tested."""

    blocked: Float[np.ndarray, "fact layer head"]
    random: Float[np.ndarray, "fact layer head"]
    notes: list[str]


def preference(parts: GroupedParts) -> Float[np.ndarray, "fact layer head"]:
    """A − mean R from relation tokens, END among them; NaN for a fact without R."""
    relation = parts.heads[..., GROUPS.index("relation")]
    return relation[:, ROLES.index("answer")] - relation[:, ROLES.index("same_relation")]


def block_propagation(
    model: FactModel, facts: Sequence[Fact], tokens: RoleTokens, *, most: int, seed: int
) -> Propagation:
    """Block RELATION→SUBJECT, or as many random keys, and read the preference again.

    Parameters
    ----------
    model : FactModel
    facts : sequence of Fact
    tokens : RoleTokens
        Of these facts.
    most : int
        Facts that are run, drawn at random from those with R and a relation token that sees the
        subject.
    seed : int

    Raises
    ------
    FactvizError
        If the model does not take the blocked edges (measured on one prompt, against the engine of
        interventions).
    """
    rows = tokens.prompts
    edges = [subject_edges(row) for row in rows]
    able = [i for i, some in enumerate(edges) if some and tokens.ids[i][2]]
    shape = (len(facts), model.n_layers, model.n_heads)
    found = Propagation(np.full(shape, np.nan), np.full(shape, np.nan), [])
    if not most or not able:
        why = "was not asked for" if able else "has no fact to test: none has R and a relation " \
            "token behind the subject"  # fmt: skip
        found.notes.append(f"RELATION→SUBJECT {why}")
        return found
    able.sort(key=lambda i: (facts[i].subject, facts[i].prompt))
    rng = np.random.default_rng(seed)
    chosen = sorted(able[i] for i in rng.permutation(len(able))[:most])
    if len(chosen) < len(facts):
        found.notes.append(f"RELATION→SUBJECT was blocked in {len(chosen)} of {len(facts)} facts")
    drawn = [_random(rows[i], facts[i], edges[i], seed) for i in chosen]
    there = [place for place, one in enumerate(drawn) if one]
    # Both ways of blocking in one batch; O is not read here.
    twice = [*chosen, *(chosen[place] for place in there)]
    both, its = [facts[i] for i in twice], tokens.take(twice).without_controls()
    blocked = [*(edges[i] for i in chosen), *(drawn[place] for place in there)]
    _prove(model, both[0], blocked[0])
    read = preference(grouped_parts(model, both, its, blocked=blocked))
    found.blocked[chosen] = read[: len(chosen)]
    found.random[[chosen[place] for place in there]] = read[len(chosen) :]
    return found


def subject_edges(row: PromptTokens) -> list[tuple[int, int]]:
    """RELATION→SUBJECT: from relation tokens, END not among them, back to the subject."""
    relation, subject = row.groups["relation"], row.groups["subject"]
    return [(query, key) for query in relation for key in subject if key < query]


def _random(row: PromptTokens, fact: Fact, edges: Edges, seed: int) -> list[tuple[int, int]]:
    """As many random edges; the draw hangs on the prompt, not on the fact's place."""
    rng = np.random.default_rng([seed, *fact.prompt.encode()])
    queries = sorted({query for query, _ in edges})
    drawn = random_edges(row, queries, row.groups["subject"], (0,), rng)
    return [(q, k) for block in drawn for q in block.queries for k in block.keys]


def _prove(model: FactModel, fact: Fact, edges: Edges) -> None:
    """Refuse a model that reads blocked edges otherwise in a batch than the engine does.

    Measured on one prompt, once while the weights stay.
    """
    weights = model.weight_hash
    if _proven.get(model) == weights:
        return
    layers = range(model.n_layers)
    variant = [
        BlockAttention([query], [k for q, k in edges if q == query], layers)
        for query in sorted({query for query, _ in edges})
    ]
    wanted = run(model, fact, [variant], allow_idle=True).logits[0]
    found = trace(model, fact, blocked=[edges]).logits[0]
    if cap := model.geometry.soft_cap:
        found = cap * torch.tanh(found / cap)
    gap = float((found - wanted).abs().max())
    exact = model.dtype in (torch.float32, torch.float64)
    if gap > (_CLOSE if exact else 30 * _CLOSE) * max(1.0, float(wanted.abs().max())):
        raise refusal(
            model.architecture,
            f"blocked attention edges give other logits in a batch (off by {gap:.2g})",
        )
    _proven[model] = weights
