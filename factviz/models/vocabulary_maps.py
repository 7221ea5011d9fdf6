"""Heads as maps from vocabulary to vocabulary: E · W_V W_O · W_U, from the weights alone."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.geometry import linear_weight
from factviz.models.states import input_embedding

_NUMBERS = 1 << 24


def head_weights(
    model: FactModel, layer: int, head: int
) -> tuple[Float[Tensor, "d_head d_model"], Float[Tensor, "d_model d_head"]]:
    """W_V and W_O of one head, outputs first, as stored.

    Under grouped-query attention several heads share their W_V.

    Raises
    ------
    FactvizError
        If there is no such layer or head.
    """
    for name, value, count in (("layer", layer, model.n_layers), ("head", head, model.n_heads)):
        if not 0 <= value < count:
            raise FactvizError(f"no {name} {value}: {model.name} has {name}s 0 to {count - 1}")
    parts = model.geometry.layers[layer]
    value, output = linear_weight(parts.value), linear_weight(parts.output)
    width = output.shape[1] // model.n_heads
    shared = model.n_heads * width // value.shape[0]
    group = head // shared
    rows = value[group * width : (group + 1) * width]
    return rows, output[:, head * width : (head + 1) * width]


@torch.inference_mode()
def mapped(
    model: FactModel, layer: int, head: int, ids: Int[Tensor, " token"], k: int
) -> tuple[Float[Tensor, "token rank"], Int[Tensor, "token rank"]]:
    """The ``k`` highest entries of some tokens' rows of E · W_V W_O · W_U, and their ids."""
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
    value, output = (part.to(dtype) for part in head_weights(model, layer, head))
    embedding = input_embedding(model)
    weight = model.unembedding[0]
    moved = (embedding[ids.to(embedding.device)].to(dtype) @ value.T) @ output.T
    read = weight.to(dtype).T
    tops = [
        (rows @ read).topk(min(k, weight.shape[0]))
        for rows in moved.split(max(1, _NUMBERS // weight.shape[0]))
    ]
    return torch.cat([top.values for top in tops]), torch.cat([top.indices for top in tops])
