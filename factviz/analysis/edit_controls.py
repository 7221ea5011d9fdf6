"""Which heads an edit is compared with: random others, edited as far as it takes to change as much.

A head that hardly reads the topic, or whose weights are small, would be hurt less by any edit: so
what is compared is edits of one size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.components import Component, random_like
from factviz.analysis.grouped import chunks
from factviz.analysis.head_editing import Plan
from factviz.analysis.outcomes import Prompts
from factviz.analysis.writes import head_write
from factviz.facts.errors import FactvizError
from factviz.models.traced import trace

Match = Literal["weights", "output"]
Heads = tuple[tuple[int, int, float], ...]
"""Heads edited at once: layer, head, and how far."""
SIZES = {
    "weights": "‖ΔW_OV‖_F, of the weights as stored",
    "output": "the change of what the head adds to the residual stream at END, root mean square "
    "over the facts",
}
_TRIES = 20


@dataclass(frozen=True)
class Run:
    """One state of the model: clean ("base"), edited, or a control's."""

    variant: str
    name: str = ""
    draw: int = -1
    heads: Heads = ()
    size: float = 0.0

    @property
    def amount(self) -> float:
        """How far the edit of the head that went farthest went."""
        return max((amount for _, _, amount in self.heads), default=0.0)

    @property
    def told(self) -> str:
        """The heads, by name."""
        return ", ".join(f"L{layer}H{head}" for layer, head, _ in self.heads)


@dataclass
class Sizes:
    """How much the whole edit of any head changes; measured when first asked for."""

    prompts: Prompts
    plan: Plan
    match: Match
    found: dict[Component, float] = field(default_factory=dict[Component, float])
    clean: dict[Component, Tensor] = field(default_factory=dict[Component, Tensor])

    def of(self, head: Component) -> float:
        """The size of the edit of a head.

        Raises
        ------
        FactvizError
            If it can't be made, or changes nothing.
        """
        if head not in self.found:
            before = self._writes(head) if self.match == "output" else None
            with self.plan.applied(self.prompts.model, [(head.layer, head.head, 1.0)]) as made:
                self.found[head] = made[0].size
                if before is not None:
                    apart = (self._writes(head) - before).double()
                    self.found[head] = float(apart.square().sum(1).mean().sqrt())
        return self.found[head]

    def maybe(self, head: Component) -> float:
        """The same; 0 where the head can't be edited so."""
        try:
            return self.of(head)
        except FactvizError:
            return 0.0

    def _writes(self, head: Component) -> Float[Tensor, "fact d_model"]:
        """What the head adds to the stream at END, fact by fact in one order."""
        its = self.prompts
        parts = [
            head_write(
                trace(
                    its.model, [its.facts[i] for i in some], tokens=[its.tokens[i] for i in some]
                ),
                head.layer,
                head.head,
            )
            for some in chunks(its.model, its.facts, its.tokens)
        ]
        return torch.cat(parts)


def planned_runs(
    sizes: Sizes,
    sets: Mapping[str, Sequence[Component]],
    controls: int,
    rng: np.random.Generator,
) -> list[Run]:
    """The clean run, the edits, then the control draws of each."""
    named = {head for some in sets.values() for head in some}
    effects: list[Run] = []
    drawn: list[Run] = []
    for name, some in sets.items():
        if sizes.plan.swap is not None and len(some) > 1:
            raise FactvizError(
                f"{name!r} holds {len(some)} heads, and a swap has one and its partner: "
                "separately=True makes one run of each"
            )
        heads = tuple((one.layer, one.head, 1.0) for one in some)
        size = _together([sizes.of(one) for one in some])
        effects.append(Run("intervened", name, heads=heads, size=size))
        if not size:
            raise FactvizError(f"{name}: the edit changes nothing: {SIZES[sizes.match]} is 0")
        if controls:
            draws = _draws(sizes, some, named, controls, rng)
            drawn += _controls(sizes, name, draws, controls)
    return [Run("base"), *effects, *drawn]


def _together(sizes: Iterable[float]) -> float:
    return float(np.linalg.norm(list(sizes)))


def _draws(
    sizes: Sizes,
    some: Sequence[Component],
    named: set[Component],
    count: int,
    rng: np.random.Generator,
) -> list[Heads]:
    """Control heads with how far each is edited; fewer than asked for where there are no more."""
    if sizes.plan.swap is not None:
        return _nearest(sizes, some[0], named, count)
    return [heads for _ in range(count) if (heads := _rescaled(sizes, some, named, rng))]


def _controls(sizes: Sizes, name: str, draws: Sequence[Heads], count: int) -> list[Run]:
    if len(draws) < count:
        model = sizes.prompts.model
        raise FactvizError(
            f"{name}: {len(draws)} of {count} controls can be drawn, as {model.name} has "
            f"{model.n_layers} × {model.n_heads} heads, and others than those named must be able "
            "to take the edit: name fewer heads, or fewer controls (controls=0 for none)"
        )
    return [
        Run(
            "control",
            name,
            draw,
            heads,
            _together(a * sizes.of(Component("head", i, h)) for i, h, a in heads),
        )
        for draw, heads in enumerate(draws)
    ]


def _rescaled(
    sizes: Sizes, some: Sequence[Component], named: set[Component], rng: np.random.Generator
) -> Heads:
    """Random heads, each edited as far as its counterpart's change is large; () for none."""
    model = sizes.prompts.model
    for _ in range(_TRIES):
        # Others than all that are named, as long as there are enough.
        drawn = random_like(model, some, rng, avoid=named) or random_like(model, some, rng)
        if drawn is None:
            return ()
        amounts = [
            (sizes.of(one), sizes.maybe(other)) for one, other in zip(some, drawn, strict=True)
        ]
        if all(there for _, there in amounts):
            pairs = zip(drawn, amounts, strict=True)
            return tuple((one.layer, one.head, here / there) for one, (here, there) in pairs)
    return ()


def _nearest(sizes: Sizes, one: Component, named: set[Component], count: int) -> list[Heads]:
    """Other heads, swapped with the same partner, whose change is nearest in size."""
    model, size = sizes.prompts.model, sizes.of(one)
    others = [
        head
        for layer in range(model.n_layers)
        for head in (Component("head", layer, h) for h in range(model.n_heads))
        if head not in named and (head.layer, head.head) != sizes.plan.swap and sizes.maybe(head)
    ]
    near = sorted(others, key=lambda head: abs(np.log(sizes.of(head) / size)))
    return [((head.layer, head.head, 1.0),) for head in near[:count]]
