"""Changed runs of one prompt that share what they have in common with its clean run.

All rows of all variants lie one behind another in ONE sequence: each variant's rows are its
positions from the first changed one on, and its mask lets them see the clean run's keys before that
position and their own after it. So the prefix's keys and values stand in memory once, nothing is
copied per variant, and a variant's rows join at the layer where it begins: before, they are the
clean run's. `share=False` lays variants side by side as whole prompts (a batch) instead, where a
model's cache can't be shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from factviz.facts.errors import FactvizError
from factviz.models.clean_runs import CACHES, CleanRun
from factviz.models.interventions import Place
from factviz.models.masks import least, open_own_masks
from factviz.models.plans import Edit, Kept, Plan
from factviz.models.recording import hooks
from factviz.models.rows import Rows

_LOGIT_ROWS = 128


class Joined:
    """Stands where a block expects a cache: the clean run's keys, then the rows' own."""

    def __init__(self, clean: CleanRun) -> None:
        self.clean = clean
        self.values: Tensor | None = None

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> Any:
        """The keys and values that the rows of a layer may see."""
        before = self.clean.prefix(layer)
        self.values = torch.cat([before[1], values], -2)
        return torch.cat([before[0], keys], -2), self.values

    def get_seq_length(self, *_: Any) -> int:
        """The prompt's length."""
        return self.clean.length


