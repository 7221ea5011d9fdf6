"""What a path leads to: the final residual, inputs of heads, or an MLP's input."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.head_inputs import HeadInput, Letter
from factviz.models.head_maps import group_of

Named = str | tuple[str, int] | tuple[str, int, int]
Kind = Literal["resid_final", "mlp", "q", "k", "v"]
_HEAD = re.compile(r"l(\d+)\s*h(\d+)\s*\.\s*([qkv])", re.IGNORECASE)
_MLP = re.compile(r"mlp\s*(\d+)", re.IGNORECASE)
_FORMS = (
    "'resid_final', a head's input as 'L9H8.q' or ('q', 9, 8), an MLP's as 'mlp 5' or ('mlp', 5), "
    "or a list of one input of heads of one layer"
)


class NoSendersError(FactvizError):
    """Nothing writes before the receiver: it reads the embedding."""


@dataclass(frozen=True)
class Receiver:
    """What is read in the run with the sender replaced, and put in place in the original.

    ``heads`` are all heads that read it: under grouped-query attention a key or value belongs to
    its whole group. ``name`` says it in words, ``note`` which group it is.
    """

    kind: Kind
    layer: int = -1
    heads: tuple[int, ...] = ()
    name: str = "the final residual at END"
    note: str = ""

    @property
    def head_input(self) -> HeadInput:
        """As the models' room names it, where it is an input of heads."""
        return HeadInput(cast("Letter", self.kind), self.layer, self.heads)


def read_receiver(model: FactModel, asked: Named | Iterable[Named]) -> Receiver:
    """Understand a receiver, and check that the model has it.

    Raises
    ------
    FactvizError
        If it is not understood, its layer or head does not exist, no sender lies before it, or
        several are not the same input of heads of one layer.
    """
    one = isinstance(asked, str) or (
        isinstance(asked, tuple) and bool(asked) and asked[0] in ("q", "k", "v", "mlp")
    )
    listed: list[Any] = [asked] if one or not hasattr(asked, "__iter__") else list(asked)
    found = [_one(model, item) for item in listed]
    if not found:
        raise FactvizError(f"no receiver is named: {_FORMS}")
    if len(found) == 1:
        return found[0]
    kinds = {(item.kind, item.layer) for item in found}
    if len(kinds) > 1 or found[0].kind not in ("q", "k", "v"):
        raise FactvizError(
            f"receivers {', '.join(item.name for item in found)} can't be replaced together: take "
            "one kind of input (q, k or v) of heads of one layer, and call once for each other"
        )
    heads = tuple(dict.fromkeys(head for item in found for head in item.heads))
    names = " + ".join(dict.fromkeys(item.name for item in found))
    return Receiver(
        found[0].kind, found[0].layer, heads, names, " ".join({i.note: 0 for i in found if i.note})
    )


def _one(model: FactModel, asked: Any) -> Receiver:
    kind, layer, head = _parsed(asked)
    if kind == "resid_final":
        return Receiver("resid_final")
    if not 0 <= layer < model.n_layers:
        raise FactvizError(
            f"receiver {asked!r}: layer {layer} does not exist: the model has 0 to "
            f"{model.n_layers - 1}"
        )
    if kind == "mlp":
        return Receiver("mlp", layer, (), f"the input of MLP {layer}")
    if not 0 <= head < model.n_heads:
        raise FactvizError(
            f"receiver {asked!r}: head {head} does not exist: a layer has heads 0 to "
            f"{model.n_heads - 1}"
        )
    name = f"{kind} of L{layer}H{head}"
    if layer == 0:
        raise NoSendersError(
            f"receiver {asked!r}: {name} has no senders: the first attention reads the embedding"
        )
    heads = (head,) if kind == "q" else group_of(model, layer, head)
    if len(heads) == 1:
        return Receiver(kind, layer, heads, name)
    group = f"L{layer}H{heads[0]} to H{heads[-1]}"
    note = f"{name} is that of the whole group, {group}: they share their keys and values."
    return Receiver(kind, layer, heads, f"{kind} of the group {group}", note)


def _parsed(asked: Any) -> tuple[Kind, int, int]:
    if isinstance(asked, str):
        text = asked.strip()
        if text.lower() == "resid_final":
            return "resid_final", -1, -1
        if head := _HEAD.fullmatch(text):
            return cast("Kind", head[3].lower()), int(head[1]), int(head[2])
        if mlp := _MLP.fullmatch(text):
            return "mlp", int(mlp[1]), -1
    elif isinstance(asked, tuple):
        parts = cast("tuple[Any, ...]", asked)
        numbers = [int(n) for n in parts[1:] if is_whole(n)]
        if len(numbers) == len(parts) - 1:
            if parts[:1] == ("mlp",) and len(numbers) == 1:
                return "mlp", numbers[0], -1
            if parts[:1] in (("q",), ("k",), ("v",)) and len(numbers) == 2:
                return parts[0], numbers[0], numbers[1]
    raise FactvizError(f"receiver {asked!r} is unknown: {_FORMS}")
