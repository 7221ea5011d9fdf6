"""Ablate heads and sublayers, beside random ones like them (P1 point 11).

Three ablations that do not stand for one another: a hard edge mask in
`factviz.analysis.blocking`, a mean or zero in place of an output here, another prompt's output in
`factviz.analysis.patching`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.components import (
    SAME,
    Component,
    Named,
    component_sets,
    names_in,
    output_of,
    place_of,
    random_like,
    replacement,
)
from factviz.analysis.controls import check_draws
from factviz.analysis.experiments import Experiment, experiment
from factviz.analysis.outcomes import (
    Prompts,
    Target,
    generators,
    read_prompts,
)
from factviz.analysis.places import Where, listed, positions, told
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.models.factmodel import FactModel
from factviz.models.interventions import Keep, Place, Variant
from factviz.models.runs import prepare
from factviz.results.causal import Causal


def ablate(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    components: Named | Iterable[Named] | Mapping[str, Iterable[Named]],
    *,
    mode: Literal["mean", "zero"] = "mean",
    at: Where = "end",
    separately: bool = False,
    target: Target = "answer",
    controls: int = 3,
    seed: int = 0,
    allow_idle: bool = False,
) -> Causal:
    """Replace what heads or sublayers write by its mean over the facts, or by zero.

    The control does the same to as many random components of the same kinds: heads of the same
    layers as far as there are others.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    components
        ``(layer, head)``, ``"L3H4"``, ``"mlp 2"``, ``"attn 2"``, or several (ablated together), or
        a mapping from names to several (one run each).
    mode : {"mean", "zero"}
        "mean": the mean of the component's output over these facts, each fact's positions
        averaged first. "zero" removes a head's output or a sublayer's whole update, bias too.
    at
        Position set; END without it. See `block_attention`.
    separately : bool
        One run for each component instead of all together.
    target, controls, seed, allow_idle
        As for `block_attention`.

    Returns
    -------
    Causal

    Raises
    ------
    FactvizError
        If a component does not exist, mode "mean" has a single fact, a position set is empty,
        nothing changed, or logits are NaN.

    References
    ----------
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321.
    """
    if mode not in ("mean", "zero"):
        raise FactvizError(f"mode {mode!r} is unknown: 'mean' or 'zero'")
    check_draws(controls)
    prompts = read_prompts(model, facts)
    if mode == "mean" and len(prompts.facts) < 2:
        raise FactvizError(
            "mean ablation replaces an output by its mean over the facts, and there is 1 fact: "
            "give 2 or more, or mode='zero'"
        )
    at = listed(at)
    sets = component_sets(model, components, separately=separately)
    where = [positions(fact, row, at) for fact, row in prompts.each()]
    rngs = generators(len(prompts.facts), seed)
    drawn = [[_draws(model, some, controls, rng) for some in sets.values()] for rng in rngs]
    means = None
    if mode == "mean":
        means = mean_outputs(prompts, where, [*sets.values(), *_flat(drawn)])
        if not allow_idle:
            check_varied(means, sets, len(prompts.facts))

    def make(fact: int) -> Experiment:
        def variant(some: Sequence[Component]) -> Variant:
            return [
                replacement(c, where[fact], None if means is None else means.value[c]) for c in some
            ]

        return Experiment(
            [variant(some) for some in sets.values()],
            [[variant(some) for some in each] for each in drawn[fact]],
            allow_idle=means is not None,
        )

    return experiment(
        prompts,
        list(sets),
        make,
        verb="ablate",
        asked={"components": names_in(sets), "mode": mode, "at": told(at)},
        control="as many random components: heads of the same layers, sublayers of others",
        target=target,
        draws=controls,
        allow_idle=allow_idle,
        notes=_control_notes(model, sets) if controls else (),
    )


def _draws(
    model: FactModel, chosen: Sequence[Component], draws: int, rng: np.random.Generator
) -> list[tuple[Component, ...]]:
    found = [random_like(model, chosen, rng) for _ in range(draws)]
    return [some for some in found if some is not None]


def _control_notes(model: FactModel, sets: Mapping[str, Sequence[Component]]) -> list[str]:
    """Where a set takes more than half of a layer's heads, its control cannot come from there."""
    found: list[str] = []
    for name, some in sets.items():
        heads = [c.layer for c in some if c.kind == "head"]
        full = sorted({layer for layer in heads if 2 * heads.count(layer) > model.n_heads})
        if full:
            found.append(f"{name}: layers {full} have too few other heads; some of the control's "
                         "are from other layers")  # fmt: skip
    return found


def _flat(
    drawn: Sequence[Sequence[Sequence[tuple[Component, ...]]]],
) -> list[tuple[Component, ...]]:
    return [some for fact in drawn for each in fact for some in each]


@dataclass(frozen=True)
class MeanOutputs:
    """Mean outputs by component, and which components write the same in every prompt."""

    value: dict[Component, Float[Tensor, " width"]]
    constant: set[Component]


def mean_outputs(
    prompts: Prompts, where: Sequence[Sequence[int]], sets: Iterable[Sequence[Component]]
) -> MeanOutputs:
    """The mean output of each component over facts; a fact's positions are averaged first."""
    components = sorted({component for some in sets for component in some})
    places: list[Place] = sorted({place_of(component) for component in components})
    totals: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    for row, at in zip(prompts.tokens, where, strict=True):
        clean = prepare(prompts.model, row.ids, (), keep=[Keep(p, at) for p in places])
        for place, kept in zip(places, clean.clean_kept, strict=True):
            own = kept.double().mean(1)
            totals[place] = totals.get(place, torch.zeros_like(own)) + own
            squares[place] = squares.get(place, torch.zeros_like(own)) + own**2
    count, n_heads = len(prompts.facts), prompts.model.n_heads
    found = MeanOutputs({}, set())
    for one in components:
        place = place_of(one)
        mean = output_of(totals[place][one.layer] / count, one, n_heads)
        spread = output_of(squares[place][one.layer] / count, one, n_heads) - mean**2
        found.value[one] = mean
        if float(spread.max()) <= (SAME * float(mean.abs().max())) ** 2:
            found.constant.add(one)
    return found


def check_varied(means: MeanOutputs, sets: Mapping[str, Sequence[Component]], count: int) -> None:
    """Refuse components that all write the same in every prompt."""
    chosen = [component for some in sets.values() for component in some]
    if all(component in means.constant for component in chosen):
        raise FactvizError(
            f"{chosen[0].name} writes the same in all {count} prompts, so that its mean changes "
            "nothing: give other facts, or allow_idle=True"
        )
