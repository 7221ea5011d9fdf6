"""From what a user asked for to what a run does: checked, by layer, with where it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from factviz.facts.errors import FactvizError
from factviz.models.interventions import (
    BlockAttention,
    Changing,
    Intervention,
    Keep,
    Place,
    ReplaceHead,
    ReplaceNeurons,
    ReplaceState,
    ReplaceSublayer,
    UniformAttention,
    Value,
    Variant,
    replaced,
)

PLACES = ("state", "heads", "attention", "neurons", "mlp")
Chosen = list[int] | slice


@dataclass(frozen=True)
class Extent:
    """How large a prompt's run is, and what each position may see at each layer."""

    n_layers: int
    n_heads: int
    length: int
    visible: Sequence[Bool[Tensor, "query key"]]


@dataclass(frozen=True)
class Edit:
    """One change of one tensor: ``change(before [position, width])``, or uniform attention."""

    number: int
    place: Place
    layer: int
    positions: tuple[int, ...]
    change: Callable[[Float[Tensor, "position width"]], Any] | None


@dataclass(frozen=True)
class Kept:
    """A `Keep`, resolved: positions counted from the front, all layers named."""

    place: Place
    positions: list[int]
    layers: list[int]


@dataclass
class Plan:
    """A variant, resolved: what happens at each layer, and the first position and layer it touches.

    ``blocks`` [layer] holds (queries, keys); only those that some query can see. ``idle`` numbers
    the interventions that can't change anything.
    """

    first: int
    start: int
    edits: dict[int, list[Edit]] = field(default_factory=dict)
    blocks: dict[int, list[tuple[tuple[int, ...], tuple[int, ...]]]] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    allow_idle: bool = False

    def touch(self, layer: int, position: int) -> None:
        """Let the plan begin no later than here."""
        self.start = min(self.start, layer)
        self.first = min(self.first, position)


def make_plan(variant: Variant, extent: Extent) -> Plan:
    """Check a variant against the prompt and resolve it.

    Raises
    ------
    FactvizError
        If a layer, head or position does not exist, or a value is not finite or does not fit.
    """
    plan = Plan(first=extent.length - 1, start=extent.n_layers)
    for number, intervention in enumerate(variant):
        if not isinstance(intervention, Intervention):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise FactvizError(f"{intervention!r} is no intervention")
        if isinstance(intervention, BlockAttention):
            _plan_block(plan, number, intervention, extent)
        else:
            _plan_edit(plan, _edit(number, intervention, extent))
    return plan


def _plan_block(plan: Plan, number: int, block: BlockAttention, extent: Extent) -> None:
    queries = _positions(block.queries, extent, block)
    keys = _positions(block.keys, extent, block)
    layers = sorted({_layer(layer, extent, block) for layer in block.layers})
    seen = False
    for layer in layers:
        edges = extent.visible[layer][list(queries)][:, list(keys)]
        reach = [q for q, row in zip(queries, edges.tolist(), strict=True) if any(row)]
        if reach:
            plan.blocks.setdefault(layer, []).append((tuple(reach), keys))
            plan.touch(layer, min(reach))
            seen = True
    if not seen:
        plan.idle.append(number)


def _plan_edit(plan: Plan, edit: Edit) -> None:
    if not edit.positions:
        plan.idle.append(edit.number)
        return
    plan.edits.setdefault(edit.layer, []).append(edit)
    plan.touch(edit.layer, min(edit.positions))


def _edit(number: int, asked: Changing, extent: Extent) -> Edit:
    layer = _layer(asked.layer, extent, asked)
    positions = _positions(asked.positions, extent, asked)
    place, change = _change(asked, layer, positions, extent)
    return Edit(number, place, layer, positions, change)


def _change(
    asked: Changing, layer: int, positions: tuple[int, ...], extent: Extent
) -> tuple[Place, Callable[[Tensor], Any] | None]:
    if isinstance(asked, ReplaceState):
        return "state", _replacing(asked, asked.value, None, slice(None))
    if isinstance(asked, ReplaceSublayer):
        if asked.kind not in ("attention", "mlp"):
            raise FactvizError(f"{asked}: kind is 'attention' or 'mlp', not {asked.kind!r}")
        return asked.kind, _replacing(asked, asked.value, asked.scale, slice(None))
    if isinstance(asked, ReplaceNeurons):
        chosen = slice(None) if asked.neurons is None else list(asked.neurons)
        return "neurons", _replacing(asked, asked.value, asked.scale, chosen)
    if isinstance(asked, ReplaceHead):
        return "heads", _replacing_head(asked, extent)
    if isinstance(asked, UniformAttention):
        return "heads", None
    if asked.place not in PLACES:
        raise FactvizError(f"place {asked.place!r} does not exist: {', '.join(PLACES)}")
    # A copy: a function may write into what it is given, and whether it changed it must show.
    return asked.place, lambda before: asked.function(before.clone(), layer, positions)


