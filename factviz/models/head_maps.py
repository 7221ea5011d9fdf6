"""Where one head's W_V and W_O lie in the live weights.

W_O is one parameter in every family, and a head's share of it is its own. W_V is not: under
grouped-query attention several heads share it, and where a model keeps queries, keys and values in
one joint matrix (GPT-2, NeoX, Falcon), TransformerLens' bridge computes with a copy of its parts
while the model's own modules, which interventions run, hold the joint one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from factviz.facts.errors import FactvizError
from factviz.models.attention import check_head
from factviz.models.factmodel import FactModel
from factviz.models.geometry import linear_bias, linear_weight, original


class Values(NamedTuple):
    """A W_V of one head [d_head, d_model] and its bias, if any: views into the live weights."""

    weight: Float[Tensor, "d_head d_model"]
    bias: Float[Tensor, " d_head"] | None


def exact(tensor: Tensor) -> Tensor:
    """In float64, where the device has it."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()


def output_of_head(model: FactModel, layer: int, head: int) -> Float[Tensor, "d_model d_head"]:
    """A head's share of W_O, outputs first: a view into the live weights."""
    check_head(model, layer, head)
    whole = linear_weight(model.geometry.layers[layer].output)
    if not whole.is_floating_point():
        raise FactvizError(
            f"W_O of layer {layer} is stored as {whole.dtype}: quantised weights can't be edited"
        )
    width = whole.shape[1] // model.n_heads
    return whole[:, head * width : (head + 1) * width]


def group_of(model: FactModel, layer: int, head: int) -> tuple[int, ...]:
    """The heads that share this head's keys and values, itself among them."""
    parts = model.geometry.layers[layer]
    value, output = linear_weight(parts.value), linear_weight(parts.output)
    shared = output.shape[1] // value.shape[0]
    first = head - head % shared
    return tuple(range(first, first + shared))


def values_of_head(model: FactModel, layer: int, head: int) -> Values:
    """A head's W_V and b_V, as what attribution reads them from has them."""
    check_head(model, layer, head)
    parts = model.geometry.layers[layer]
    width = linear_weight(parts.output).shape[1] // model.n_heads
    start = head // len(group_of(model, layer, head)) * width
    return _rows(parts.value, start, width)


def values_everywhere(model: FactModel, layer: int, head: int) -> list[Values]:
    """A head's W_V in every place where it lies.

    Raises
    ------
    FactvizError
        If other heads share it, or it is not found in the model's joint matrix.
    """
    group = group_of(model, layer, head)
    if len(group) > 1:
        named = ", ".join(f"L{layer}H{one}" for one in group)
        raise FactvizError(
            f"W_V of L{layer}H{head} is shared by the group {named}: changing it would change them "
            "all. Scale the head, remove a direction from its output, or swap heads of one group"
        )
    own = values_of_head(model, layer, head)
    parts = model.geometry.layers[layer]
    inside = list(original(parts.attention).modules())
    if any(module is original(parts.value) for module in inside):
        return [own]
    found = [
        _rows(module, start, len(own.weight))
        for module in inside
        for start in _matches(module, own.weight)
    ]
    if len(found) != 1:
        raise FactvizError(
            f"W_V of L{layer}H{head} is found {len(found)} times in the joint matrices of the "
            f"model's own attention ({type(original(parts.attention)).__name__}), not once: it "
            "can't be changed in both places"
        )
    return [own, *found]


def _rows(module: nn.Module, start: int, count: int) -> Values:
    bias = linear_bias(module)
    rows = slice(start, start + count)
    return Values(linear_weight(module)[rows], None if bias is None else bias[rows])


def _matches(module: nn.Module, rows: Float[Tensor, "d_head d_model"]) -> list[int]:
    """Where a linear map holds these very rows, one after the other."""
    if "weight" not in dict(module.named_parameters(recurse=False)):
        return []
    whole = linear_weight(module)
    if whole.ndim != 2 or whole.shape[1] != rows.shape[1]:
        return []
    starts = (whole == rows[0].to(whole.device)).all(1).nonzero()[:, 0].tolist()
    return [
        start
        for start in starts
        if start + len(rows) <= len(whole) and torch.equal(whole[start : start + len(rows)], rows)
    ]


class Maps(NamedTuple):
    """W_V, b_V and W_O of a head, copied, in float64; b_V is 0 where there is none."""

    value: Float[Tensor, "d_head d_model"]
    bias: Float[Tensor, " d_head"]
    output: Float[Tensor, "d_model d_head"]


def maps_of_head(model: FactModel, layer: int, head: int) -> Maps:
    """A head's maps as they are now."""
    value, bias = values_of_head(model, layer, head)
    bias = value.new_zeros(len(value)) if bias is None else bias
    output = output_of_head(model, layer, head)
    return Maps(*(exact(part).clone() for part in (value, bias, output)))


def ov_distance(before: Maps, after: Maps, *, with_bias: bool = False) -> float:
    """‖ΔW_OV‖_F, without building a [d_model, d_model] matrix; b_V as one more input, if wanted."""
    values = torch.cat([after.value, before.value])
    if with_bias:
        values = torch.cat([values, torch.cat([after.bias, before.bias])[:, None]], 1)
    outputs = torch.cat([after.output, -before.output], 1)
    # ‖O V‖² = tr(OᵀO · VVᵀ); through QR, as the Gram matrices would square the rounding.
    left, right = torch.linalg.qr(outputs).R, torch.linalg.qr(values.T).R
    return float((left @ right.T).norm())
