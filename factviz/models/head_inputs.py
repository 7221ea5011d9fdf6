"""What heads write when only their queries, keys or values at one position come from another state.

A block is run by itself on a prompt's clean states. Its keys and values pass through the object
that stands where it expects a cache: there the rows' own keys and values are exchanged, so that
whatever a family does to them (rotation, norms, soft-caps, biases) is done by its own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from factviz.facts.errors import FactvizError
from factviz.models.clean_runs import CleanRun
from factviz.models.factmodel import FactModel
from factviz.models.plans import Kept, Plan
from factviz.models.proofs import proven
from factviz.models.shared_prefix import ChangedRuns, Joined

Letter = Literal["q", "k", "v"]
_ROWS = 512  # rows see each other's keys only to be masked


@dataclass(frozen=True)
class HeadInput:
    """Queries, keys or values of a layer, and all heads that read them."""

    letter: Letter
    layer: int
    heads: tuple[int, ...]


class _Exchanged(Joined):
    """Rows' own keys and values are the clean run's, but for what is put in place of some."""

    def __init__(self, clean: CleanRun, position: Tensor) -> None:
        super().__init__(clean)
        self.position = position
        self.put: dict[int, tuple[Tensor, Tensor]] = {}  # 0 keys, 1 values: (rows, new)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> Any:
        own = [held.index_select(-2, self.position) for held in self.clean.prefix(layer)]
        for which, (rows, new) in self.put.items():
            own[which][:, :, rows] = new.to(own[which])
        return super().update(own[0], own[1], layer)


class _Kept(Joined):
    """Keeps the rows' own keys and values."""

    own: tuple[Tensor, Tensor]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> Any:
        self.own = (keys, values)
        return super().update(keys, values, layer)


class _OneBlock(ChangedRuns):
    """One block on the rows from a position on, once for each variant."""

    def __init__(self, clean: CleanRun, layer: int, position: int, count: int) -> None:
        plans = [Plan(first=position, start=layer) for _ in range(count)]
        super().__init__(clean, plans, share=True)
        self.layer = layer
        self.at = torch.tensor(self.rows.offsets[:-1], device=clean.states[0].device)

    def run(
        self, cache: Joined, inputs: Float[Tensor, "variant d_model"] | None = None
    ) -> Float[Tensor, "variant position value"]:
        """The heads side by side, from the position on; ``inputs`` stand at the position."""
        hidden = self.clean.states[self.layer][self.rows.position]
        if inputs is not None:
            hidden = hidden.index_copy(0, self.at, inputs.to(hidden))
        self.cache = cache
        self._block(self.layer, hidden)
        return self.kept[0][:, 0]


def read_anew(
    model: FactModel,
    ids: Sequence[int],
    one: HeadInput,
    position: int,
    inputs: Float[Tensor, "variant d_model"],
) -> tuple[Float[Tensor, "variant position value"], Float[Tensor, "position value"]]:
    """What a layer's heads write when one of their inputs is read from another state.

    Parameters
    ----------
    model
    ids
        The prompt's tokens, with BOS.
    one
        What is read anew; heads of keys and values must be whole groups.
    position
        Where.
    inputs : [variant, d_model]
        The block's input at the position, as this one reading sees it.

    Returns
    -------
    changed, clean
        The heads side by side, before the output projection, from the position on.

    Raises
    ------
    FactvizError
        If the model's blocks can't be run by themselves with its keys and values.
    """
    proof = proven(model, ids)
    if proof.reason:
        raise FactvizError(
            f"inputs of heads can't be patched on {model.name}: {proof.reason}; receivers "
            "'resid_final' and 'mlp …' work"
        )
    layer, size = one.layer, len(ids) - position
    keep = Kept("heads", list(range(position, len(ids))), [layer])
    clean = CleanRun(model, ids, [keep], proof.attention)
    made: list[Tensor] = []
    for part in inputs.split(max(1, _ROWS // size)):
        block = _OneBlock(clean, layer, position, len(part))
        cache = _Exchanged(clean, block.rows.position)
        if one.letter == "q":
            made.append(block.run(cache, part))
            continue
        seen = _Kept(clean)
        block.run(seen, part)
        which = 0 if one.letter == "k" else 1
        new = _mixed(clean, one, which, position, seen.own[which][:, :, block.at])
        cache.put[which] = (block.at, new)
        made.append(block.run(cache))
    return torch.cat(made), clean.kept[0][0]


def _mixed(
    clean: CleanRun,
    one: HeadInput,
    which: int,
    position: int,
    new: Float[Tensor, "1 kv_head variant d_head"],
) -> Float[Tensor, "1 kv_head variant d_head"]:
    """New keys (or values) at a position for some heads, the clean run's for the others."""
    made = clean.prefix(one.layer)[which][:, :, [position]].expand_as(new).clone()
    # Some families repeat grouped keys for every head before they keep them.
    rows = sorted({head * new.shape[1] // clean.model.n_heads for head in one.heads})
    made[:, rows] = new[:, rows]
    return made