class ChangedRuns:
    """One batch of variants through the blocks; call it under the model's lock."""

    def __init__(self, clean: CleanRun, plans: Sequence[Plan], *, share: bool) -> None:
        self.clean = clean
        self.rows = Rows(clean, plans, share=share)
        self.keeps = clean.keeps
        self.kept = [kept.repeat(len(plans), 1, 1, 1) for kept in clean.kept]
        self.changed: set[tuple[int, int]] = set()
        self.seen: set[tuple[int, str]] = set()
        self.cache = Joined(clean) if share else None
        self._mask: Tensor | None = None
        self._empty: list[int] = []

    def logits(self) -> Float[Tensor, "variant vocab"]:
        """Run, and read every variant's logits at END, in the order of the plans."""
        n_layers = len(self.clean.parts)
        hidden = self.clean.states[0][:0]
        for layer in range(n_layers):
            variants, rows = self.rows.active(layer)
            entering = self.rows.position[len(hidden) : rows]
            hidden = torch.cat([hidden, self.clean.states[layer][entering]])
            if variants:
                hidden = self._block(layer, self._see(layer, "state", hidden))
        self._see(n_layers, "state", hidden)
        ends = [
            self.rows.row(v, self.clean.length - 1) for v in range(self.rows.active(n_layers)[0])
        ]
        return self._read(hidden[ends])

    def changes(self) -> set[tuple[int, int]]:
        """(plan, intervention) pairs that changed a tensor, numbered as they were given."""
        return {(self.rows.order[variant], number) for variant, number in self.changed}

    def _read(self, ends: Float[Tensor, "variant d_model"]) -> Float[Tensor, "variant vocab"]:
        """Logits by plan; a plan that never began has the clean run's."""
        parts = [self.clean.read(part) for part in ends.split(_LOGIT_ROWS)]
        found = self.clean.logits.repeat(len(self.rows.plans), 1)
        found[self.rows.order[: len(ends)]] = torch.cat(parts)
        return found

    def _block(self, layer: int, hidden: Float[Tensor, "row d_model"]) -> Tensor:
        parts = self.clean.parts[layer]
        self._mask, self._empty = self.rows.mask(layer)
        if self.rows.share:
            open_own_masks(parts.block, self._mask.shape[-1])
        wanted = self._wanted(layer)
        multiplier = self.clean.model.geometry.residual_multiplier

        def see(place: Place, rows: Tensor) -> Tensor | None:
            new = self._see(layer, place, rows)
            return None if new is rows else new

        with hooks(*parts.hooks(wanted, multiplier, see)):
            output = parts.block(**self._arguments(layer, hidden))
        output = output[0] if isinstance(output, tuple) else output
        for place in wanted:
            if (layer, place) not in self.seen:
                raise FactvizError(
                    f"layer {layer} of {self.clean.model.name} shows no {place!r} to change"
                )
        return output.reshape(-1, output.shape[-1])

    def _wanted(self, layer: int) -> list[Place]:
        found: dict[Place, None] = dict.fromkeys(["heads"] if self._empty else [])
        for plan in self.rows.plans:
            found |= {e.place: None for e in plan.edits.get(layer, ()) if e.place != "state"}
        for keep in self.keeps:
            if keep.place != "state" and layer in keep.layers:
                found[keep.place] = None
        return list(found)

    def _see(self, layer: int, place: Place, rows: Tensor) -> Tensor:
        """The tensor of a place at the active rows, changed as planned, and recorded."""
        self.seen.add((layer, place))
        new = rows
        if place == "heads" and self._empty:
            new = new.clone()
            new[self._empty] = 0
        for variant, plan in enumerate(self.rows.plans):
            for edit in plan.edits.get(layer, ()):
                if edit.place == place:
                    new = new.clone() if new is rows else new
                    self._change(variant, edit, new)
        for number, keep in enumerate(self.keeps):
            if keep.place == place and layer in keep.layers:
                self._record(number, keep, layer, new)
        return new

    def _change(self, variant: int, edit: Edit, rows: Tensor) -> None:
        at = [self.rows.row(variant, position) for position in edit.positions]
        before = rows[at]
        after = self._mean_value(edit.layer, at) if edit.change is None else edit.change(before)
        if not isinstance(after, Tensor) or after.shape != before.shape:
            shape = list(after.shape) if isinstance(after, Tensor) else after
            raise FactvizError(
                f"the change of {edit.place!r} at layer {edit.layer} gave {shape!r} in place of a "
                f"tensor {list(before.shape)}"
            )
        if not torch.equal(before, after):
            self.changed.add((variant, edit.number))
        rows[at] = after.to(rows)

    def _mean_value(self, layer: int, at: list[int]) -> Float[Tensor, "row width"]:
        """What each head writes when it attends to all that these rows can see alike."""
        if self.cache is None or self.cache.values is None or self._mask is None:
            raise FactvizError(
                f"uniform attention needs the value vectors of layer {layer}, and "
                f"{self.clean.model.name} shares no cache: use scale=0 there"
            )
        seen = self._mask[:, at] > least(self._mask) / 2
        values = self.cache.values[0]
        weights = (seen / seen.sum(-1, keepdim=True)).to(values)
        n_heads = self.clean.model.n_heads
        heads = (weights @ values).repeat_interleave(n_heads // len(values), 0)
        return heads.transpose(0, 1).flatten(1)

    def _record(self, number: int, keep: Kept, layer: int, rows: Tensor) -> None:
        """Over the clean run's values: what lies before a variant's beginning is the same."""
        variants, _ = self.rows.active(layer)
        taken = [
            (self.rows.order[variant], column, self.rows.row(variant, position))
            for variant in range(variants)
            for column, position in enumerate(keep.positions)
            if position >= self.rows.firsts[variant]
        ]
        if taken:
            into, columns, at = zip(*taken, strict=True)
            here = keep.layers.index(layer)
            self.kept[number][list(into), here, list(columns)] = rows[list(at)]

    def _arguments(self, layer: int, hidden: Tensor) -> dict[str, Any]:
        call = dict(self.clean.calls[layer])
        first = next(iter(call))
        rows = len(hidden)
        share = self.rows.share
        for name, value in call.items():
            call[name] = self._argument(name, value, rows)
        call[first] = (
            hidden[None] if share else hidden.view(-1, self.clean.length, hidden.shape[-1])
        )
        call["attention_mask"] = self._block_mask(layer)
        for name in CACHES:
            if name in call:
                call[name] = self.cache
        if "use_cache" in call:
            call["use_cache"] = share
        return call

    def _block_mask(self, layer: int) -> Tensor:
        assert self._mask is not None
        mask = self._mask
        closed = self.clean.closed[layer]
        if closed is not None:
            shut = mask <= least(mask) / 2
            mask = shut if closed else ~shut
        if self.rows.share:
            return mask[None]
        return mask.unflatten(1, (-1, self.clean.length)).transpose(0, 1)

    def _argument(self, name: str, value: Any, rows: int) -> Any:
        """What stands for a position in a block's arguments, taken for each row's position."""
        if name in ("alibi", "position_bias"):
            return self._bias(name, value, rows)
        if not self.rows.share:
            return value
        position = self.rows.position[:rows]
        if name == "position_embeddings" and isinstance(value, tuple):
            return tuple(part.index_select(-2, position) for part in value)
        if name in ("position_ids", "cache_position") and isinstance(value, Tensor):
            return value.index_select(-1, position)
        return value

    def _bias(self, name: str, value: Any, rows: int) -> Any:
        if not isinstance(value, Tensor):
            return value
        length = self.clean.length
        if not self.rows.share:
            batched = name == "alibi" and value.ndim == 3  # [prompt × head, 1, key]
            return value.repeat(rows // length, 1, 1) if batched else value
        position = self.rows.position[:rows]
        value = value[..., value.shape[-1] - length :]
        if value.shape[-2] == length > 1:
            value = value.index_select(-2, position)
        return torch.cat([value, value.index_select(-1, position)], -1)
