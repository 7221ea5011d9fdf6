"""The whole attention of one layer on one prompt: every query, not END's row alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.geometry import refusal
from factviz.models.recording import end_logits, evaluating, hooks

_NO_HEAD: Any = object()


def check_head(model: FactModel, layer: Any, head: Any = _NO_HEAD) -> None:
    """Refuse a layer, or a head if one is named, that the model does not have.

    Raises
    ------
    FactvizError
        If there is no such layer or head.
    """
    asked = [("layer", layer, model.n_layers)]
    if head is not _NO_HEAD:
        asked.append(("head", head, model.n_heads))
    for name, value, count in asked:
        if not is_whole(value):
            raise FactvizError(f"{name}={value!r} is no number of a {name}")
        if not 0 <= value < count:
            what = f"layer {layer}" if head is _NO_HEAD else f"L{layer}H{head}"
            raise FactvizError(f"{what} does not exist: {model.name} has {name}s 0 to {count - 1}")


@torch.inference_mode()
def layer_attention(
    model: FactModel, ids: Sequence[int], layer: int
) -> Float[np.ndarray, "head query key"]:
    """What every token attends to, by the heads of one layer, in one forward pass.

    Parameters
    ----------
    model : FactModel
    ids : sequence of int
        The prompt's tokens, BOS included.
    layer : int

    Returns
    -------
    array [head, query, key]
        Fractions of each query's attention.

    Raises
    ------
    FactvizError
        If there is no such layer, or the model does not show what it attends to.
    """
    check_head(model, layer)
    seen: list[Tensor] = []

    def keep(_: nn.Module, _args: Any, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if weights is None:
            raise refusal(model.architecture, f"layer {layer} shows no attention weights")
        seen.append(weights[0])

    with model.lock:
        rows, ends = model.padded([ids])
        places = [
            (model.geometry.layers[layer].attention, "after", keep),
            end_logits(model.geometry, (torch.zeros_like(ends), ends)),  # the rest is not needed
        ]
        with hooks(*places), evaluating(model.network):
            model.network(input_ids=rows, attention_mask=torch.ones_like(rows), use_cache=False)
    return seen[-1].float().cpu().numpy()
