"""Which runs an attention knockout needs of each fact: sets, random keys, single tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from factviz.analysis.controls import random_positions
from factviz.analysis.knockouts import Plan, Reading, Row
from factviz.analysis.outcomes import Prompts, Target, generators
from factviz.analysis.position_sets import PositionSet
from factviz.analysis.windows import odd, scaled
from factviz.models.interventions import BlockAttention, centred_window
from factviz.models.runs import Runs, prepare

PAPER_WINDOW = 9  # of 48 layers
# Logits of every variant, or those of one token: the latter costs one more clean run.
_NUMBERS = 1 << 26


def default_window(n_layers: int) -> int:
    """9 of 48 layers, scaled to this model and made odd."""
    return odd(scaled(PAPER_WINDOW, n_layers))


@dataclass
class AttentionSweep:
    """What is asked of every fact.

    Attributes
    ----------
    windows : widths, in layers
    sets : by name, a set of positions for every fact
    target, targets
        As asked for, and a token for every fact; None is the clean run's top-1.
    tokens : bool
        Whether each position is blocked alone, too.
    draws, seed : int
        Of the control.
    """

    prompts: Prompts
    windows: tuple[int, ...]
    sets: dict[str, list[PositionSet]]
    target: Target
    targets: list[int | None]
    tokens: bool
    draws: int
    seed: int

    @property
    def n_layers(self) -> int:
        """Layers of the model."""
        return self.prompts.model.n_layers

    @cached_property
    def drawn(self) -> list[list[list[PositionSet]]]:
        """Control sets [fact][group][draw]; none where none can be drawn."""
        each = generators(len(self.prompts.facts), self.seed)
        return [self._draws(fact, rng) for fact, rng in enumerate(each)]

    def _draws(self, fact: int, rng: np.random.Generator) -> list[list[PositionSet]]:
        """Control sets [group][draw] of one fact."""
        row = self.prompts.tokens[fact]
        sets = [by_fact[fact] for by_fact in self.sets.values()]
        return [
            [random_positions(row, keys, len(keys), rng, overlap=True) for _ in range(self.draws)]
            if keys
            else []
            for keys in sets
        ]

    def start(self, fact: int) -> Row:
        """The clean run of a fact, and its variants ready to run."""
        model, row = self.prompts.model, self.prompts.tokens[fact]
        plan = self._plan(fact)
        token = self.targets[fact]
        if token is None and len(plan.variants) * model.d_vocab > _NUMBERS:
            token = model.top_ids([self.prompts.facts[fact]], 1)[0][0]
        kept = None if token is None else [token]
        # In a sliding window END may not see a set at all: then nothing changes, and that is right.
        runs = prepare(model, row.ids, plan.variants, tokens=kept, allow_idle=True)

        def read(runs: Runs) -> Reading:
            target = runs.top if token is None else token
            values = runs.probability(target).double().cpu().numpy()
            return Reading(target, runs.top, runs.clean_probability(target), values, plan.places)

        return Row(runs, read)

    def _plan(self, fact: int) -> Plan:
        plan = Plan([], [])
        end = len(self.prompts.tokens[fact]) - 1
        for number, by_fact in enumerate(self.sets.values()):
            self._sweep(plan, "probability", (number,), by_fact[fact], end)
        for number, draws in enumerate(self.drawn[fact]):
            for draw, keys in enumerate(draws):
                self._sweep(plan, "control", (number, draw), keys, end)
        for position in range(end + 1) if self.tokens else ():
            self._sweep(plan, "tokens", (position,), (position,), end)
        return plan

    def _sweep(
        self, plan: Plan, name: str, at: tuple[int, ...], keys: PositionSet, end: int
    ) -> None:
        """Every window around every layer, with END's view of these keys blocked."""
        if not keys:
            return
        for number, width in enumerate(self.windows):
            for layer in range(self.n_layers):
                window = centred_window(layer, width, self.n_layers)
                plan.add(name, (number, *at, layer), [BlockAttention([end], keys, window)])