def _replacing(
    asked: Intervention, value: Value | None, scale: float | None, chosen: Chosen
) -> Callable[[Tensor], Tensor]:
    _check_value(asked, value, scale)

    def change(before: Tensor) -> Tensor:
        after = before.clone()
        if not isinstance(chosen, slice):
            _check_neurons(asked, chosen, before.shape[-1])
        after[:, chosen] = _fitted(asked, before[:, chosen], value, scale)
        return after

    return change


def _check_neurons(asked: Intervention, neurons: list[int], width: int) -> None:
    if unknown := [neuron for neuron in neurons if not 0 <= neuron < width]:
        raise FactvizError(
            f"{named(asked)}: neurons {unknown} do not exist: the layer has 0 to {width - 1}"
        )


def _replacing_head(asked: ReplaceHead, extent: Extent) -> Callable[[Tensor], Tensor]:
    _check_value(asked, asked.value, asked.scale)
    if not 0 <= asked.head < extent.n_heads:
        raise FactvizError(
            f"head {asked.head} of layer {asked.layer} does not exist: a layer has heads 0 to "
            f"{extent.n_heads - 1}"
        )

    def change(before: Tensor) -> Tensor:
        width = before.shape[-1] // extent.n_heads
        here = slice(asked.head * width, (asked.head + 1) * width)
        after = before.clone()
        after[:, here] = _fitted(asked, before[:, here], asked.value, asked.scale)
        return after

    return change


def _fitted(
    asked: Intervention, before: Tensor, value: Value | None, scale: float | None
) -> Tensor:
    try:
        return replaced(before, value, scale)
    except RuntimeError:
        shape = list(torch.as_tensor(value).shape)
        raise FactvizError(
            f"{named(asked)}: a value of shape {shape} does not fit [position, width] = "
            f"{list(before.shape)}"
        ) from None


def _check_value(asked: Intervention, value: Value | None, scale: float | None) -> None:
    if (value is None) == (scale is None):
        raise FactvizError(f"{named(asked)}: give either value or scale")
    if not bool(torch.as_tensor(scale if value is None else value).isfinite().all()):
        raise FactvizError(f"{named(asked)}: the value holds NaN or infinity")


def _positions(asked: Iterable[int], extent: Extent, by: Intervention) -> tuple[int, ...]:
    length = extent.length
    found: list[int] = []
    for position in asked:
        if not -length <= position < length:
            raise FactvizError(
                f"{named(by)}: position {position} is not in the prompt: it has 0 to {length - 1}"
            )
        found.append(position % length)
    if len(set(found)) < len(found):
        raise FactvizError(f"{named(by)}: a position is named twice: {sorted(found)}")
    return tuple(found)


def _layer(layer: int, extent: Extent, by: Intervention) -> int:
    if not 0 <= layer < extent.n_layers:
        raise FactvizError(
            f"{named(by)}: layer {layer} does not exist: the model has 0 to {extent.n_layers - 1}"
        )
    return layer


def named(asked: Intervention) -> str:
    """An intervention in a few words, without its tensors."""
    kind = type(asked).__name__
    if isinstance(asked, BlockAttention):
        return (
            f"{kind}(queries={list(asked.queries)}, keys={list(asked.keys)}, "
            f"layers={list(asked.layers)})"
        )
    head = f"head={asked.head}, " if isinstance(asked, ReplaceHead) else ""
    place = f"{asked.kind!r}, " if isinstance(asked, ReplaceSublayer) else ""
    return f"{kind}({place}layer={asked.layer}, {head}positions={list(asked.positions)})"


def make_keep(keep: Keep, n_layers: int, length: int) -> Kept:
    """Check what is to be recorded, and resolve it.

    Raises
    ------
    FactvizError
        If the place, a layer or a position does not exist, or nothing is named.
    """
    if keep.place not in PLACES:
        raise FactvizError(f"place {keep.place!r} does not exist: {', '.join(PLACES)}")
    there = n_layers + (keep.place == "state")
    layers = list(range(there) if keep.layers is None else keep.layers)
    for layer in layers:
        if not 0 <= layer < there:
            raise FactvizError(f"{keep}: layer {layer} does not exist: 0 to {there - 1} do")
    for position in keep.positions:
        if not -length <= position < length:
            raise FactvizError(f"{keep}: position {position} is not in the prompt of {length}")
    if not layers or not len(keep.positions):
        raise FactvizError(f"{keep} keeps nothing: name a position and a layer")
    return Kept(keep.place, [position % length for position in keep.positions], layers)
