"""The parts of centred logits: heads by source, MLPs, embedding, biases (arXiv 2402.07321).

W_O is projected onto the attribute directions first, so that memory grows with attributes × heads ×
sources and never × d_model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from factviz.analysis.directions import (
    Directions,
    HeadDirections,
    attribute_directions,
    head_directions,
    working_dtype,
)
from factviz.models.traced import Trace


@dataclass(frozen=True)
class Parts:
    """One fact's parts, in logits; they add up to ``logits``, the model's own, centred."""

    heads: Float[Tensor, "attribute layer head source"]
    mlps: Float[Tensor, "attribute layer"]
    embedding: Float[Tensor, " attribute"]
    bias: Float[Tensor, " attribute"]
    logits: Float[Tensor, " attribute"]

    def residual(self) -> float:
        """The worst |sum of the parts − centred logit| over attributes, logits."""
        total = self.heads.sum((1, 2, 3), dtype=torch.float64)
        total += self.mlps.sum(1, dtype=torch.float64) + self.embedding + self.bias
        return float((total - self.logits).abs().max())

    def size(self) -> float:
        """Σ|parts| of the attribute with the largest, logits: what rounding is relative to."""
        total = self.heads.abs().sum((1, 2, 3)) + self.mlps.abs().sum(1)
        return float((total + self.embedding.abs() + self.bias.abs()).max())


def split_logits(
    trace: Trace, token_ids: Sequence[Sequence[int]], *, fold_values: bool = True
) -> list[Parts]:
    """Split centred logits at END into what each part of the model wrote; nothing is checked.

    Parameters
    ----------
    trace : Trace
    token_ids : [fact][attribute]
        Vocabulary ids, of any number per fact.
    fold_values : bool
        Count b_V + β₁·W_V with the biases (else in the heads, spread by attention).

    Returns
    -------
    list of Parts
        One per fact, in logits.
    """
    model = trace.model
    unique = sorted({token for row in token_ids for token in row})
    place = {token: index for index, token in enumerate(unique)}
    rows = [torch.tensor([place[t] for t in row], device=model.device) for row in token_ids]
    with model.lock:  # nobody changes weights meanwhile
        directions = attribute_directions(model, torch.tensor(unique, device=model.device))
        parts = [_beside_heads(trace, fact, row, directions) for fact, row in enumerate(rows)]
        for fact, ids in enumerate(token_ids):
            parts[fact].logits.copy_(_centred(trace, fact, ids))
        for layer in range(model.n_layers):
            seen = head_directions(model, layer, directions, trace.values[layer].shape[2])
            for fact, row in enumerate(rows):
                heads, bias = _heads(trace, fact, layer, seen.take(row), fold_values=fold_values)
                parts[fact].heads[:, layer] = heads
                parts[fact].bias.add_(bias)
    return parts


def _centred(trace: Trace, fact: int, ids: Sequence[int]) -> Float[Tensor, " attribute"]:
    logits = trace.logits[fact].to(working_dtype(trace.model))
    return logits[torch.tensor(ids, device=logits.device)] - logits.mean()


def _beside_heads(
    trace: Trace, fact: int, row: Int[Tensor, " attribute"], directions: Directions
) -> Parts:
    """Everything but the heads, whose array is made here to be filled layer by layer."""
    seen = directions.residual[row] / trace.final_scale[fact]
    layers, heads = trace.pattern.shape[1:3]
    return Parts(
        heads=seen.new_zeros(len(row), layers, heads, len(trace.tokens[fact])),
        mlps=seen @ trace.mlps[fact].to(seen).T,
        embedding=seen @ trace.embedding[fact].to(seen),
        bias=directions.constant[row],
        logits=seen.new_zeros(len(row)),
    )


def _heads(
    trace: Trace, fact: int, layer: int, seen: HeadDirections, *, fold_values: bool
) -> tuple[Float[Tensor, "attribute head source"], Float[Tensor, " attribute"]]:
    """One layer's heads by source, and the biases that go with them, in logits."""
    length = len(trace.tokens[fact])
    pattern = trace.pattern[fact, layer, :, :length].to(seen.values)
    values = trace.values[layer][fact, :length].to(seen.values)
    final = trace.final_scale[fact]
    scale = final * trace.attention_scale[fact, layer]
    bias = seen.constant / scale + seen.shift / final
    if seen.common is not None and fold_values:
        values = values - seen.common
        common = torch.einsum("akrd,kd->akr", seen.values, seen.common).flatten(1)
        bias = bias + (common * pattern.sum(-1)).sum(-1) / scale
    extracted = torch.einsum("akrd,skd->akrs", seen.values, values).flatten(1, 2)
    return extracted * (pattern / scale), bias
