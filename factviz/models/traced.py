"""One traced forward pass over facts: what END read, and what was written there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel
from factviz.models.geometry import linear_weight, refusal
from factviz.models.recording import Record

Groups = Mapping[str, Sequence[int]]
Edges = Sequence[tuple[int, int]]
"""Attention edges (query, key) of one prompt."""

# Eager attention holds [fact, head, position, position] for one layer at a time.
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Trace:
    """What a run of facts left for the analyses; made by `trace`.

    Positions are padded on the right to the longest prompt: pattern and values are 0 there.

    Attributes
    ----------
    model, facts, tokens
        What ran; tokens [fact].
    groups
        Positions by source group, one mapping per fact: a partition of its positions.
    single : bool
        Whether one `Fact` was given, not a list.
    pattern : [fact, layer, head, source]
        The attention row of END, fractions.
    values : [layer] of [fact, source, kv_head, d_head]
        The value vectors; fewer kv_heads than heads under grouped-query attention.
    mlps : [fact, layer, d_model]
        What each MLP added to the residual stream at END.
    attention_scale : [fact, layer]
        The frozen scale of the norm behind each attention, at END; 1 where there is none.
    embedding, residual : [fact, d_model]
        The residual stream at END before the first block, and before the final norm.
    final_scale : [fact]
        The frozen scale of the final norm at END.
    logits : [fact, vocab]
        The model's own logits at END, before a final soft-cap, in logits.
    """

    model: FactModel
    facts: list[Fact]
    tokens: list[PromptTokens]
    groups: list[dict[str, tuple[int, ...]]]
    single: bool
    pattern: Float[Tensor, "fact layer head source"] = field(repr=False)
    values: list[Float[Tensor, "fact source kv_head d_head"]] = field(repr=False)
    mlps: Float[Tensor, "fact layer d_model"] = field(repr=False)
    attention_scale: Float[Tensor, "fact layer"] = field(repr=False)
    embedding: Float[Tensor, "fact d_model"] = field(repr=False)
    residual: Float[Tensor, "fact d_model"] = field(repr=False)
    final_scale: Float[Tensor, " fact"] = field(repr=False)
    logits: Float[Tensor, "fact vocab"] = field(repr=False)


@torch.inference_mode()
def trace(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    groups: Groups | Sequence[Groups] | None = None,
    blocked: Sequence[Edges] | None = None,
    tokens: Sequence[PromptTokens] | None = None,
) -> Trace:
    """Run facts through a model once and keep only what the analyses at END need.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        Facts of different lengths run in one batch, padded on the right.
    groups : mapping or sequence of mappings, optional
        Positions by group name, for all facts or one mapping per fact, in place of the default
        source groups (bos, prefix, subject, relation, end). Positions not named form "other".
    blocked : [fact] of (query, key), optional
        Attention edges closed in every layer; what is left of a row is renormalised. A query must
        be left with something to see.
    tokens : [fact], optional
        The prompts as this model reads them, where that is known already.

    Returns
    -------
    Trace

    Raises
    ------
    FactvizError
        If a prompt is too long, a group has no name, overlaps another or lies outside the prompt,
        or the model does not show what it attends to.
    """
    _check_input(model, facts)
    found = as_facts(facts)
    tokens = [model.tokenize(fact) for fact in found] if tokens is None else list(tokens)
    named = _groups(groups, tokens)
    records = [
        model.record([tokens[i].ids for i in batch], _closed(model, tokens, batch, blocked))
        for batch in _batches(tokens)
    ]
    for made, batch in zip(records, _batches(tokens), strict=True):
        _check(model, made)
        _check_causal(model, made, [len(tokens[i]) for i in batch])
    joined = _joined(model, records, [len(row) for row in tokens])
    return Trace(model, found, tokens, named, isinstance(facts, Fact), *joined)


def _closed(
    model: FactModel,
    tokens: Sequence[PromptTokens],
    batch: Sequence[int],
    blocked: Sequence[Edges] | None,
) -> Bool[Tensor, "fact query key"] | None:
    """The edges of one batch as a mask."""
    if blocked is None:
        return None
    length = max(len(tokens[i]) for i in batch)
    found = torch.zeros(len(batch), length, length, dtype=torch.bool)
    for row, fact in enumerate(batch):
        for query, key in blocked[fact]:
            found[row, query, key] = True
    return found.to(model.device)


def _check_input(model: Any, facts: Any) -> None:
    if not isinstance(model, FactModel):
        raise FactvizError(
            f"the model is {str(model)[:80]!r} ({type(model).__name__}): trace(model, facts) takes "
            "what load_model gives, first"
        )
    if not isinstance(facts, (Fact, Iterable)):
        raise FactvizError(f"the facts are {facts!r}: pass a Fact, a list of them or a FactSet")


def _batches(tokens: Sequence[PromptTokens]) -> list[list[int]]:
    """Runs of neighbouring facts whose padded size stays small."""
    batches: list[list[int]] = [[]]
    longest = 0
    for index, row in enumerate(tokens):
        longest = max(longest, len(row))
        if batches[-1] and longest * (len(batches[-1]) + 1) > _BATCH_TOKENS:
            batches.append([])
            longest = len(row)
        batches[-1].append(index)
    return batches


def _groups(
    groups: Groups | Sequence[Groups] | None, tokens: Sequence[PromptTokens]
) -> list[dict[str, tuple[int, ...]]]:
    if groups is None:
        return [dict(row.groups) for row in tokens]
    each = [groups] * len(tokens) if isinstance(groups, Mapping) else list(groups)
    if len(each) != len(tokens):
        raise FactvizError(
            f"{len(each)} groupings for {len(tokens)} facts: give one, or one per fact"
        )
    return [_partition(one, len(row)) for one, row in zip(each, tokens, strict=True)]


def _partition(groups: Groups, length: int) -> dict[str, tuple[int, ...]]:
    owner: dict[int, str] = {}
    for name, positions in groups.items():
        if not name:
            raise FactvizError(f"a group is named {name!r}: padding is marked so; give it a name")
        for position in positions:
            if not 0 <= position < length:
                raise FactvizError(
                    f"group {name!r} names position {position}; the prompt has 0 to {length - 1}"
                )
            if position in owner:
                raise FactvizError(
                    f"position {position} is in groups {owner[position]!r} and {name!r}: groups "
                    "partition the positions"
                )
            owner[position] = name
    rest = tuple(i for i in range(length) if i not in owner)
    named = {name: tuple(sorted(positions)) for name, positions in groups.items()}
    if rest:
        named["other"] = tuple(sorted({*named.get("other", ()), *rest}))
    return named


def _check(model: FactModel, made: Record) -> None:
    """Refuse what would give wrong numbers without a word."""
    geometry = model.geometry
    for index, (pattern, values) in enumerate(zip(made.pattern, made.values, strict=True)):
        if pattern is None or values is None or made.mlps[index] is None:
            what = "attention weights" if pattern is None else "value vectors or MLP output"
            raise refusal(model.architecture, f"layer {index} shows no {what}")
        if pattern.shape[1] % max(1, _kv_heads(model, index, values)):
            raise refusal(model.architecture, f"layer {index} has uneven groups of heads")
    if torch.equal(made.raw, made.logits):
        return
    expected = made.raw * geometry.logit_multiplier
    if geometry.soft_cap:
        expected = geometry.soft_cap * torch.tanh(expected / geometry.soft_cap)
    loose = 1e-4 if made.raw.dtype in (torch.float32, torch.float64) else 2e-2
    gap = (expected - made.logits).abs().max().item()
    if gap > loose * max(1.0, made.logits.abs().max().item()):
        raise refusal(
            model.architecture, f"its logits are not what its unembedding gives (off by {gap:.2g})"
        )


def _check_causal(model: FactModel, made: Record, lengths: Sequence[int]) -> None:
    """Padding on the right is harmless only where no position sees a later one."""
    for pattern in made.pattern:
        if bool(pattern.masked_fill(~_padding(pattern, lengths)[:, None], 0).any()):
            raise refusal(model.architecture, "its positions see later ones")


def _padding(
    like: Float[Tensor, "fact *n source"], lengths: Sequence[int]
) -> Bool[Tensor, "fact source"]:
    """Which positions of a batch are padding."""
    positions = torch.arange(like.shape[-1], device=like.device)
    return positions >= torch.tensor(list(lengths), device=like.device)[:, None]


def _kv_heads(model: FactModel, layer: int, values: Float[Tensor, "fact source value"]) -> int:
    width = linear_weight(model.geometry.layers[layer].output).shape[1]
    return values.shape[-1] * model.n_heads // width


def _joined(model: FactModel, records: Sequence[Record], lengths: Sequence[int]) -> tuple[Any, ...]:
    longest = max(made.pattern[0].shape[-1] for made in records)
    pattern = [_wider(torch.stack(made.pattern, 1), longest, -1) for made in records]
    values = [
        torch.cat([_wider(_split(model, layer, made), longest, 1) for made in records])
        for layer in range(model.n_layers)
    ]
    padding = _padding(pattern[0], lengths)
    for layer in values:  # what the padding tokens gave
        layer.masked_fill_(padding[:, :, None, None], 0)
    multiplier = model.geometry.residual_multiplier
    final = model.geometry.norm(model.geometry.final_norm)
    return (
        torch.cat(pattern),
        values,
        torch.cat([torch.stack(made.mlps, 1) for made in records]) * multiplier,
        torch.cat([_attention_scale(model, made) for made in records]),
        torch.cat([made.embedding for made in records]),
        torch.cat([made.final[0] for made in records]),
        torch.cat([final.scale(*made.final) for made in records]),
        torch.cat([made.raw for made in records]) * model.geometry.logit_multiplier,
    )


def _split(
    model: FactModel, layer: int, made: Record
) -> Float[Tensor, "fact source kv_head d_head"]:
    values = made.values[layer]
    return values.unflatten(-1, (_kv_heads(model, layer, values), -1))


def _wider(tensor: Tensor, length: int, dim: int) -> Tensor:
    missing = length - tensor.shape[dim]
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)


def _attention_scale(model: FactModel, made: Record) -> Float[Tensor, "fact layer"]:
    scales = [
        torch.ones_like(made.embedding[:, 0])
        if layer.attention_post is None or seen is None
        else model.geometry.norm(layer.attention_post).scale(*seen)
        for layer, seen in zip(model.geometry.layers, made.attention_post, strict=True)
    ]
    return torch.stack(scales, 1)
