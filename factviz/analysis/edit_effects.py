"""A head's W_OV edited, against the same edit of random heads of the same size (P2 point 9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.components import (
    SAME,
    Component,
    Named,
    component_sets,
    heads_only,
    names_in,
    random_like,
)
from factviz.analysis.controls import check_draws
from factviz.analysis.experiments import MEASURES, read_logits, target_text
from factviz.analysis.grouped import chunks
from factviz.analysis.head_editing import Plan, Side, planned
from factviz.analysis.outcomes import Prompts, Target, read_prompts, target_ids, target_texts
from factviz.analysis.partial import kept_on_interrupt, progress
from factviz.analysis.provenance import fact_coordinates, provenance
from factviz.analysis.writes import head_write
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.models.factmodel import FactModel
from factviz.models.traced import trace
from factviz.results.edit_effects import EditEffects

Match = Literal["weights", "output"]
SIZES = {
    "weights": "‖ΔW_OV‖_F, of the weights as stored",
    "output": "the change of what the head adds to the residual stream at END, root mean square "
    "over the facts",
}
_TRIES = 20
_FAR = 3  # a control that is edited so many times as far is told of


@torch.inference_mode()
def compare_edits(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    heads: Named | Iterable[Named] | Mapping[str, Iterable[Named]],
    *,
    scale: float | None = None,
    remove: Any = None,
    side: Side = "output",
    swap: tuple[int, int] | None = None,
    separately: bool = False,
    match: Match = "weights",
    target: Target = "answer",
    controls: int = 3,
    seed: int = 0,
    allow_idle: bool = False,
) -> EditEffects:
    """What recall loses when W_OV of heads is edited, and when that of random heads is.

    The control makes the same edit to random heads, of the same layers as far as there are others,
    each as far as it takes to change as much as its counterpart. A swap can't be made by half: its
    control swaps other heads with the same partner, those whose change is nearest in size.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        Best others than those the heads were found on.
    heads
        As ``components`` of `ablate`: heads (edited together), or a mapping from names to several.
    scale, remove, side, swap
        The edit, as for `edit_head`.
    separately : bool
        One run for each head instead of all together.
    match : {"weights", "output"}
        What is matched in size: ‖ΔW_OV‖_F, or the change of the head's output at END over the
        facts (root mean square).
    target : {"answer", "top1"} or int
    controls : int
        Draws of random heads, the same for all facts; 0 for none.
    seed : int
    allow_idle : bool
        Let edits pass that change no fact's output.

    Returns
    -------
    EditEffects

    Raises
    ------
    FactvizError
        If a head does not exist or is no head, there are no other heads to compare with, the edit
        changes nothing, or as `edit_head` does.

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521.
    """
    check_draws(controls)
    if match not in SIZES:
        raise FactvizError(f"match={match!r} is unknown: 'weights' or 'output'")
    plan = planned(model, scale=scale, remove=remove, side=side, swap=swap)
    prompts = read_prompts(model, facts)
    sets = component_sets(model, heads, separately=separately)
    heads_only(sets)
    with model.lock:
        sizes = _Sizes(prompts, plan, match)
        runs = _runs(sizes, sets, controls, np.random.default_rng(seed))
        job = _Job(prompts, plan, runs, target, allow_idle=allow_idle)
        asked = {"heads": names_in(sets), "match": match}

        def packed() -> EditEffects | None:
            return job.packed(asked, match, controls) if job.done > 1 else None

        with kept_on_interrupt(packed):
            for run in progress(runs, "compare edits"):
                job.run(run)
    found = packed()
    assert found is not None
    return found


@dataclass(frozen=True)
class _Run:
    """One state of the model: clean ("base"), edited, or a control's."""

    variant: str
    name: str = ""
    draw: int = -1
    heads: tuple[tuple[int, int, float], ...] = ()
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
class _Sizes:
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


def _runs(
    sizes: _Sizes,
    sets: Mapping[str, Sequence[Component]],
    controls: int,
    rng: np.random.Generator,
) -> list[_Run]:
    """The clean run, the edits, then the control draws of each."""
    named = {head for some in sets.values() for head in some}
    effects: list[_Run] = []
    drawn: list[_Run] = []
    for name, some in sets.items():
        if sizes.plan.swap is not None and len(some) > 1:
            raise FactvizError(
                f"{name!r} holds {len(some)} heads, and a swap has one and its partner: "
                "separately=True makes one run of each"
            )
        heads = tuple((one.layer, one.head, 1.0) for one in some)
        size = _together([sizes.of(one) for one in some])
        effects.append(_Run("intervened", name, heads=heads, size=size))
        if not size:
            raise FactvizError(f"{name}: {sizes.plan.told} changes nothing that {sizes.match} show")
        if controls:
            drawn += _controls(sizes, name, some, named, controls, rng)
    return [_Run("base"), *effects, *drawn]


def _together(sizes: Iterable[float]) -> float:
    return float(np.linalg.norm(list(sizes)))


