"""Which runs a sublayer knockout needs of each fact, and what is read of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from factviz.analysis.controls import random_positions
from factviz.analysis.knockouts import Plan, Reading, Row
from factviz.analysis.late_rate import LateRate
from factviz.analysis.outcomes import Prompts, Target, generators
from factviz.analysis.places import Where
from factviz.analysis.position_sets import PositionSet
from factviz.analysis.positions import subject_positions
from factviz.analysis.windows import scaled
from factviz.models.interventions import Kind, cancel_updates, starting_window
from factviz.models.runs import Runs, prepare

PAPER_WINDOW = 10  # of 48 layers
SUBLAYERS: tuple[Kind, ...] = ("attention", "mlp")


def default_window(n_layers: int) -> int:
    """10 of 48 layers, scaled to this model."""
    return scaled(PAPER_WINDOW, n_layers)


@dataclass
class SublayerSweep:
    """What is asked of every fact.

    Attributes
    ----------
    at, places
        As asked for, and positions for every fact.
    width : int
        Of the window, in layers.
    mode
        How an update is cancelled.
    target, targets
        As asked for, and a token for every fact; None is the clean run's top-1.
    rate : LateRate or None
        Reads the attributes rate; without it the target's probability is the outcome.
    tokens : bool
        Whether updates are cancelled at each position alone, too.
    draws, seed : int
        Of the control.
    """

    prompts: Prompts
    at: Where
    places: list[PositionSet]
    width: int
    mode: Literal["zero", "reference"]
    target: Target
    targets: list[int | None]
    rate: LateRate | None
    tokens: bool
    draws: int
    seed: int

    @property
    def n_layers(self) -> int:
        """Layers of the model."""
        return self.prompts.model.n_layers

    def drawn(self, fact: int) -> list[PositionSet]:
        """Control positions [draw] of a fact; empty ones where none can be drawn."""
        row, at = self.prompts.tokens[fact], self.places[fact]
        rng = generators(fact + 1, self.seed)[fact]
        avoid = {*at, *subject_positions(self.prompts.facts[fact], row)}
        if self.rate is not None:  # what comes later can't matter to the state that is read
            avoid |= set(range(at[-1], len(row)))
        return [random_positions(row, tuple(avoid), len(at), rng) for _ in range(self.draws)]

    def start(self, fact: int) -> Row:
        """The clean run of a fact, and its variants ready to run."""
        plan, row = self._plan(fact), self.prompts.tokens[fact]
        token = self.targets[fact]
        runs = prepare(
            self.prompts.model,
            row.ids,
            plan.variants,
            keep=() if self.rate is None else [self.rate.keep(self.places[fact][-1])],
            tokens=None if token is None else [token],
            # The first position attends to itself alone: that is uniform already.
            allow_idle=self.mode == "reference",
        )

        def read(runs: Runs) -> Reading:
            target = runs.top if token is None else token
            if self.rate is None:
                base = runs.clean_probability(target)
                values = runs.probability(target).double().cpu().numpy()
            else:
                states = torch.cat([runs.clean_kept[0][0], runs.kept[0][:, 0, 0]])
                base, *rest = self.rate.of(fact, states).tolist()
                values = np.array(rest)
            return Reading(target, runs.top, base, values, plan.places)

        return Row(runs, read)

    def _plan(self, fact: int) -> Plan:
        plan = Plan([], [])
        self._sweep(plan, "outcome", (), self.places[fact])
        for draw, place in enumerate(self.drawn(fact)):
            self._sweep(plan, "control", (draw,), place)
        for position in range(len(self.prompts.tokens[fact])) if self.tokens else ():
            self._sweep(plan, "tokens", (position,), (position,))
        return plan

    def _sweep(self, plan: Plan, name: str, at: tuple[int, ...], places: PositionSet) -> None:
        """Both kinds of updates cancelled at these positions, in every window."""
        if not places:
            return
        for number, kind in enumerate(SUBLAYERS):
            for layer in range(self.n_layers):
                window = starting_window(layer, self.width, self.n_layers)
                variant = cancel_updates(kind, window, places, mode=self.mode)
                plan.add(name, (number, *at, layer), variant)
