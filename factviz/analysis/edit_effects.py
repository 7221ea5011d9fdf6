"""A head's W_OV edited, against the same edit of random heads of the same size (P2 point 9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from factviz.analysis.components import (
    SAME,
    Named,
    component_sets,
    heads_only,
    names_in,
)
from factviz.analysis.controls import check_draws
from factviz.analysis.edit_controls import SIZES, Match, Run, Sizes, planned_runs
from factviz.analysis.experiments import MEASURES, read_logits, target_text
from factviz.analysis.head_editing import Plan, Side, planned
from factviz.analysis.outcomes import Prompts, Target, read_prompts, target_ids, target_texts
from factviz.analysis.partial import kept_on_interrupt, progress
from factviz.analysis.provenance import fact_coordinates, provenance
from factviz.facts.checks import check_seed
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.models.factmodel import FactModel
from factviz.results.edit_effects import EditEffects

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
    each as far as it takes to change as much as its counterpart (further than whole, for a head of
    smaller weights: where a scale of 0 is matched, its own is below 0). A swap can't be made by
    half: its control swaps other heads with the same partner, those nearest in size.

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
    check_seed(seed)
    if match not in SIZES:
        raise FactvizError(f"match={match!r} is unknown: 'weights' or 'output'")
    plan = planned(model, scale=scale, remove=remove, side=side, swap=swap)
    prompts = read_prompts(model, facts)
    sets = component_sets(model, heads, separately=separately)
    heads_only(sets)
    with model.lock:
        sizes = Sizes(prompts, plan, match)
        runs = planned_runs(sizes, sets, controls, np.random.default_rng(seed))
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


class _Job:
    """The runs, one after the other, as numbers [measure, fact, run]."""

    def __init__(
        self,
        prompts: Prompts,
        plan: Plan,
        runs: Sequence[Run],
        target: Target,
        *,
        allow_idle: bool,
    ) -> None:
        self.prompts, self.plan, self.runs = prompts, plan, runs
        self.target, self.allow_idle = target, allow_idle
        self.targets = target_ids(prompts, target)
        self.values = np.full((len(MEASURES), len(prompts.facts), len(runs)), np.nan)
        self.done = 0

    def run(self, run: Run) -> None:
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

    def _check(self, run: Run) -> None:
        clean, edited = self.values[:2, :, 0], self.values[:2, :, self.done]
        if np.abs(edited - clean).max() <= SAME * np.abs(clean[1]).max():
            raise FactvizError(
                f"{run.name}: its edit ({self._edit()}) changes the target's logit on none of "
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
            edit=self._edit(),
            asked=asked,
            size=SIZES[match],
            control=self._control(draws),
        )
        return EditEffects(dataset, origin)

    def _edit(self) -> str:
        return self.plan.told if self.plan.directions is None else f"without {self.plan.told}"

    def _control(self, draws: int) -> str:
        if not draws:
            return "none"
        if self.plan.swap is not None:
            return "other heads swapped with the same partner, those nearest in size"
        return (
            "the same edit of random other heads (of the same layers as far as there are any), "
            "each as far as it takes to change as much"
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
