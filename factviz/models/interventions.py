"""What can be changed in a run: attention edges, heads, sublayer updates, states.

An intervention says what, at which layers and positions of one prompt. A *variant* is a tuple of
them: all hold in the same run. `factviz.models.runs` runs variants; positions may count from the
end (-1 is END).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from factviz.facts.errors import FactvizError

Place = Literal["state", "heads", "attention", "neurons", "mlp"]
"""Where a tensor stands: the block's input; the heads' outputs side by side, before the output
projection; the attention's update as it is added to the residual stream; the neurons' activations;
the MLP's update as it is added."""

Kind = Literal["attention", "mlp"]
Value = Float[Tensor, "..."] | float
Change = Callable[[Float[Tensor, "position width"], int, tuple[int, ...]], Any]


@dataclass(frozen=True, eq=False)
class BlockAttention:
    """The query positions may not attend to the key positions, in these layers.

    Hard edge mask (P3): the rest of the row is renormalised. Where nothing is left to attend to,
    every head writes 0 and only the output projection's bias remains. Edges into the future do not
    exist, blocked or not.
    """

    queries: Sequence[int]
    keys: Sequence[int]
    layers: Sequence[int]


@dataclass(frozen=True, eq=False)
class ReplaceHead:
    """A head's output at the input of the output projection: replaced, or multiplied by `scale`.

    ``value`` is [d_head] or [position, d_head]. Query heads are counted, also where they share keys
    and values.
    """

    layer: int
    head: int
    positions: Sequence[int]
    value: Value | None = None
    scale: float | None = None


@dataclass(frozen=True, eq=False)
class ReplaceSublayer:
    """What attention or MLP adds to the residual stream: replaced, or multiplied by `scale`.

    ``value`` is [d_model] or [position, d_model]; ``scale=0`` removes the update, its bias too. The
    update is what is really added: after a post-norm, with the residual multiplier in.
    """

    kind: Kind
    layer: int
    positions: Sequence[int]
    value: Value | None = None
    scale: float | None = None


@dataclass(frozen=True, eq=False)
class ReplaceState:
    """The input of block `layer` at these positions becomes ``value`` ([position,] d_model)."""

    layer: int
    positions: Sequence[int]
    value: Value


@dataclass(frozen=True, eq=False)
class ReplaceNeurons:
    """Neuron activations (the input of the MLP's output map) replaced or scaled.

    ``neurons`` chooses some; all by default. ``scale=0`` is P3's "pre-activation zeroed": the
    output bias stays.
    """

    layer: int
    positions: Sequence[int]
    neurons: Sequence[int] | None = None
    value: Value | None = None
    scale: float | None = None


@dataclass(frozen=True, eq=False)
class UniformAttention:
    """Every head attends to all that the position can see alike: the mean of the value vectors."""

    layer: int
    positions: Sequence[int]


@dataclass(frozen=True, eq=False)
class Apply:
    """A function of one's own: ``function(tensor [position, width], layer, positions) -> tensor``.

    It is given the tensor of `place` at these positions and returns one of the same shape.
    """

    place: Place
    layer: int
    positions: Sequence[int]
    function: Change


@dataclass(frozen=True)
class Keep:
    """What to record in every run: the tensor of a place at positions, at layers (all if None).

    "state" also has layer ``n_layers``: the residual stream before the final norm.
    """

    place: Place
    positions: Sequence[int]
    layers: Sequence[int] | None = None


Changing = ReplaceHead | ReplaceSublayer | ReplaceState | ReplaceNeurons | UniformAttention | Apply
Intervention = BlockAttention | Changing
Variant = Sequence[Intervention]


def cancel_updates(
    kind: Kind,
    layers: Iterable[int],
    positions: Sequence[int],
    *,
    mode: Literal["zero", "reference"] = "zero",
) -> tuple[Intervention, ...]:
    """Cancel attention or MLP updates at positions in several layers (P3, sublayer knockout).

    Parameters
    ----------
    kind : "attention" or "mlp"
    layers, positions
    mode
        "zero" removes the whole update (the paper's definition); "reference" does as its code:
        neuron activations zeroed, so that the output bias stays, or attention made uniform.

    Raises
    ------
    FactvizError
        If the kind or the mode is none of these.
    """
    if kind not in ("attention", "mlp") or mode not in ("zero", "reference"):
        raise FactvizError(
            f"kind {kind!r}, mode {mode!r}: kinds are 'attention' and 'mlp', modes 'zero' and "
            "'reference'"
        )
    if mode == "zero":
        return tuple(ReplaceSublayer(kind, layer, positions, scale=0.0) for layer in layers)
    if kind == "mlp":
        return tuple(ReplaceNeurons(layer, positions, scale=0.0) for layer in layers)
    return tuple(UniformAttention(layer, positions) for layer in layers)


def centred_window(centre: int, width: int, n_layers: int) -> range:
    """Layers ``max(0, l − w//2) … min(L, l − (−w//2)) − 1`` around a layer (P3's knockout code).

    Raises
    ------
    FactvizError
        If the width is below 1 or the centre is no layer.
    """
    _check_window(centre, width, n_layers)
    return range(max(0, centre - width // 2), min(n_layers, centre - (-width // 2)))


def starting_window(first: int, width: int, n_layers: int) -> range:
    """The `width` layers from `first` on, as far as there are any (P3's cancelling code).

    Raises
    ------
    FactvizError
        If the width is below 1 or `first` is no layer.
    """
    _check_window(first, width, n_layers)
    return range(first, min(n_layers, first + width))


def _check_window(layer: int, width: int, n_layers: int) -> None:
    if width < 1:
        raise FactvizError(f"a window of {width} layers holds none: give 1 or more")
    if not 0 <= layer < n_layers:
        raise FactvizError(f"layer {layer} does not exist: the model has 0 to {n_layers - 1}")


def replaced(before: Tensor, value: Value | None, scale: float | None) -> Tensor:
    """The tensor multiplied, or another in its place, in its own dtype and on its device."""
    if scale is not None:
        return before * scale
    return torch.as_tensor(value).to(before).expand_as(before)
