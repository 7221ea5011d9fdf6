"""The parts of centred logits of many facts at once: means over roles, heads summed over groups.

What `decomposition` gives for every attribute and token, here summed before anything is projected:
a head's reading of a source group is one vector, and a role is one direction. So hundreds of facts
cost little more than their forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from factviz.analysis.attribution import check_finite, checked_sum
from factviz.analysis.directions import Directions, head_directions, working_dtype
from factviz.analysis.roles import RoleTokens, role_directions, segment_means
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel
from factviz.models.geometry import constant_values
from factviz.models.traced import Edges, Trace, trace

GROUPS = ("subject", "relation", "other")
"""Sources: the subject; the relation with END; BOS, prefix and the rest."""
_FACTS, _NUMBERS = 256, 1 << 26
"""At most so many facts are traced at a time, and value vectors of so many numbers held."""


@dataclass(frozen=True)
class GroupedParts:
    """The parts of the logits of facts, in logits, and what END attended to.

    NaN where a fact has no attribute of a role. heads [fact, role, layer, head, group]; mlps
    [fact, role, layer]; embedding, bias and logits [fact, role]; attention [fact, layer, head,
    group], fractions; rank [fact], of the answer in the vocabulary (1 is the top).
    """

    heads: Float[np.ndarray, "fact role layer head group"]
    mlps: Float[np.ndarray, "fact role layer"]
    embedding: Float[np.ndarray, "fact role"]
    bias: Float[np.ndarray, "fact role"]
    logits: Float[np.ndarray, "fact role"]
    attention: Float[np.ndarray, "fact layer head group"]
    rank: Int[np.ndarray, " fact"]

    def take(self, facts: Sequence[int]) -> GroupedParts:
        """The same for some of the facts."""
        rows = list(facts)
        return GroupedParts(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def chunks(
    model: FactModel, facts: Sequence[Fact], prompts: Sequence[PromptTokens]
) -> Generator[list[int]]:
    """The facts' numbers in batches of prompts of about one length.

    The order hangs on length and prompt alone, so that numbers do not change with the order of the
    facts.
    """
    longest = max(map(len, prompts))
    most = max(1, min(_FACTS, _NUMBERS // (model.n_layers * model.d_model * longest)))
    order = sorted(range(len(facts)), key=lambda i: (len(prompts[i]), facts[i].prompt, i))
    for start in range(0, len(order), most):
        yield order[start : start + most]


@torch.inference_mode()
def grouped_parts(
    model: FactModel,
    facts: Sequence[Fact],
    tokens: RoleTokens,
    *,
    blocked: Sequence[Edges] | None = None,
    look: Callable[[Trace, Sequence[int]], None] | None = None,
) -> GroupedParts:
    """Split the mean logits of a, S, R and O of facts into parts.

    Parameters
    ----------
    model : FactModel
    facts : sequence of Fact
    tokens : RoleTokens
        Of these facts.
    blocked : [fact] of (query, key), optional
        Attention edges that are closed.
    look : callable, optional
        Shown every batch's trace and the numbers of its facts, so that no prompt runs twice.

    Raises
    ------
    FactvizError
        If the parts do not add up to the model's own logits, or these are not finite.
    """
    found: list[GroupedParts] = []
    order: list[int] = []
    for batch in chunks(model, facts, tokens.prompts):
        edges = None if blocked is None else [blocked[i] for i in batch]
        its = tokens.take(batch)
        traced = trace(model, [facts[i] for i in batch], blocked=edges, tokens=its.prompts)
        found.append(read_trace(traced, its))
        if look is not None:
            look(traced, batch)
        order += batch
    back = np.argsort(order)
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in found])[back]
        for field in fields(GroupedParts)
    }
    return GroupedParts(**joined)


@torch.inference_mode()
def read_trace(traced: Trace, tokens: RoleTokens) -> GroupedParts:
    """The grouped parts of one batch."""
    model, facts = traced.model, len(traced.facts)
    with model.lock:  # nobody changes weights meanwhile
        directions = role_directions(model, tokens)
        constant = directions.constant.unflatten(0, (facts, -1))
        seen = directions.residual.unflatten(0, (facts, -1)) / traced.final_scale[:, None, None]
        member = memberships(traced).to(seen)
        heads, biases = zip(
            *(_layer(traced, layer, directions, member) for layer in range(model.n_layers)),
            strict=True,
        )
    parts = {
        "heads": torch.stack(heads, 2),
        "mlps": torch.einsum("frd,fld->frl", seen, traced.mlps.to(seen)),
        "embedding": torch.einsum("frd,fd->fr", seen, traced.embedding.to(seen)),
        "bias": constant + torch.stack(biases).sum(0),
        "logits": _logits(traced, tokens),
    }
    _check(traced, parts)
    attention = torch.einsum("flhs,fsg->flhg", traced.pattern.to(member), member)
    return GroupedParts(
        **{name: part.cpu().numpy() for name, part in parts.items()},
        attention=attention.cpu().numpy(),
        rank=answer_ranks(traced.logits, [row[0][0] for row in tokens.ids]),
    )


def answer_ranks(
    logits: Float[Tensor, "fact vocab"], answers: Sequence[int]
) -> Int[np.ndarray, " fact"]:
    """The rank of each fact's answer in the vocabulary, 1 is the top."""
    own = logits.gather(1, torch.tensor(answers, device=logits.device)[:, None])
    return ((logits > own).sum(1) + 1).cpu().numpy()


