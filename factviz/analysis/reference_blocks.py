"""Blocked attention as the code of arXiv 2304.14767 has it: a second softmax over the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from factviz.facts.fact import Fact
from factviz.models.factmodel import FactModel
from factviz.models.interventions import Apply, Change, Variant
from factviz.models.traced import trace


def twice_softmaxed(model: FactModel, fact: Fact, keys: Sequence[int]) -> list[Variant]:
    """One variant a layer: END's attention weights without the keys, put through a softmax again.

    The weights are numbers between 0 and 1, so what is left comes out nearly uniform. Where nothing
    is left, no head writes.
    """
    traced = trace(model, fact)
    end = len(traced.tokens[0]) - 1
    found: list[Variant] = []
    for layer, values in enumerate(traced.values):
        pattern = traced.pattern[0, layer]  # [head, source]
        seen = (pattern > 0).any(0)
        seen[list(keys)] = False
        weights = pattern.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0)
        per_head = values[0].repeat_interleave(len(pattern) // values.shape[2], 1)
        heads = torch.einsum("hs,shd->hd", weights.to(per_head), per_head).flatten()
        found.append([Apply("heads", layer, [end], _put(heads))])
    return found


def _put(heads: Tensor) -> Change:
    def change(before: Tensor, _layer: int, _positions: tuple[int, ...]) -> Tensor:
        return heads.to(before).expand_as(before)

    return change
