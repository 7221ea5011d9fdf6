"""Facts asked with parts scaled by several gains, and a temperature fitted to some of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from factviz.analysis.components import Component, random_like
from factviz.analysis.outcomes import Prompts, answer_id, generators
from factviz.analysis.partial import progress
from factviz.facts.errors import FactvizError
from factviz.models.interventions import Intervention, ReplaceHead, ReplaceSublayer
from factviz.models.runs import run

MEASURES = ("probability", "confidence", "right", "nll", "brier")
COLDEST, HOTTEST = 0.05, 20.0
"""Between these the temperature is looked for."""


def scaled(part: Component, at: Sequence[int], gain: float) -> Intervention:
    """What a part writes at some positions, times the gain."""
    if part.kind == "head":
        return ReplaceHead(part.layer, part.head, at, scale=gain)
    return ReplaceSublayer(part.kind, part.layer, at, scale=gain)


@torch.inference_mode()
def scores(
    logits: Float[Tensor, "setting vocab"], answer: int
) -> Float[np.ndarray, "measure setting"]:
    """Probability and log-loss of the answer, the top token's probability, and the Brier score.

    Parameters
    ----------
    logits : [setting, vocab]
    answer : int
        The answer's token.
    """
    logs = logits.double().log_softmax(-1)
    chances = logs.exp()
    own = chances[:, answer]
    brier = (chances**2).sum(-1) - 2 * own + 1
    best, top = chances.max(-1)
    right = (top == answer).to(own)
    return torch.stack([own, best, right, -logs[:, answer], brier]).cpu().numpy()


def fit_temperature(
    logits: Float[Tensor, "fact vocab"],
    answers: Int[Tensor, " fact"],
    weights: Float[np.ndarray, " fact"],
) -> float:
    """The temperature with the least weighted log-loss of the answers, by bisection.

    The loss is convex in 1/T, and its slope there is the mean over facts of E[logit] − logit of the
    answer.

    Parameters
    ----------
    logits : [fact, vocab]
    answers : [fact]
    weights : [fact]
    """
    weight = torch.from_numpy(weights / weights.sum())

    def slope(sharpness: float) -> float:
        total = 0.0
        for rows in torch.arange(len(logits)).split(64):
            z = logits[rows].double()
            expected = ((z * sharpness).softmax(-1) * z).sum(-1)
            own = z.gather(1, answers[rows][:, None])[:, 0]
            total += float((weight[rows] * (expected - own)).sum())
        return total

    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(50):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1 / (low * high) ** 0.5


class GainRuns:
    """Runs fact after fact; the settings are the clean run, gains, controls and the temperature."""

    def __init__(
        self,
        prompts: Prompts,
        parts: Sequence[Component],
        gains: Sequence[float],
        *,
        controls: bool,
        allow_idle: bool,
        seed: int,
    ) -> None:
        self.prompts, self.parts, self.gains = prompts, list(parts), list(gains)
        self.allow_idle = allow_idle
        self.temperature = 1.0
        self.notes: list[str] = []
        self.answers = [answer_id(prompts.model, fact) for fact in prompts.facts]
        self._drawn = self._draws(seed) if controls else None
        self._rows: dict[int, Float[np.ndarray, "measure setting"]] = {}
        self._clean: dict[int, Float[Tensor, " vocab"]] = {}
        self._fitted = False

    def _draws(self, seed: int) -> list[tuple[Component, ...]] | None:
        model = self.prompts.model
        rngs = generators(len(self.prompts.facts), seed)
        found = [random_like(model, self.parts, rng) for rng in rngs]
        drawn = [some for some in found if some is not None]
        if len(drawn) < len(found):
            self.notes.append("no control: the model has no other parts of these kinds")
            return None
        return drawn

    def settings(self) -> tuple[list[str], list[float]]:
        """Kinds and gains, in the order of the settings."""
        kinds = ["unmitigated", *["gain"] * len(self.gains)]
        values = [1.0, *self.gains]
        if self._drawn is not None:
            kinds += ["control"] * len(self.gains)
            values += self.gains
        return [*kinds, "temperature"], [*values, float("nan")]

    def done(self, facts: Sequence[int]) -> bool:
        """Whether some of these facts have run."""
        return any(fact in self._rows for fact in facts)

    def ask(self, facts: Sequence[int]) -> None:
        """Run some facts."""
        for fact in progress(facts, "mitigate"):
            try:
                self._one(fact)
            except FactvizError as error:
                prompt = self.prompts.facts[fact].prompt[:80]
                raise FactvizError(f"fact {fact} ({prompt!r}): {error}") from error

    def _one(self, fact: int) -> None:
        """All gains of one fact share its prefix; a gain of 1 is the clean run itself."""
        row = self.prompts.tokens[fact]
        end = [len(row) - 1]
        changing = [gain for gain in self.gains if gain != 1]
        own = [[scaled(part, end, gain) for part in self.parts] for gain in changing]
        runs = run(self.prompts.model, row.ids, own, allow_idle=self.allow_idle)
        clean = runs.clean_logits
        table = [clean, *self._by_gain(clean, runs.logits)]
        if self._drawn is not None:
            drawn = self._drawn[fact]
            others = [[scaled(part, end, gain) for part in drawn] for gain in changing]
            # A control may hit what has no effect: that is a result, not a mistake.
            found = run(self.prompts.model, row.ids, others, allow_idle=True).logits
            table += self._by_gain(clean, found)
        last = clean.double() / self.temperature if self._fitted else clean
        self._rows[fact] = scores(torch.stack([*(t.double() for t in table), last.double()]),
                                  self.answers[fact])  # fmt: skip
        if not self._fitted:
            self._clean[fact] = clean.cpu()

    def _by_gain(self, clean: Tensor, found: Float[Tensor, "variant vocab"]) -> list[Tensor]:
        rows = iter(found)
        return [clean if gain == 1 else next(rows) for gain in self.gains]

    def fit(self, facts: Sequence[int]) -> None:
        """Fit the temperature on facts that have run, and apply it to them."""
        logits = torch.stack([self._clean[fact] for fact in facts])
        answers = torch.tensor([self.answers[fact] for fact in facts])
        names = [self.prompts.facts[fact].relation for fact in facts]
        weights = np.array([1 / names.count(name) for name in names])
        self.temperature = fit_temperature(logits, answers, weights)
        if not COLDEST * 1.01 < self.temperature < HOTTEST / 1.01:
            self.notes.append(
                f"the temperature, {self.temperature:.3g}, is at the edge of {COLDEST:g} to "
                f"{HOTTEST:g}, between which it is looked for"
            )
        self._fitted = True
        for fact in facts:
            tempered = self._clean.pop(fact).double() / self.temperature
            self._rows[fact][:, -1:] = scores(tempered[None], self.answers[fact])

    def arrays(self, facts: Sequence[int]) -> dict[str, Float[np.ndarray, "fact setting"]]:
        """The scores of facts that have run."""
        table = np.stack([self._rows[fact] for fact in facts])
        return {name: table[:, i] for i, name in enumerate(MEASURES)}
