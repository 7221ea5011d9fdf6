"""What the heads of many facts read at END, and what they write of topics and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from factviz.analysis.copying import TopicValues
from factviz.analysis.directions import Directions
from factviz.analysis.head_reads import head_projections, source_members, write_norms
from factviz.analysis.roles import RoleTokens, role_directions
from factviz.analysis.topics import Topics
from factviz.facts.fact import Fact
from factviz.models.traced import Trace
from factviz.results.movers import DIRECTIONS

Ids = list[tuple[int, ...]]


def direction_tokens(facts: Sequence[Fact], topics: Sequence[int], tokens: RoleTokens) -> list[Ids]:
    """The tokens of `DIRECTIONS` by fact: X, other topics, Y, other answers (R).

    Other topics are those of the relation; where it has none, those of all facts.
    """
    of_relation: dict[str, set[int]] = {}
    for fact, token in zip(facts, topics, strict=True):
        of_relation.setdefault(fact.relation, set()).add(token)
    every = set(topics)
    found: list[Ids] = []
    for fact, token, roles in zip(facts, topics, tokens.ids, strict=True):
        others = of_relation[fact.relation] - {token} or every - {token}
        found.append([(token,), tuple(sorted(others)), roles[0], roles[2]])
    return found


class TopicReads:
    """Collects attention, weighted attention and writes, batch by batch."""

    def __init__(
        self, topics: Topics, ids: Sequence[Ids], tokens: RoleTokens, values: TopicValues
    ) -> None:
        self.topics, self.tokens, self.values = topics, tokens, values
        self._ids = ids
        self._facts: list[int] = []
        self._parts: list[list[np.ndarray]] = []

    def look(self, traced: Trace, batch: Sequence[int]) -> None:
        """Read one batch."""
        some = list(batch)
        self.values.look(traced, some)
        tokens = replace(self.tokens.take(some), ids=[self._ids[fact] for fact in some])
        member = source_members(traced, [self.topics.positions[fact] for fact in some])
        with traced.model.lock:  # nobody changes weights meanwhile
            directions = role_directions(traced.model, tokens)
            layers = [
                _layer(traced, layer, member, directions) for layer in range(traced.model.n_layers)
            ]
        self._facts += some
        parts = zip(*layers, strict=True)
        self._parts.append([torch.stack(part, 2).cpu().numpy() for part in parts])

    def joined(self) -> list[np.ndarray]:
        """Attention and weighted attention [fact, group, layer, head], writes [fact, direction, …].

        Facts are in their own order.
        """
        back = np.argsort(self._facts)
        return [np.concatenate(part)[back] for part in zip(*self._parts, strict=True)]


def _layer(
    traced: Trace, layer: int, member: Tensor, directions: Directions
) -> tuple[Tensor, Tensor, Tensor]:
    pattern = traced.pattern[:, layer].to(member)
    long = pattern * write_norms(traced, layer).to(member)
    seen, weighted = (torch.einsum("fhs,fsg->fgh", w, member) for w in (pattern, long))
    return seen, weighted, head_projections(traced, layer, directions, len(DIRECTIONS))
