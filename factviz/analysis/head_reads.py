"""What heads read at END and what they write of some tokens, before the final norm's scale (P2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.directions import Directions, head_directions
from factviz.models.geometry import linear_weight
from factviz.models.traced import Trace

PROJECTION = (
    "P2: head output · centred W_U (with the final norm's gain, without its scale; b_V in the "
    "head, b_O out)"
)
SOURCES = ("topic", "relation", "end", "bos", "prefix")
"""Sources: the topic (its tokens, END too where the prompt ends with it), and the rest of the
groups; a subject that is not the topic counts with the relation."""


def source_members(
    traced: Trace, topics: Sequence[Sequence[int]]
) -> Float[Tensor, "fact source group"]:
    """Which of `SOURCES` a position is in, as 0 and 1; padding is in none."""
    found = np.zeros((len(traced.facts), traced.pattern.shape[-1], len(SOURCES)), np.float32)
    for fact, (groups, topic) in enumerate(zip(traced.groups, topics, strict=True)):
        for name, positions in groups.items():
            if name != "subject":
                found[fact, list(positions), SOURCES.index(name)] = 1
        found[fact, list(topic)] = np.eye(len(SOURCES))[0]
    return torch.from_numpy(found).to(traced.pattern.device)


def head_projections(
    traced: Trace, layer: int, directions: Directions, count: int
) -> Float[Tensor, "fact direction head"]:
    """What each head of a layer writes along ``count`` directions of each fact.

    In logits times the final norm's scale; a post-norm's scale is that of the run.

    Parameters
    ----------
    traced : Trace
    layer : int
    directions : Directions
        [fact · direction].
    count : int
    """
    values = traced.values[layer].to(directions.residual).transpose(1, 2)
    seen = head_directions(traced.model, layer, directions, values.shape[1])
    pattern = traced.pattern[:, layer].to(values).unflatten(1, (values.shape[1], -1))
    read = torch.einsum("fkrs,fksd->fkrd", pattern, values)
    each = seen.values.unflatten(0, (len(values), count))
    written = torch.einsum("fckrd,fkrd->fckr", each, read).flatten(2)
    return written / traced.attention_scale[:, layer, None, None]


def write_norms(traced: Trace, layer: int) -> Float[Tensor, "fact head source"]:
    """‖v W_O‖ of each source and head: the length of what the head would write of it alone.

    Behind a post-norm with its scale frozen and times the residual multiplier. By d_head × d_head
    products, so that nothing is [head, source, d_model].
    """
    geometry = traced.model.geometry
    weight = linear_weight(geometry.layers[layer].output).to(torch.float32).T  # [value, d_model]
    values = traced.values[layer].to(torch.float32)
    post = geometry.layers[layer].attention_post
    if post is not None:
        weight = geometry.norm(post).push(weight)
    each = weight.unflatten(0, (traced.model.n_heads, -1))
    gram = torch.einsum("hdm,hem->hde", each, each).unflatten(0, (values.shape[2], -1))
    squares = torch.einsum("fskd,krde,fske->fkrs", values, gram, values).flatten(1, 2)
    scale = traced.attention_scale[:, layer, None, None].to(squares)
    return squares.clamp(min=0).sqrt() / scale * abs(geometry.residual_multiplier)
