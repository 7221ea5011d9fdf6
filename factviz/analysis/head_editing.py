"""Edit one head's W_OV: scale it, project a direction out of it, swap it (arXiv 2403.19521)."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.directions import attribute_directions
from factviz.analysis.head_vocabulary import token_ids, token_name
from factviz.analysis.topics import topic_ids
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import FactSet
from factviz.facts.topics import topic
from factviz.models import edits, head_maps
from factviz.models.attention import check_head
from factviz.models.factmodel import FactModel
from factviz.models.states import input_embedding

Side = Literal["output", "input"]
_FEW = 3


@dataclass(frozen=True)
class HeadEdit:
    """What was done to one head.

    Attributes
    ----------
    layer, head : int
    told : str
        The edit in words; results made meanwhile say it in ``provenance["edited"]``.
    size : float
        ‖ΔW_OV‖_F.
    share : float
        The same over ‖W_OV‖_F before the edit.
    """

    layer: int
    head: int
    told: str
    size: float
    share: float


@contextmanager
def edit_head(
    model: FactModel,
    layer: int,
    head: int,
    *,
    scale: float | None = None,
    remove: Any = None,
    side: Side = "output",
    swap: tuple[int, int] | None = None,
    amount: float = 1.0,
) -> Generator[HeadEdit]:
    """Change W_OV of one head inside a ``with`` block; afterwards the model is what it was.

    The weights come back bit for bit, also after an exception or an interrupt, and contexts may be
    nested. The head's attention pattern is left alone, and so is b_O. The model's lock is held
    inside the block: other threads, a live widget's among them, wait until it ends.

    Parameters
    ----------
    model : FactModel
    layer, head : int
        From 0.
    scale : float
        W_O of the head times this, so all that it writes, its share of b_V with it.
    remove
        Directions projected out: arrays [d_model] or [n, d_model] of the residual stream; words or
        token ids; a `Fact`, a list of them or a `FactSet`, for the tokens of their topics. Of
        several, all that they span.
    side : {"output", "input"}
        Of ``remove``. "output": out of what the head writes (W_O; b_V's share too). A token stands
        for the direction that reads its centred logit, the final norm's gain and a norm behind the
        attention included: the head's direct contribution to that logit becomes 0. "input": out of
        what W_V reads behind the norm in front of it; a token stands for its input embedding, and
        b_V stays.
    swap : (layer, head)
        Exchange W_O, W_V and b_V with another head; both are changed, as long as the block lasts.
    amount : float
        How much of a scaling or a removal is made: 1 is the whole, 0.5 half the way, −1 the same
        way back.

    Yields
    ------
    HeadEdit
        With the size of the change.

    Raises
    ------
    FactvizError
        If there is no such head; not exactly one of ``scale``, ``remove`` and ``swap`` is given;
        the edit changes nothing; a number is not finite; a direction is zero or of another size
        than d_model; or W_V would have to change where other heads share it (the group is named).

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521.

    Examples
    --------
    >>> with fv.edit_head(model, 4, 2, remove=facts):  # doctest: +SKIP
    ...     fv.trace(model, facts)
    """
    edit = planned(model, scale=scale, remove=remove, side=side, swap=swap)
    with edit.applied(model, [(layer, head, amount)]) as made:
        yield made[0]


@dataclass(frozen=True)
class Plan:
    """One kind of edit, that can be made to any head.

    ``told`` of a removal says what is taken out.
    """

    told: str
    scale: float | None = None
    directions: Float[Tensor, "n d_model"] | None = None
    side: Side = "output"
    swap: tuple[int, int] | None = None

    def change(self, model: FactModel, layer: int, head: int, amount: float) -> edits.Change:
        """The edit of one head; ``amount`` 1 is the whole of it."""
        check_head(model, layer, head)
        if self.scale is not None:
            return edits.scaled(model, layer, head, 1 + amount * (self.scale - 1))
        if self.swap is not None:
            return _swapped(model, layer, head, self.swap, amount)
        assert self.directions is not None
        basis = _basis(model, layer, self.directions, self.side)
        return edits.removed(
            model,
            layer,
            head,
            basis,
            told=self.told,
            from_input=self.side == "input",
            amount=amount,
        )

    @contextmanager
    def applied(
        self, model: FactModel, heads: Iterable[tuple[int, int, float]]
    ) -> Generator[list[HeadEdit]]:
        """Several heads (layer, head, amount) edited at once; for the sizes of single ones too."""
        asked = list(heads)
        for _, _, amount in asked:
            _check_number("amount", amount)
        with model.lock:
            changes = [self.change(model, *one) for one in asked]
            before = [head_maps.maps_of_head(model, layer, head) for layer, head, _ in asked]
            with edits.edited(model, changes):
                yield [
                    _measured(model, change, old)
                    for change, old in zip(changes, before, strict=True)
                ]


@torch.inference_mode()
def _measured(model: FactModel, change: edits.Change, before: head_maps.Maps) -> HeadEdit:
    """The size of a change that has been made; refuse one that left all that a head writes."""
    now = head_maps.maps_of_head(model, change.layer, change.head)
    if not head_maps.ov_distance(before, now, with_bias=True):
        raise FactvizError(
            f"{change.told} changes nothing: its weights are others, but W_OV and b_V·W_O are not"
        )
    size = head_maps.ov_distance(before, now)
    whole = head_maps.ov_distance(before._replace(output=torch.zeros_like(before.output)), before)
    share = size / whole if whole else math.inf
    return HeadEdit(change.layer, change.head, change.told, size, share)


def planned(
    model: FactModel,
    *,
    scale: float | None = None,
    remove: Any = None,
    side: Side = "output",
    swap: tuple[int, int] | None = None,
) -> Plan:
    """The edit that was asked for, its arguments checked and its directions looked up.

    Raises
    ------
    FactvizError
        As `edit_head` does.
    """
    given = [n for n, v in (("scale", scale), ("remove", remove), ("swap", swap)) if v is not None]
    if len(given) != 1:
        raise FactvizError(
            f"an edit is one of scale=, remove= and swap=; given {' and '.join(given) or 'none'}"
        )
    if scale is not None:
        _check_number("scale", scale)
        if scale == 1:
            raise FactvizError("scale=1 changes nothing: give another factor, 0 to silence")
        return Plan(f"W_OV × {scale:g}", scale=float(scale))
    if swap is not None:
        return Plan(f"W_OV swapped with {swap}", swap=swap)
    if side not in ("output", "input"):
        raise FactvizError(f"side={side!r} is unknown: 'output' or 'input'")
    directions, told = _directions(model, remove, side)
    told += " in what it writes" if side == "output" else " in what it reads"
    return Plan(told, directions=directions, side=side)


def _check_number(name: str, value: Any) -> None:
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool) or not math.isfinite(value):
        raise FactvizError(f"{name}={value!r} is no finite number")


def _swapped(model: FactModel, layer: int, head: int, other: Any, amount: float) -> edits.Change:
    if not isinstance(other, tuple) or len(other) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise FactvizError(f"swap={other!r} names no head: give (layer, head)")
    check_head(model, *other)
    if other == (layer, head):
        raise FactvizError(
            f"L{layer}H{head} swapped with itself changes nothing: name another head"
        )
    if amount != 1:
        raise FactvizError(f"a swap is made whole, not {amount:g} times: leave amount out")
    return edits.swapped(model, layer, head, (int(other[0]), int(other[1])))


@torch.inference_mode()
def _directions(model: FactModel, remove: Any, side: Side) -> tuple[Tensor, str]:
    """Directions of the residual stream [n, d_model] in float64 or float32, and their name."""
    array = _as_array(remove)
    if array is not None:
        return _checked(model, array), f"{len(array)} direction{'s' if len(array) > 1 else ''}"
    ids, told = _tokens(model, remove)
    index = torch.tensor(ids, device=model.device)
    if side == "input":
        embedding = input_embedding(model)
        return _checked(model, embedding[index.to(embedding.device)]), told
    return _checked(model, attribute_directions(model, index).residual), told


def _as_array(remove: Any) -> Tensor | None:
    """Directions given as numbers [n, d_model]; None where tokens or facts are named."""
    if not isinstance(remove, (Tensor, np.ndarray)):
        if not isinstance(remove, (list, tuple)) or not any(
            isinstance(one, (float, Tensor, np.ndarray, list, tuple)) for one in remove
        ):
            return None
        rows = [_numbers(one) for one in remove]
        if len({row.shape for row in rows}) > 1:
            raise FactvizError("the directions to remove differ in size: give d_model numbers each")
        remove = torch.stack(rows)
    found = _numbers(remove).detach()
    found = found[None] if found.ndim == 1 else found
    if found.ndim != 2 or not found.is_floating_point():
        raise FactvizError(
            f"directions to remove are {list(found.shape)} of {found.dtype}: give [d_model] or "
            "[n, d_model] of floating-point numbers, or token ids as a list"
        )
    return found


def _numbers(given: Any) -> Tensor:
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise FactvizError(
            f"remove={str(given)[:80]!r} is no direction: give arrays of numbers; or words and "
            "token ids as a flat list"
        ) from None


def _checked(model: FactModel, rows: Float[Tensor, "n width"]) -> Float[Tensor, "n d_model"]:
    if rows.shape[1] != model.d_model:
        raise FactvizError(
            f"a direction has {rows.shape[1]} numbers, {model.name} a residual stream of "
            f"{model.d_model}"
        )
    if not len(rows) or not bool(rows.isfinite().all()):
        raise FactvizError("the directions to remove are none, or not finite (NaN or infinity)")
    zero = (rows.norm(dim=1) == 0).nonzero()[:, 0].tolist()
    if zero:
        raise FactvizError(f"directions {zero} are zero: removing them changes nothing")
    return rows.clone()


def _tokens(model: FactModel, remove: Any) -> tuple[list[int], str]:
    """Token ids of words, ids or facts' topics, and what they are in words."""
    if isinstance(remove, (Fact, FactSet)):
        remove = [remove] if isinstance(remove, Fact) else list(remove)
    several = isinstance(remove, Iterable) and not isinstance(remove, str)
    items: list[Any] = list(remove) if several else [remove]
    facts = [item for item in items if isinstance(item, Fact)]
    if not facts:
        ids = token_ids(model, items)
        names = [repr(token_name(model, one)) for one in ids[:_FEW]]
        return ids, ", ".join(names) + (f" and {len(ids) - _FEW} more" if len(ids) > _FEW else "")
    if len(facts) < len(items):
        raise FactvizError("facts and words are mixed in remove=: give one or the other")
    ids = list(dict.fromkeys(one for fact in facts for one in topic_ids(model, fact)))
    some = (
        f"the topic of {len(facts)} facts" if len(facts) > 1 else f"the topic {topic(facts[0])!r}"
    )
    return ids, some


@torch.inference_mode()
def _basis(
    model: FactModel, index: int, directions: Float[Tensor, "n d_model"], side: Side
) -> Float[Tensor, "k d_model"]:
    """An orthonormal basis of the directions where this layer's W_O writes or its W_V reads."""
    geometry, layer = model.geometry, model.geometry.layers[index]
    rows = directions
    if side == "output" and layer.attention_post is not None:
        rows = geometry.norm(layer.attention_post).pull_back(rows)
    if side == "input" and layer.before is not None:
        rows = geometry.norm(layer.before).push(rows)
    rows = rows.double() if rows.device.type != "mps" else rows
    sizes = rows.norm(dim=1, keepdim=True)
    if not bool((sizes > 1e-6 * directions.norm(dim=1, keepdim=True)).all()):
        raise FactvizError(
            f"a direction is zero behind the norm of layer {index}: no head of it sees that"
        )
    _, strength, basis = torch.linalg.svd(rows / sizes, full_matrices=False)
    return basis[strength > 1e-6 * strength[0]]