def memberships(traced: Trace) -> Float[Tensor, "fact source group"]:
    """Which of `GROUPS` a position is in, as 0 and 1; padding is in none."""
    found = np.zeros((len(traced.facts), traced.pattern.shape[-1], len(GROUPS)), np.float32)
    owner = {"subject": 0, "relation": 1, "end": 1}
    for fact, groups in enumerate(traced.groups):
        for name, positions in groups.items():
            found[fact, list(positions), owner.get(name, 2)] = 1
    return torch.from_numpy(found).to(traced.pattern.device)


def group_reads(
    traced: Trace, layer: int, member: Float[Tensor, "fact source group"]
) -> Float[Tensor, "fact kv_head repeat group d_head"]:
    """What each head reads of each group at END: attention times value vectors, summed.

    Without the part of the value vectors that no token has a share in (b_V + β₁·W_V).
    """
    values = traced.values[layer].to(member).transpose(1, 2)  # [fact, kv_head, source, d_head]
    common = _common(traced.model, layer, values)
    if common is not None:
        values = values - common[:, None]
    weights = traced.pattern[:, layer].to(member)[..., None] * member[:, None]
    weights = weights.unflatten(1, (values.shape[1], -1))  # [fact, kv_head, repeat, source, group]
    return torch.einsum("fkrsg,fksd->fkrgd", weights, values)


def _common(
    model: FactModel, layer: int, values: Float[Tensor, "fact kv_head source d_head"]
) -> Float[Tensor, "kv_head d_head"] | None:
    found = constant_values(model.geometry, model.geometry.layers[layer])
    return None if found is None else found.to(values).unflatten(-1, (values.shape[1], -1))


def _layer(
    traced: Trace, layer: int, directions: Directions, member: Float[Tensor, "fact source group"]
) -> tuple[Float[Tensor, "fact role head group"], Float[Tensor, "fact role"]]:
    """One layer's heads by source group, and the biases that go with them, in logits."""
    facts = len(traced.facts)
    read = group_reads(traced, layer, member)
    seen = head_directions(traced.model, layer, directions, read.shape[1])
    values = seen.values.unflatten(0, (facts, -1))
    final = traced.final_scale[:, None]
    scale = final * traced.attention_scale[:, layer, None]
    bias = seen.constant.unflatten(0, (facts, -1)) / scale
    bias = bias + seen.shift.unflatten(0, (facts, -1)) / final
    if seen.common is not None:
        mass = traced.pattern[:, layer].sum(-1).to(member).unflatten(1, (read.shape[1], -1))
        common = torch.einsum("fckrd,kd,fkr->fc", values, seen.common, mass)
        bias = bias + common / scale
    heads = torch.einsum("fckrd,fkrgd->fckrg", values, read).flatten(2, 3)
    return heads / scale[..., None, None], bias


def _logits(traced: Trace, tokens: RoleTokens) -> Float[Tensor, "fact role"]:
    """The model's own mean centred logit of each role."""
    logits = traced.logits.to(working_dtype(traced.model))
    logits = logits - logits.mean(1, keepdim=True)
    rows = [(fact, row) for fact, roles in enumerate(tokens.ids) for row in roles]
    counts = [len(row) for _, row in rows]
    owner = np.repeat([fact for fact, _ in rows], counts)
    flat = np.fromiter((token for _, row in rows for token in row), np.int64)
    at = (torch.from_numpy(owner).to(logits.device), torch.from_numpy(flat).to(logits.device))
    means = segment_means(logits[at][:, None], counts)
    return means[:, 0].unflatten(0, (len(traced.facts), -1))


def _check(traced: Trace, parts: dict[str, Tensor]) -> None:
    """Refuse parts that miss the model's own logits."""
    for fact in (~traced.logits.isfinite().all(1)).nonzero()[:, 0].tolist():
        check_finite(traced, fact)
    beside = parts["embedding"].double() + parts["bias"]
    total = parts["heads"].double().sum((2, 3, 4)) + parts["mlps"].double().sum(2) + beside
    size = parts["heads"].abs().sum((2, 3, 4)) + parts["mlps"].abs().sum(2)
    size = size + parts["embedding"].abs() + parts["bias"].abs()
    gap = (total - parts["logits"]).abs().nan_to_num()
    worst = int((gap / size.nan_to_num().clamp(min=1)).argmax())
    checked_sum(traced.model, float(gap.flatten()[worst]), float(size.flatten()[worst]))
