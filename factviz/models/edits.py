"""Change one head's W_OV in place, and give the weights back bit for bit.

A W_V is changed in every place where it lies (`head_maps`), or not at all.

Results remember weights by what `fingerprint.state` sees, so nothing here may write past PyTorch's
version counters (as ``.data`` would).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.head_maps import (
    Values,
    exact,
    group_of,
    output_of_head,
    values_everywhere,
)

Write = tuple[Tensor, Tensor]
"""A view into the live weights, and what it is to hold."""
# What a change must be larger than, in units of the dtype: changes are computed in float64, so in
# coarser dtypes they are off by less than the last place.
_ROUNDING = {torch.float64: 64}


@dataclass(frozen=True)
class Change:
    """What is to be done to one head: in words, and as the writes that do it to the weights now."""

    told: str
    layer: int
    head: int
    make: Callable[[], list[Write]]


@dataclass(eq=False)
class _Active:
    change: Change
    saved: list[Write] = field(default_factory=list[Write])


_active: weakref.WeakKeyDictionary[FactModel, list[_Active]] = weakref.WeakKeyDictionary()


def edits_of(model: FactModel) -> list[str]:
    """The edits that the model's weights are under now, in words; the first is the oldest."""
    return [one.change.told for one in _active.get(model, [])]


@contextmanager
def edited(model: FactModel, changes: Sequence[Change]) -> Generator[None]:
    """Make changes one after the other, and undo them on the way out, whatever happens inside.

    The model's lock is held throughout: no other thread's run sees edited weights.

    Raises
    ------
    FactvizError
        If a change changes nothing, or gives numbers that are not finite.
    """
    made: list[_Active] = []
    with model.lock:
        try:
            for change in changes:
                one = _Active(change)
                made.append(one)
                _active.setdefault(model, []).append(one)
                _do(one, checked=True)
            yield
        finally:
            for one in reversed(made):
                try:
                    _undo(model, one)
                except KeyboardInterrupt:  # not before the weights are back
                    _undo(model, one)
                    raise


@torch.no_grad()
def _do(one: _Active, *, checked: bool) -> None:
    writes = one.change.make()
    if checked:
        _check(one.change, writes)
    one.saved = [(place, place.clone()) for place, _ in writes]
    _put(writes)


@torch.no_grad()
def _undo(model: FactModel, one: _Active) -> None:
    """Take one edit back; those made after it are taken back before and made again."""
    stack = _active.get(model, [])
    if one not in stack:
        return
    later = stack[stack.index(one) + 1 :]
    for each in [*reversed(later), one]:
        _put(each.saved)
    for each in later:
        _do(each, checked=False)
    stack.remove(one)


def _put(writes: Sequence[Write]) -> None:
    for place, value in writes:
        place.copy_(value)


def _check(change: Change, writes: Sequence[Write]) -> None:
    """Refuse writes that are no numbers, and changes that rounding alone would make."""
    moved = False
    for place, value in writes:
        if place.is_inference():
            raise FactvizError(
                f"the weights of L{change.layer}H{change.head} are inference tensors, whose edits "
                "can't be noticed: load the model outside torch.inference_mode()"
            )
        stored = value.to(place)
        if not bool(stored.isfinite().all()):
            raise FactvizError(f"{change.told} gives weights that are not finite")
        apart = float((exact(value) - exact(place)).norm())
        rounding = _ROUNDING.get(place.dtype, 1) * torch.finfo(place.dtype).eps
        large = apart > rounding * float(exact(place).norm())
        moved |= large and not torch.equal(stored, place)
    if not moved:
        raise FactvizError(
            f"{change.told} changes nothing: the head's W_OV is what it was (a scale of 1, a head "
            "that is zero, a direction that it does not write or read, or one that is out already)"
        )


def scaled(model: FactModel, layer: int, head: int, factor: float) -> Change:
    """W_O of the head times a factor: all it writes, its share of b_V too."""

    def make() -> list[Write]:
        place = output_of_head(model, layer, head)
        return [(place, exact(place) * factor)]

    return Change(f"W_OV of L{layer}H{head} × {factor:.4g}", layer, head, make)


def removed(
    model: FactModel,
    layer: int,
    head: int,
    basis: Float[Tensor, "n d_model"],
    *,
    told: str,
    from_input: bool,
    amount: float = 1.0,
) -> Change:
    """An orthonormal basis projected out of what the head writes, or of what its W_V reads."""

    def make() -> list[Write]:
        if from_input:
            places = [values.weight for values in values_everywhere(model, layer, head)]
            rows = exact(places[0])
            rows = rows - amount * (rows @ basis.T.to(rows)) @ basis.to(rows)
            return [(place, rows) for place in places]
        place = output_of_head(model, layer, head)
        columns = exact(place)
        return [(place, columns - amount * basis.T.to(columns) @ (basis.to(columns) @ columns))]

    share = "" if amount == 1 else f", {amount:.4g} times"
    return Change(f"L{layer}H{head} without {told}{share}", layer, head, make)


def swapped(model: FactModel, layer: int, head: int, other: tuple[int, int]) -> Change:
    """Two heads' W_O, W_V and b_V exchanged; heads of one group share theirs already."""

    def make() -> list[Write]:
        here, there = (output_of_head(model, *one) for one in ((layer, head), other))
        if here.shape != there.shape:
            raise FactvizError(
                f"L{layer}H{head} and L{other[0]}H{other[1]} have W_O of {list(here.shape)} and "
                f"{list(there.shape)} numbers: heads of one size can be swapped"
            )
        writes = [(here, there.clone()), (there, here.clone())]
        if other[0] == layer and other[1] in group_of(model, layer, head):
            return writes  # they read alike
        first, second = (values_everywhere(model, *one) for one in ((layer, head), other))
        return writes + _exchanged(first, second)

    told = f"W_OV of L{layer}H{head} and L{other[0]}H{other[1]} swapped"
    return Change(told, layer, head, make)


def _exchanged(first: Sequence[Values], second: Sequence[Values]) -> list[Write]:
    writes: list[Write] = []
    for places, source in ((first, second[0]), (second, first[0])):
        for place in places:
            writes.append((place.weight, source.weight.clone()))
            if place.bias is not None and source.bias is not None:
                writes.append((place.bias, source.bias.clone()))
    return writes
