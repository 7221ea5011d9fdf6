"""The same facts asked backwards: "B is A" after training on "A is B" (P1 point 12)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from factviz.analysis.grouped import GROUPS, GroupedParts, grouped_parts
from factviz.analysis.head_classes import PROJECTION
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance
from factviz.analysis.roles import RoleTokens, role_tokens
from factviz.facts import builtin
from factviz.facts.errors import FactvizError
from factviz.facts.fact import SLOT, Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.models.traced import Trace
from factviz.results.reversal import Reversal

PARTS = ("embedding", *(f"heads from {name} tokens" for name in GROUPS), "MLPs", "biases")
_ARTICLES = ("the ", "a ", "an ")


@torch.inference_mode()
def reversal(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    backward: str | Mapping[str, str] | Iterable[Fact] | None = None,
) -> Reversal:
    """Forward against backward recall of the same facts, with the attribution of both.

    No fact is left out for not being known: whether it is, is the question.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        The forward facts; without ``backward``, both directions.
    backward
        Facts that ask for the forward ones' subjects; a template with ``{subject}``, where the
        forward answer goes; or a template for each relation. Without it, the pairs among `facts`.

    Returns
    -------
    Reversal
        Facts for which there is no backward one are left out, and counted.

    Raises
    ------
    FactvizError
        If no fact has a backward one, a template has no slot, or the parts do not add up to the
        logits.

    References
    ----------
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321, argue that additive recall
    explains the reversal curse; they do not measure it.
    """
    found = as_facts(facts)
    pairs = _pairs(found, backward)
    if not pairs:
        raise FactvizError(
            f"no fact asks for the subject of another: {found[0].prompt[:80]!r} asks for "
            f"{found[0].answer!r}; give backward= facts, or a template such as '{found[0].answer} "
            "…' with {subject} in its place"
        )
    both = [fact for pair in pairs for fact in pair]
    tokens = role_tokens(model, both, controls=0)
    seen = _Seen(model, tokens)
    parts = grouped_parts(model, both, tokens, look=seen.look)
    dataset = _packed(pairs, parts, seen)
    dataset.attrs = {"single": isinstance(facts, Fact)}
    left = len(found) - len(pairs)
    if backward is None:
        left -= len(pairs)
    notes = [f"{left} of {len(found)} facts have no backward one: left out"] if left else []
    origin = provenance(
        model,
        tokens.prompts,
        kind=Reversal.kind,
        projection=PROJECTION,
        layer_norm="frozen",
        target="the answer of either direction at END" + before_cap(model),
        notes=[*notes, *tokens.notes],
        value_bias="out",
    )
    return Reversal(dataset, origin)


def _pairs(
    facts: Sequence[Fact], backward: str | Mapping[str, str] | Iterable[Fact] | None
) -> list[tuple[Fact, Fact]]:
    """Each forward fact with its backward one."""
    if isinstance(backward, (str, Mapping)):
        found: list[tuple[Fact, Fact]] = []
        templates: Any = backward
        for fact in facts:
            template = templates if isinstance(templates, str) else templates.get(fact.relation)
            if template is not None:
                found.append((fact, _turned(fact, template)))
        return found
    others = facts if backward is None else as_facts(backward)
    by_ends: dict[tuple[str, str], Fact] = {}
    for other in others:
        by_ends.setdefault((bare(other.answer), bare(other.subject)), other)
    pairs: list[tuple[Fact, Fact]] = []
    taken: set[int] = set()
    for fact in facts:
        other = by_ends.get((bare(fact.subject), bare(fact.answer)))
        if other is None or id(fact) in taken or other is fact:
            continue
        taken.add(id(other))
        pairs.append((fact, other))
    return pairs


def _turned(fact: Fact, template: str) -> Fact:
    """The backward fact of a template; an article is no answer."""
    if template.count(SLOT) != 1:
        raise FactvizError(f"template {template[:80]!r} must contain {SLOT} exactly once")
    words = fact.subject
    for article in _ARTICLES:
        if words.lower().startswith(article):
            words = words[len(article) :]
            break
    relation = f"{fact.relation} backwards" if fact.relation else ""
    prefix = builtin.prefix_of(template)
    return Fact.from_template(template, fact.answer, words, relation=relation, prefix=prefix)


def bare(text: str) -> str:
    """A name without its article and capitals: what both directions have in common."""
    lower = text.strip().casefold()
    for article in _ARTICLES:
        if lower.startswith(article):
            return lower[len(article) :]
    return lower


class _Seen:
    """P, rank and the top-1 of every prompt."""

    def __init__(self, model: FactModel, tokens: RoleTokens) -> None:
        self.model, self.tokens = model, tokens
        self.probability: dict[int, float] = {}
        self.top: dict[int, str] = {}

    def look(self, traced: Trace, batch: Sequence[int]) -> None:
        """Read one batch."""
        logits = traced.logits
        if cap := self.model.geometry.soft_cap:
            logits = cap * torch.tanh(logits / cap)
        shares = logits.double().softmax(-1)
        size, decode = len(self.model.tokenizer), self.model.tokenizer.decode
        for row, fact in enumerate(batch):
            self.probability[fact] = float(shares[row, self.tokens.ids[fact][0][0]])
            top = int(logits[row].argmax())
            self.top[fact] = decode([top]) if top < size else ""


def _packed(pairs: Sequence[tuple[Fact, Fact]], parts: GroupedParts, seen: _Seen) -> xr.Dataset:
    def paired(values: Any) -> np.ndarray:
        array = np.asarray(values)
        return array.reshape(len(pairs), 2, *array.shape[1:])

    heads = parts.heads[:, 0].sum((1, 2))  # [prompt, group]
    columns = [parts.embedding[:, 0], *heads.T, parts.mlps[:, 0].sum(1), parts.bias[:, 0]]
    both = [fact for pair in pairs for fact in pair]
    every = range(len(both))
    pair = ("fact", "direction")
    texts = {
        "asked": [fact.prompt for fact in both],
        "expected": [fact.answer for fact in both],
        "top": [seen.top[i] for i in every],
    }
    coords = fact_coordinates([first for first, _ in pairs]) | {
        "direction": np.array(["forward", "backward"], dtype=object),
        "part": np.array(PARTS, dtype=object),
    }
    coords |= {name: (pair, paired(np.array(t, dtype=object))) for name, t in texts.items()}
    data: dict[str, Any] = {
        "probability": (pair, paired([seen.probability[i] for i in every])),
        "rank": (pair, paired(parts.rank)),
        "logit": (pair, paired(parts.logits[:, 0]), {"units": "logits"}),
        "contribution": ((*pair, "part"), paired(np.stack(columns, 1)), {"units": "logits"}),
    }
    return xr.Dataset(data, coords=coords)
