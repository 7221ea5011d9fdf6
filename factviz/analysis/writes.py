"""What parts of a model wrote at END, as vectors, and the logits of the whole vocabulary in them.

Writes are summed first and unembedded once for each part: nothing here is [layer, head, source,
d_model] or [vocabulary, layer, head, source].
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from factviz.analysis.directions import working_dtype
from factviz.analysis.grouped import group_reads, memberships
from factviz.models.factmodel import FactModel
from factviz.models.geometry import constant_values, linear_bias, linear_weight
from factviz.models.traced import Trace

Owners = Int[np.ndarray, "layer head group"]
"""Which part each head's reading of each source group belongs to; −1 for none."""


def head_writes(traced: Trace, owners: Owners, count: int) -> Float[Tensor, "fact part d_model"]:
    """What each part's heads added to the residual stream at END.

    Parameters
    ----------
    traced : Trace
    owners : [layer, head, group]
        The part of each head and source group (`factviz.analysis.grouped.GROUPS`).
    count : int
        How many parts there are.
    """
    model = traced.model
    member = memberships(traced).to(working_dtype(model))
    total = member.new_zeros(len(traced.facts), count, model.d_model)
    for layer, own in enumerate(owners):
        if (own < 0).all():
            continue
        read = group_reads(traced, layer, member).flatten(1, 2)  # [fact, head, group, d_head]
        one_hot = torch.from_numpy(own[..., None] == np.arange(count)).to(read)
        parts = torch.einsum("fhgd,hgp->fphd", read, one_hot).flatten(2)
        total += _added(traced, layer, parts)
    return total


def head_write(traced: Trace, layer: int, head: int) -> Float[Tensor, "fact d_model"]:
    """What one head added to the residual stream at END, its share of b_V too."""
    values = traced.values[layer].to(working_dtype(traced.model))
    own = values[:, :, head * values.shape[2] // traced.model.n_heads]
    read = torch.einsum("fs,fsd->fd", traced.pattern[:, layer, head].to(own), own)
    width = read.shape[1]
    heads = read.new_zeros(len(read), 1, width * traced.model.n_heads)
    heads[:, 0, head * width : (head + 1) * width] = read
    return _added(traced, layer, heads)[:, 0]


def _added(
    traced: Trace, layer: int, heads: Float[Tensor, "fact part width"]
) -> Float[Tensor, "fact part d_model"]:
    """Heads' outputs through W_O, a post-norm with its scale frozen, and the multiplier."""
    geometry = traced.model.geometry
    written = heads @ linear_weight(geometry.layers[layer].output).to(heads).T
    post = geometry.layers[layer].attention_post
    if post is not None:
        written = geometry.norm(post).push(written)
        written = written / traced.attention_scale[:, layer, None, None]
    return written * geometry.residual_multiplier


def bias_write(traced: Trace) -> Float[Tensor, "fact d_model"]:
    """What the attention layers' biases added at END: b_O, and b_V + β₁·W_V through W_O."""
    model, facts = traced.model, len(traced.facts)
    total = torch.zeros(facts, model.d_model, dtype=working_dtype(model), device=model.device)
    for index, layer in enumerate(model.geometry.layers):
        mass = traced.pattern[:, index].sum(-1).to(total)  # [fact, head]
        width = linear_weight(layer.output).shape[1]
        heads = total.new_zeros(facts, width)
        common = constant_values(model.geometry, layer)
        if common is not None:
            each = common.to(total).unflatten(-1, (-1, width // model.n_heads))
            each = each.repeat_interleave(model.n_heads // len(each), 0)
            heads = (mass[..., None] * each).flatten(1)
        written = heads @ linear_weight(layer.output).to(total).T
        bias = linear_bias(layer.output)
        if bias is not None:
            written = written + bias.to(total)
        if layer.attention_post is not None:
            norm = model.geometry.norm(layer.attention_post)
            written = norm.push(written) / traced.attention_scale[:, index, None]
            written = written if norm.bias is None else written + norm.bias.to(total)
        total += written * model.geometry.residual_multiplier
    return total


def vocabulary_logits(
    model: FactModel, writes: Float[Tensor, "n d_model"], scale: Float[Tensor, " n"]
) -> Float[Tensor, "n vocab"]:
    """The centred logits of all tokens in some writes, under a frozen final norm.

    Parameters
    ----------
    model : FactModel
    writes : [n, d_model]
        Vectors in the residual stream before the final norm.
    scale : [n]
        The final norm's scale in the run they are of.
    """
    norm = model.geometry.norm(model.geometry.final_norm)
    read = norm.push(writes) / scale[:, None] * model.geometry.logit_multiplier
    weight = model.unembedding[0]
    logits = read @ weight.to(read).T
    return logits - (read @ model.mean_unembedding(read.dtype))[:, None]


def constant_logits(model: FactModel) -> Float[Tensor, " vocab"]:
    """What the final norm's bias and b_U add to all tokens, centred."""
    weight, bias = model.unembedding
    dtype, multiplier = working_dtype(model), model.geometry.logit_multiplier
    norm = model.geometry.norm(model.geometry.final_norm)
    total = torch.zeros(len(weight), dtype=dtype, device=weight.device)
    if norm.bias is not None:
        total = weight.to(dtype) @ norm.bias.to(dtype) * multiplier
    if bias is not None:
        total = total + bias.to(dtype) * multiplier
    return total - total.mean()
