"""Mean ablation read on a − mean(R): what falls for all answers alike is no suppression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.ablation import check_varied, mean_outputs
from factviz.analysis.components import Component, random_like, replacement
from factviz.analysis.outcomes import Prompts, generators
from factviz.analysis.partial import progress
from factviz.facts.errors import FactvizError
from factviz.models.runs import run

MEASURES = ("ablation", "ablation_answer", "control")


class Ablated:
    """What is read of fact after fact: the clean run's, and the change under each ablation.

    ``len`` is the number of facts that have run.
    """

    def __init__(self, prompts: Prompts, parts: Sequence[Component], draws: int) -> None:
        self.prompts, self.parts, self.draws = prompts, list(parts), draws
        self.notes: list[str] = []
        self._rows: list[Float[np.ndarray, "measure part"]] = []
        self._clean: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, clean: tuple[float, float], row: Float[np.ndarray, "measure part"]) -> None:
        """One more fact: its P(a) and a − mean(R), and the changes."""
        self._clean.append(clean)
        self._rows.append(row)

    def probability(self) -> Float[np.ndarray, " fact"]:
        """P(answer) in the clean run."""
        return np.array([clean[0] for clean in self._clean])

    def contrast(self) -> Float[np.ndarray, " fact"]:
        """A − mean(R) in the clean run, logits."""
        return np.array([clean[1] for clean in self._clean])

    def arrays(self) -> dict[str, Float[np.ndarray, "fact part"]]:
        """Ablation and control: changes of a − mean(R); ablation_answer: of a, centred; logits."""
        table = np.stack(self._rows)
        return {name: table[:, i] for i, name in enumerate(MEASURES)}


def ablate_parts(
    ablated: Ablated, tokens: Sequence[Sequence[tuple[int, ...]]], *, seed: int
) -> None:
    """Replace each part's output at END by its mean over the facts, one part a run.

    Parameters
    ----------
    ablated : Ablated
        Filled, fact after fact.
    tokens : [fact][role]
        Vocabulary ids of a, S and R.
    seed : int
        Of the control's draws; a fact's own do not depend on the other facts.

    Raises
    ------
    FactvizError
        If all parts write the same in every prompt, or logits are not finite.
    """
    prompts, parts = ablated.prompts, ablated.parts
    model = prompts.model
    rngs = generators(len(prompts.facts), seed)
    drawn = [
        [[random_like(model, [part], rng) for _ in range(ablated.draws)] for part in parts]
        for rng in rngs
    ]
    others = {one for fact in drawn for each in fact for some in each if some for one in some}
    end = [[len(row) - 1] for row in prompts.tokens]
    means = mean_outputs(prompts, end, [[part] for part in parts] + [[one] for one in others])
    check_varied(means, {part.name: [part] for part in parts}, len(prompts.facts))
    constant = [part.name for part in parts if part in means.constant]
    if constant:
        ablated.notes.append(
            f"{', '.join(constant)} write the same in all prompts: their mean changes nothing"
        )
    for fact in progress(range(len(prompts.facts)), "find suppressors"):
        try:
            controls = [[some[0] for some in each if some] for each in drawn[fact]]
            _one(ablated, means.value, fact, tokens[fact], controls)
        except FactvizError as error:
            prompt = prompts.facts[fact].prompt[:80]
            raise FactvizError(f"fact {fact} ({prompt!r}): {error}") from error
    if ablated.draws and any(some is None for each in drawn[0] for some in each):
        ablated.notes.append("some parts have no control: the model has no other part of the kind")


def _one(
    ablated: Ablated,
    means: dict[Component, Tensor],
    fact: int,
    tokens: Sequence[tuple[int, ...]],
    controls: Sequence[Sequence[Component]],
) -> None:
    """All runs of one fact, which share their prefix."""
    prompts, parts = ablated.prompts, ablated.parts
    end = [len(prompts.tokens[fact]) - 1]
    flat = [*parts, *(one for each in controls for one in each)]
    # That not all are constant has been looked at, and a control may change nothing.
    runs = run(
        prompts.model,
        prompts.tokens[fact].ids,
        [[replacement(part, end, means[part])] for part in flat],
        allow_idle=True,
    )
    clean = _read(runs.clean_logits[None], tokens)
    change = _read(runs.logits, tokens) - clean
    row = np.full((len(MEASURES), len(parts)), np.nan)
    row[:2] = change[:, : len(parts)]
    at = len(parts)
    for place, each in enumerate(controls):
        if each:
            row[2, place] = change[0, at : at + len(each)].mean()
            at += len(each)
    ablated.add((runs.clean_probability(tokens[0][0]), float(clean[0, 0])), row)


@torch.inference_mode()
def _read(
    logits: Float[Tensor, "run vocab"], tokens: Sequence[tuple[int, ...]]
) -> Float[np.ndarray, "two run"]:
    """A − mean(R), and a minus the vocabulary's mean, logits."""
    logits = logits.double()
    own = logits[:, tokens[0][0]]
    contrast = own - logits[:, list(tokens[2])].mean(1)
    return torch.stack([contrast, own - logits.mean(1)]).cpu().numpy()