def _controls(
    sizes: _Sizes,
    name: str,
    some: Sequence[Component],
    named: set[Component],
    count: int,
    rng: np.random.Generator,
) -> list[_Run]:
    draws = (
        [_rescaled(sizes, some, named, rng) for _ in range(count)]
        if sizes.plan.swap is None
        else _nearest(sizes, some[0], named, count)
    )
    kept = [heads for heads in draws if heads]
    if len(kept) < count:
        model = sizes.prompts.model
        raise FactvizError(
            f"{name}: {len(kept)} of {count} controls can be drawn, as {model.name} has "
            f"{model.n_layers} × {model.n_heads} heads, and others than those named must be able "
            "to take the edit: name fewer heads, or fewer controls (controls=0 for none)"
        )
    return [
        _Run(
            "control",
            name,
            draw,
            heads,
            _together(a * sizes.of(Component("head", i, h)) for i, h, a in heads),
        )
        for draw, heads in enumerate(kept)
    ]


def _rescaled(
    sizes: _Sizes, some: Sequence[Component], named: set[Component], rng: np.random.Generator
) -> tuple[tuple[int, int, float], ...]:
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


def _nearest(
    sizes: _Sizes, one: Component, named: set[Component], count: int
) -> list[tuple[tuple[int, int, float], ...]]:
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


class _Job:
    """The runs, one after the other, as numbers [measure, fact, run]."""

    def __init__(
        self,
        prompts: Prompts,
        plan: Plan,
        runs: Sequence[_Run],
        target: Target,
        *,
        allow_idle: bool,
    ) -> None:
        self.prompts, self.plan, self.runs = prompts, plan, runs
        self.target, self.allow_idle = target, allow_idle
        self.targets = target_ids(prompts, target)
        self.values = np.full((len(MEASURES), len(prompts.facts), len(runs)), np.nan)
        self.done = 0

    def run(self, run: _Run) -> None:
        """All facts under one state of the model."""
        with self.plan.applied(self.prompts.model, run.heads):
            for rows, logits in self.prompts.model.end_logits(self.prompts.facts):
                if not bool(logits.isfinite().all()):
                    raise FactvizError(
                        f"{self.prompts.model.name} gives logits that are not finite "
                        + (f"under the edit of {run.told}" if run.heads else "(NaN or infinity)")
                    )
                for row, fact in enumerate(rows):
                    if self.targets[fact] is None:  # top-1 of the clean run, which is the first
                        self.targets[fact] = int(logits[row].argmax())
                    token: Any = self.targets[fact]
                    read = read_logits(logits[row : row + 1], token, None)
                    self.values[:, fact, self.done] = read[:, 0]
        if run.variant == "intervened" and not self.allow_idle:
            self._check(run)
        self.done += 1

    def _check(self, run: _Run) -> None:
        clean, edited = self.values[:2, :, 0], self.values[:2, :, self.done]
        if np.abs(edited - clean).max() <= SAME * np.abs(clean[1]).max():
            raise FactvizError(
                f"{run.name}: its edit ({self.plan.told}) changes the target's logit on none of "
                f"{len(self.prompts.facts)} facts: other facts, another edit, or allow_idle=True"
            )

    def packed(self, asked: dict[str, Any], match: Match, draws: int) -> EditEffects:
        """What has run, labelled."""
        model, facts, both = self.prompts.model, self.prompts.facts, ("fact", "run")
        targets: Any = self.targets
        data: dict[str, Any] = {
            name: (both, self.values[i], {"units": unit})
            for i, (name, unit) in enumerate(MEASURES.items())
        }
        data["size"] = ("run", np.array([run.size for run in self.runs]))
        data["amount"] = ("run", np.array([run.amount for run in self.runs]))
        coords: dict[str, Any] = {
            **fact_coordinates(facts),
            "run": np.arange(len(self.runs)),
            "variant": ("run", np.array([run.variant for run in self.runs])),
            "component": ("run", np.array([run.name for run in self.runs])),
            "draw": ("run", np.array([run.draw for run in self.runs])),
            "heads": ("run", np.array([run.told for run in self.runs], dtype=object)),
            "target_id": ("fact", np.array(targets)),
            "target_token": ("fact", target_texts(model, targets)),
        }
        dataset = xr.Dataset(data, coords=coords, attrs={"single": self.prompts.single})
        origin = provenance(
            model,
            self.prompts.tokens,
            kind=EditEffects.kind,
            projection="the model's own logits and probabilities",
            layer_norm="recomputed in every run",
            target=target_text(self.target, model),
            notes=self._notes(),
            verb="compare_edits",
            edit=self.plan.told,
            asked=asked,
            size=SIZES[match],
            control=self._control(draws),
        )
        return EditEffects(dataset, origin)

    def _control(self, draws: int) -> str:
        if not draws:
            return "none"
        if self.plan.swap is not None:
            return "other heads swapped with the same partner, those nearest in size"
        return (
            "the same edit of random other heads (of the same layers as far as there are any), each "
            "as far as it takes to change as much"
        )

    def _notes(self) -> list[str]:
        said: list[str] = []
        subjects = {fact.subject for fact in self.prompts.facts}
        if len(subjects) < 2:
            said.append("facts of one subject: no intervals by subject")
        far = [run for run in self.runs if run.variant == "control" and run.amount > _FAR]
        if far:
            most = max(far, key=lambda run: run.amount)
            said.append(
                f"{len(far)} control draws are edited more than {_FAR} times as far as the named "
                f"heads to change as much (at most {most.amount:.3g} times: {most.told})"
            )
        return said
