"""What changed runs do to one token at END: its probability, logit and rank, beside controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from factviz.analysis.outcomes import Prompts, Target, target_ids, target_texts
from factviz.analysis.partial import kept_on_interrupt, progress
from factviz.analysis.provenance import fact_coordinates, provenance
from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.interventions import Variant
from factviz.models.runs import run
from factviz.results.causal import Causal

MEASURES = {
    "probability": "probability",
    "logit": "logits",
    "rank": "rank",
    "source_probability": "probability",
}


@dataclass(frozen=True)
class Experiment:
    """What is done to one fact: one variant a component, and control draws of each.

    ``controls`` [component][draw] may be shorter than others: what is missing has no control.
    ``source_token`` is a second token to follow (a counterfactual's answer). ``allow_idle`` lets
    effects pass that change nothing, because that has been looked at.
    """

    effects: Sequence[Variant]
    controls: Sequence[Sequence[Variant]]
    source_token: int | None = None
    allow_idle: bool = False


def experiment(
    prompts: Prompts,
    components: Sequence[str],
    make: Callable[[int], Experiment],
    *,
    verb: str,
    asked: dict[str, Any],
    control: str,
    target: Target,
    draws: int,
    allow_idle: bool,
    notes: Sequence[str] = (),
) -> Causal:
    """Run what ``make`` asks for each fact, and label what came out.

    Parameters
    ----------
    prompts : Prompts
    components : [component] of str
        What is changed in each run, in words.
    make
        From the number of a fact to its `Experiment`.
    verb, asked, control
        The public function, its arguments and the control in words, for the provenance.
    target, draws, allow_idle
        As the public functions have them.
    notes
        More sentences for the provenance.
    """
    job = _Job(prompts, components, make, target_ids(prompts, target), draws=draws,
               allow_idle=allow_idle)  # fmt: skip

    def packed() -> Causal | None:
        said = {"verb": verb, "asked": asked, "control": control if draws else "none"}
        return job.packed([*notes, *job.notes()], target, said) if job.targets else None

    with kept_on_interrupt(packed):
        for fact in progress(range(len(prompts.facts)), verb.replace("_", " ")):
            try:
                job.run(fact)
            except FactvizError as error:
                raise _located(error, fact, prompts) from error
    found = packed()
    assert found is not None
    return found


def _located(error: FactvizError, fact: int, prompts: Prompts) -> FactvizError:
    where = "" if prompts.single else f"fact {fact} ({prompts.facts[fact].prompt[:80]!r}): "
    return FactvizError(f"{where}{error}")


class _Job:
    """The runs of fact after fact, as numbers [measure, fact, run]."""

    def __init__(
        self,
        prompts: Prompts,
        components: Sequence[str],
        make: Callable[[int], Experiment],
        wanted: Sequence[int | None],
        *,
        draws: int,
        allow_idle: bool,
    ) -> None:
        self.prompts, self.components, self.make, self.wanted = prompts, components, make, wanted
        self.draws, self.allow_idle = draws, allow_idle
        self.targets: list[int] = []
        self.values: list[Float[np.ndarray, "measure run"]] = []
        self.bare: list[int] = []

    def run(self, fact: int) -> None:
        """Base, effects and controls of one fact."""
        made, wanted = self.make(fact), self.wanted[fact]
        model, ids = self.prompts.model, self.prompts.tokens[fact].ids
        effects = run(model, ids, made.effects, allow_idle=self.allow_idle or made.allow_idle)
        token = effects.top if wanted is None else wanted
        parts = [
            read_logits(rows, token, made.source_token)
            for rows in (effects.clean_logits[None], effects.logits)
        ]
        held = np.full((len(MEASURES), len(made.effects), self.draws), np.nan)
        flat = [variant for some in made.controls for variant in some]
        if flat:
            # A control may hit what has no effect: that is a result, not a mistake.
            drawn = run(model, ids, flat, allow_idle=True)
            at = [(c, d) for c, some in enumerate(made.controls) for d in range(len(some))]
            held[:, *zip(*at, strict=True)] = read_logits(drawn.logits, token, made.source_token)
        self.values.append(np.concatenate([*parts, held.reshape(len(MEASURES), -1)], 1))
        self.targets.append(token)
        if any(len(some) < self.draws for some in made.controls):
            self.bare.append(fact)

    def notes(self) -> list[str]:
        """Which facts have no control."""
        if not self.bare:
            return []
        facts = ", ".join(map(str, self.bare[:12])) + (", …" if len(self.bare) > 12 else "")
        return [f"no control for facts {facts}: nothing of that size is left to draw"]

    def packed(self, notes: Sequence[str], target: Target, said: dict[str, Any]) -> Causal:
        """The facts that have run, labelled."""
        done, model = len(self.targets), self.prompts.model
        table = np.stack(self.values, 1)
        data: dict[str, Any] = {
            name: (("fact", "run"), table[i], {"units": unit})
            for i, (name, unit) in enumerate(MEASURES.items())
        }
        coords = {
            **fact_coordinates(self.prompts.facts[:done]),
            **self._runs(),
            "target_id": ("fact", np.array(self.targets)),
            "target_token": ("fact", target_texts(model, self.targets)),
        }
        dataset = xr.Dataset(data, coords=coords, attrs={"single": self.prompts.single})
        origin = provenance(
            model,
            self.prompts.tokens[:done],
            kind=Causal.kind,
            projection="the model's own logits and probabilities",
            layer_norm="recomputed in every run",
            target=target_text(target, model),
            notes=notes,
            **said,
        )
        return Causal(dataset, origin)

    def _runs(self) -> dict[str, Any]:
        count, draws = len(self.components), self.draws
        variants = ["base"] + ["intervened"] * count + ["control"] * count * draws
        names = ["", *self.components, *(name for name in self.components for _ in range(draws))]
        return {
            "run": np.arange(len(variants)),
            "variant": ("run", np.array(variants)),
            "component": ("run", np.array(names, dtype=str)),
            "draw": ("run", np.array([-1] * (1 + count) + [*range(draws)] * count, dtype=int)),
        }


@torch.inference_mode()
def read_logits(
    logits: Float[torch.Tensor, "run vocab"], token: int, source_token: int | None
) -> Float[np.ndarray, "measure run"]:
    """Probability, centred logit and rank (1 is the top) of a token, and another's probability."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    own = logits[:, token]
    probability = logits.softmax(-1)
    other = torch.full_like(own, torch.nan)
    if source_token is not None:
        other = probability[:, source_token]
    rank = (logits > own[:, None]).sum(-1) + 1
    rows = [probability[:, token], own - logits.mean(-1), rank.to(own), other]
    return torch.stack(rows).double().cpu().numpy()


def target_text(target: Target, model: FactModel) -> str:
    """Which token is followed, in words."""
    name = {"answer": "the answer", "top1": "the clean run's top-1"}.get(
        str(target), f"token {target}"
    )
    cap = model.geometry.soft_cap
    return f"{name}; centred logit at END" + (f", after the soft-cap of {cap:g}" if cap else "")
