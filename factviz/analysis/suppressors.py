"""Parts of the last layer that hold the answer back (arXiv 2403.19521, anti-overconfidence)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from factviz.analysis.components import Component
from factviz.analysis.contrast_ablation import Ablated, ablate_parts
from factviz.analysis.controls import check_draws
from factviz.analysis.grouped import GROUPS, GroupedParts, grouped_parts
from factviz.analysis.head_classes import PROJECTION
from factviz.analysis.head_reads import SOURCES, source_members
from factviz.analysis.outcomes import Prompts
from factviz.analysis.partial import kept_on_interrupt
from factviz.analysis.places import layers_of
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance
from factviz.analysis.roles import RoleTokens, role_tokens
from factviz.analysis.suppressor_rule import judge, measure_samples
from factviz.analysis.top_tokens import top_tokens
from factviz.analysis.topics import Topics, read_topics
from factviz.analysis.writes import head_writes, vocabulary_logits
from factviz.facts.checks import check_counts
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel, check_model
from factviz.models.traced import Trace
from factviz.results.halves import sample_rows
from factviz.results.suppressors import RULE, Suppressors

CONTROL = "mean ablation of as many random parts: heads of the same layer, MLPs of other layers"


@torch.inference_mode()
def find_suppressors(
    model: FactModel,
    facts: Iterable[Fact],
    *,
    layers: int | Iterable[int] | None = None,
    k: int = 10,
    controls: int = 1,
    n_boot: int = 200,
    seed: int = 0,
) -> Suppressors:
    """Find heads and MLPs of the last layer that lower the answer against others of its relation.

    For each part: its direct effect on a − mean(R) at END; how that goes with P(answer), within
    relations; what its mean ablation at END does to a − mean(R) in the model's own logits, beside
    the same of random parts (a common fall of all answers is no suppression); where it attends to,
    and which tokens it promotes and suppresses.

    A part is a *suppressor* by `factviz.results.suppressors.RULE`: chosen on the facts of one half
    of the subjects, and judged on those of the other, in at least one of the two directions.
    "None" is an answer.

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
        Those without R are left out, and counted.
    layers : int or iterable of int, optional
        The last layer without it.
    k : int
        Promoted and suppressed tokens.
    controls : int
        Random parts ablated for each part of each fact; 0 for none.
    n_boot : int
        Resamples of subjects behind the 95 % intervals.
    seed : int

    Returns
    -------
    Suppressors

    Raises
    ------
    FactvizError
        If no fact has R, those that have are of one subject, a layer does not exist, all parts
        write the same in every prompt, or logits are not finite.

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521. The decision rule
    is this project's own (METHODS.md, P2 point 8).
    """
    check_model(model)
    check_draws(controls)
    check_counts(k=(k, 1), n_boot=(n_boot, 2))
    chosen = (model.n_layers - 1,) if layers is None else layers_of(model, layers)
    parts = parts_of(model, chosen)
    found, tokens, notes = with_others(model, as_facts(facts))
    sample_rows([f.subject for f in found], [f.relation for f in found], seed=seed)  # can they be?
    topics = read_topics(model, found)
    seen = _Seen(model, parts, topics)
    grouped = grouped_parts(model, found, replace(tokens, prompts=topics.prompts), look=seen.look)
    prompts = Prompts(model, found, tokens.prompts, single=False)
    ablated = Ablated(prompts, parts, controls)

    def packed() -> Suppressors | None:
        if len(ablated) < len(found) and len({f.subject for f in found[: len(ablated)]}) < 2:
            return None
        return _result(model, found, tokens, parts, _Numbers(seen, grouped, ablated), k=k,
                       n_boot=n_boot, seed=seed, notes=[*notes, *tokens.notes])  # fmt: skip

    with kept_on_interrupt(packed):
        ablate_parts(ablated, tokens.ids, seed=seed)
    result = packed()
    assert result is not None
    return result


def parts_of(model: FactModel, layers: Sequence[int]) -> list[Component]:
    """All heads and the MLP of some layers."""
    return [
        part
        for layer in layers
        for part in (
            *(Component("head", layer, head) for head in range(model.n_heads)),
            Component("mlp", layer),
        )
    ]


def with_others(
    model: FactModel, facts: Sequence[Fact]
) -> tuple[list[Fact], RoleTokens, list[str]]:
    """The facts that have R, with their tokens; and how many were left out.

    Raises
    ------
    FactvizError
        If none has.
    """
    tokens = role_tokens(model, facts, controls=0)
    kept = [row for row, roles in enumerate(tokens.ids) if roles[2]]
    if not kept:
        raise FactvizError(
            f"none of the {len(facts)} facts has R, answers of its relation for other subjects "
            f"(same_relation of {facts[0].prompt[:60]!r} is {facts[0].same_relation!r}): put facts "
            "of a relation into one FactSet, or give same_relation="
        )
    notes: list[str] = []
    if left := len(facts) - len(kept):
        notes.append(
            f"{left} of {len(facts)} facts were excluded, as they have no R (answers of their "
            "relation for other subjects)"
        )
    return [facts[row] for row in kept], tokens.take(kept), notes


class _Seen:
    """Where the parts attend to, and what they write, summed over facts."""

    def __init__(self, model: FactModel, parts: Sequence[Component], topics: Topics) -> None:
        self.model, self.parts, self.topics = model, parts, topics
        self.facts = 0
        self.written: torch.Tensor | None = None  # [part, d_model], over the final scale
        self.attention = np.full((len(parts), len(SOURCES)), np.nan)
        self._owners = np.full((model.n_layers, model.n_heads, len(GROUPS)), -1)
        for place, part in enumerate(parts):
            if part.kind == "head":
                self._owners[part.layer, part.head] = place
                self.attention[place] = 0

    def look(self, traced: Trace, batch: Sequence[int]) -> None:
        """Add one batch."""
        written = head_writes(traced, self._owners, len(self.parts))
        member = source_members(traced, [self.topics.positions[fact] for fact in batch])
        mass = torch.einsum("flhs,fsg->lhg", traced.pattern.to(member), member).cpu().numpy()
        for place, part in enumerate(self.parts):
            if part.kind == "head":
                self.attention[place] += mass[part.layer, part.head]
            else:
                written[:, place] = traced.mlps[:, part.layer].to(written)
        total = (written / traced.final_scale.to(written)[:, None, None]).sum(0)
        self.written = total if self.written is None else self.written + total
        self.facts += len(batch)

    def logits(self) -> np.ndarray:
        """What the parts add to all tokens, mean over facts [part, vocab]."""
        assert self.written is not None
        mean = self.written / self.facts
        rows = [vocabulary_logits(self.model, row[None], row.new_ones(1)) for row in mean]
        return torch.cat(rows).cpu().numpy()


class _Numbers:
    """All that was measured of the facts."""

    def __init__(self, seen: _Seen, grouped: GroupedParts, ablated: Ablated) -> None:
        self.seen, self.grouped, self.ablated = seen, grouped, ablated

    def arrays(self, parts: Sequence[Component]) -> dict[str, Any]:
        """One number a fact and part."""
        done = len(self.ablated)
        a, r = (np.stack([self._written(part, role) for part in parts], 1)[:done]
                for role in (0, 2))  # fmt: skip
        table, logits = ("fact", "part"), {"units": "logits"}
        return {
            "effect": (table, a - r, logits),
            "answer_effect": (table, a, logits),
            **{name: (table, values, logits) for name, values in self.ablated.arrays().items()},
            "probability": ("fact", self.ablated.probability(), {"units": "probability"}),
            "contrast": ("fact", self.ablated.contrast(), logits),
            "attention": (("part", "group"), self.seen.attention / max(1, self.seen.facts)),
        }

    def _written(self, part: Component, role: int) -> np.ndarray:
        if part.kind == "head":
            return self.grouped.heads[:, role, part.layer, part.head].sum(-1)
        return self.grouped.mlps[:, role, part.layer]


def _result(
    model: FactModel,
    facts: Sequence[Fact],
    tokens: RoleTokens,
    parts: Sequence[Component],
    numbers: _Numbers,
    *,
    k: int,
    n_boot: int,
    seed: int,
    notes: Sequence[str],
) -> Suppressors:
    """The facts that have run, measured, judged and labelled."""
    done = len(numbers.ablated)
    some = list(facts[:done])
    coords = fact_coordinates(some) | {
        "part": np.array([part.name for part in parts], dtype=object),
        "kind": ("part", np.array([part.kind for part in parts], dtype=object)),
        "layer": ("part", np.array([part.layer for part in parts])),
        "head": ("part", np.array([part.head for part in parts])),
        "group": np.array(SOURCES, dtype=object),
    }
    dataset = xr.Dataset(numbers.arrays(parts), coords=coords)
    rows = sample_rows([f.subject for f in some], [f.relation for f in some], seed=seed)
    measured = measure_samples(dataset, rows, n_boot=n_boot, seed=seed)
    dataset = dataset.merge(measured).merge(judge(measured))
    dataset = dataset.merge(top_tokens(model, numbers.seen.logits(), k, dim="part"))
    dataset.attrs = {"n_boot": n_boot, "seed": seed}
    origin = provenance(
        model,
        tokens.prompts[:done],
        kind=Suppressors.kind,
        projection=f"effect: {PROJECTION}; ablation: the model's own logits",
        layer_norm="frozen for the direct effect, recomputed in every ablated run",
        target="a − mean(R) at END" + before_cap(model),
        notes=[*notes, *numbers.ablated.notes, *_undefined(dataset)],
        value_bias="out",
        rule=RULE,
        control=CONTROL if numbers.ablated.draws else "none",
        mode="mean ablation at END, mean over all facts",
    )
    return Suppressors(dataset, origin)


def _undefined(dataset: xr.Dataset) -> list[str]:
    whole = dataset["mean"].sel(sample="all", measure="correlation").values
    if not np.isnan(whole).any():
        return []
    return [
        f"the correlation of effect with P(answer) is undefined for {int(np.isnan(whole).sum())} "
        "parts: one of the two does not vary within relations"
    ]
