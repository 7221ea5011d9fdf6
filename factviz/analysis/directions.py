"""Directions in the residual stream that read an attribute's centred logit (arXiv 2402.07321).

Weights are folded on the fly: γ ⊙ (W_U[:, t] − vocabulary mean), its own mean taken out for a
LayerNorm. The frozen scale is per fact and divides later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from factviz.models.factmodel import FactModel
from factviz.models.geometry import constant_values, linear_bias, linear_weight


@dataclass(frozen=True)
class Directions:
    """Attribute directions and their constants, shared by all facts.

    ``residual`` [n, d_model] reads the residual stream before the final norm, in logits times the
    norm's scale; ``constant`` [n] is what the norm's bias and b_U add, in logits.
    """

    residual: Float[Tensor, "n d_model"]
    constant: Float[Tensor, " n"]


@dataclass(frozen=True)
class HeadDirections:
    """Directions seen from one layer's heads.

    ``values`` [n, kv_head, repeat, d_head] reads value vectors and ``constant`` [n] is what b_O
    adds, both in logits times the final scale and times the post-norm's; ``shift`` [n] is the
    post-norm's own bias, in logits times the final scale; ``common`` [kv_head, d_head] is the part
    of the value vectors that no token has a share in, or None.
    """

    values: Float[Tensor, "n kv_head repeat d_head"]
    constant: Float[Tensor, " n"]
    shift: Float[Tensor, " n"]
    common: Float[Tensor, "kv_head d_head"] | None

    def take(self, rows: Int[Tensor, " m"]) -> HeadDirections:
        """The same for some of the attributes; nothing is copied where these are all."""
        if torch.equal(rows, torch.arange(len(self.constant), device=rows.device)):
            return self
        return replace(
            self, values=self.values[rows], constant=self.constant[rows], shift=self.shift[rows]
        )


def working_dtype(model: FactModel) -> torch.dtype:
    """What sums are done in: the model's dtype, and float32 for half precision."""
    exact = model.dtype in (torch.float32, torch.float64)
    return model.dtype if exact else torch.float32


def attribute_directions(model: FactModel, token_ids: Int[Tensor, " n"]) -> Directions:
    """The directions of some tokens, from the weights as they are now."""
    dtype, multiplier = working_dtype(model), model.geometry.logit_multiplier
    weight, bias = model.unembedding
    centred = weight[token_ids.to(weight.device)].to(dtype) - model.mean_unembedding(dtype)
    centred = centred * multiplier
    norm = model.geometry.norm(model.geometry.final_norm)
    constant = norm.constant(centred)
    if bias is not None:
        bias = bias.to(dtype) * multiplier
        constant = constant + bias[token_ids.to(bias.device)] - bias.mean()
    return Directions(norm.pull_back(centred), constant)


def head_directions(
    model: FactModel, index: int, directions: Directions, kv_heads: int
) -> HeadDirections:
    """W_O projected onto the directions: one product for all attributes, nothing by d_model kept.

    Parameters
    ----------
    model
    index
        The layer.
    directions
    kv_heads
        Heads that value vectors have here.
    """
    layer = model.geometry.layers[index]
    seen = directions.residual * model.geometry.residual_multiplier
    shift = seen.new_zeros(len(seen))
    if layer.attention_post is not None:
        norm = model.geometry.norm(layer.attention_post)
        shift, seen = norm.constant(seen), norm.pull_back(seen)
    projected = seen @ linear_weight(layer.output).to(seen)
    bias = linear_bias(layer.output)
    common = constant_values(model.geometry, layer)
    repeat = model.n_heads // kv_heads
    return HeadDirections(
        values=projected.unflatten(-1, (kv_heads, repeat, -1)),
        constant=torch.zeros_like(shift) if bias is None else seen @ bias.to(seen),
        shift=shift,
        common=None if common is None else common.to(seen).unflatten(-1, (kv_heads, -1)),
    )
