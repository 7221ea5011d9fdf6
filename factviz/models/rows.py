"""Which row of a batch is which position of which variant, and what it may attend to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from factviz.models.clean_runs import CleanRun
from factviz.models.masks import least
from factviz.models.plans import Plan


class Rows:
    """Where the positions of each variant lie, and who may see whom.

    Variants are numbered in the order in which they begin; so the rows active at a layer are the
    first ones.
    """

    def __init__(self, clean: CleanRun, plans: Sequence[Plan], *, share: bool) -> None:
        self.clean, self.share = clean, share
        self.order = sorted(range(len(plans)), key=lambda i: plans[i].start)
        self.plans = [plans[i] for i in self.order]
        self.firsts = [plan.first if share else 0 for plan in self.plans]
        lengths = [clean.length - first for first in self.firsts]
        self.offsets = [0]
        for length in lengths:
            self.offsets.append(self.offsets[-1] + length)
        device = clean.states[0].device
        flat = [p for first in self.firsts for p in range(first, clean.length)]
        self.position = torch.tensor(flat, device=device)
        self.owner = torch.arange(len(plans), device=device).repeat_interleave(
            torch.tensor(lengths, device=device)
        )
        self._masks: dict[int, Tensor] = {}

    def row(self, variant: int, position: int) -> int:
        """The row of a variant's position; it must not lie before its first."""
        return self.offsets[variant] + position - self.firsts[variant]

    def active(self, layer: int) -> tuple[int, int]:
        """How many variants, and rows, have begun at a layer."""
        last = min(layer, len(self.clean.parts) - 1)  # an idle plan begins after it
        variants = sum(plan.start <= last for plan in self.plans)
        return variants, self.offsets[variants]

    def mask(self, layer: int) -> tuple[Float[Tensor, "head row key"], list[int]]:
        """The additive mask of the active rows, and the rows that have nothing left to see."""
        variants, rows = self.active(layer)
        mask = self._open(layer)[:, :rows, : self._width(rows)].clone()
        at, keys, touched = self._blocked(layer, variants)
        if not at:
            return mask, []
        mask[:, at, keys] = least(mask)
        empty = [r for r, gone in zip(touched, _closed(mask[:, touched]), strict=True) if gone]
        # Softmax needs one open key; what such a row reads is thrown away before the projection.
        if empty:
            mask[:, empty, self._own_key(torch.tensor(empty))] = 0
        return mask, empty

    def _width(self, rows: int) -> int:
        return self.clean.length + rows if self.share else self.clean.length

    def _own_key(self, rows: Tensor) -> Tensor:
        return rows + self.clean.length if self.share else self.position[rows]

    def _blocked(self, layer: int, variants: int) -> tuple[list[int], list[int], list[int]]:
        at: list[int] = []
        columns: list[int] = []
        touched: dict[int, None] = {}
        for variant in range(variants):
            for queries, keys in self.plans[variant].blocks.get(layer, ()):
                where = [self._column(variant, key) for key in keys]
                for query in queries:
                    row = self.row(variant, query)
                    touched[row] = None
                    at += [row] * len(where)
                    columns += where
        return at, columns, list(touched)

    def _column(self, variant: int, key: int) -> int:
        if not self.share or key < self.firsts[variant]:
            return key
        return self.clean.length + self.row(variant, key)

    def _open(self, layer: int) -> Float[Tensor, "head row key"]:
        """All rows' mask with nothing blocked: causal, windowed, own keys only."""
        added = self.clean.masks[layer]
        if id(added) not in self._masks:
            self._masks[id(added)] = self._laid_out(added)
        return self._masks[id(added)]

    def _laid_out(self, added: Float[Tensor, "head query key"]) -> Float[Tensor, "head row key"]:
        mask = added[:, self.position]
        if not self.share:
            return mask
        first = torch.tensor(self.firsts, device=mask.device)[self.owner]
        later = torch.arange(self.clean.length, device=mask.device) >= first[:, None]
        others = self.owner[:, None] != self.owner
        own = mask[:, :, self.position].masked_fill(others, least(mask))
        return torch.cat([mask.masked_fill(later, least(mask)), own], -1)


def _closed(mask: Float[Tensor, "head row key"]) -> list[bool]:
    return (mask <= least(mask) / 2).all(-1).all(0).tolist()
