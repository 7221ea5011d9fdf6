"""What a block adds to attention scores, read from the masks that the model itself made.

So windows, causality and biases fused into a mask are the model's own at every layer, whatever the
family. Masks here are additive: the dtype's minimum closes a key.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from factviz.models.parts import Parts

Mask = Float[Tensor, "head query key"]


def least(mask: Tensor) -> float:
    """What closes a key: the dtype's minimum, as in transformers (not minus infinity)."""
    return torch.finfo(mask.dtype).min


def read_masks(
    parts: Sequence[Parts], taken: Sequence[Tensor | None], like: Tensor
) -> tuple[list[Mask], list[bool | None]]:
    """The mask of every layer, [1 or head, query, key], and how a boolean one says "closed".

    Parameters
    ----------
    parts
    taken
        What each block was given, for one prompt; None stands for plain causality.
    like : [position, d_model]
        A state: the prompt's length, dtype and device.
    """
    made: dict[tuple[int, int], tuple[Mask, bool | None]] = {}
    found: list[tuple[Mask, bool | None]] = []
    for part, mask in zip(parts, taken, strict=True):
        own = own_mask(part.block)
        key = (id(mask), id(own))
        if key not in made:
            made[key] = _additive(mask, own, like)
        found.append(made[key])
    return [mask for mask, _ in found], [closed for _, closed in found]


def closed_edges(
    mask: Tensor | None, blocked: Bool[Tensor, "fact query key"], dtype: torch.dtype
) -> Tensor:
    """A batch's mask as an attention module is handed it, with more edges closed.

    Causality is kept: a mask of one's own would replace it under transformers 5. A query must be
    left with something to see.
    """
    if mask is None:
        length = blocked.shape[-1]
        future = torch.ones(length, length, dtype=torch.bool, device=blocked.device).triu(1)
        mask = torch.zeros(1, 1, length, length, dtype=dtype, device=blocked.device)
        return mask.masked_fill(future | blocked[:, None], least(mask))
    if mask.dtype == torch.bool:
        closed = not bool(mask[0, 0, 0, 0])  # position 0 sees itself
        return torch.where(blocked[:, None], torch.full_like(mask, closed), mask)
    return mask.masked_fill(blocked[:, None], least(mask))


def own_mask(block: nn.Module) -> Tensor | None:
    """The causal or local mask that some attention modules keep as a buffer (GPT-Neo)."""
    held = [tensor for _, tensor in _own_masks(block)]
    return held[0] if held else None


def open_own_masks(block: nn.Module, size: int) -> None:
    """Put all-true masks in the place of such buffers, in the bare copy: rows are no positions."""
    for module, held in _own_masks(block):
        module.bias = held.new_ones(1, 1, 1, 1).expand(1, 1, size, size)


def _own_masks(block: nn.Module) -> list[tuple[nn.Module, Tensor]]:
    return [
        (module, held)
        for module in block.modules()
        for name, held in module.named_buffers(recurse=False)
        if name == "bias" and held.dtype == torch.bool and held.ndim == 4
    ]


def _additive(mask: Tensor | None, own: Tensor | None, like: Tensor) -> tuple[Mask, bool | None]:
    closed: bool | None = None
    length = len(like)
    if mask is None:
        added = torch.full_like(like[:, :1], least(like)).expand(length, length).triu(1)[None]
    elif mask.dtype == torch.bool:
        # Position 0 sees itself: that says which value means "open".
        closed = not bool(mask[0, 0, 0, 0])
        added = torch.zeros_like(mask[0], dtype=like.dtype).masked_fill(
            mask[0] == closed, least(like)
        )
    else:
        added = mask[0].clamp(min=least(mask))
    if own is not None:
        added = added.masked_fill(~own[0, 0, :length, :length], least(added))
    return added, closed
