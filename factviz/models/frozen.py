"""Blocks run at single positions, with what attention writes there held fixed (path patching).

Where every query, key and value is frozen, a position's computation no longer depends on the other
positions: each head writes what it wrote, and only norms and MLPs are computed anew. So a run with
one sender replaced is one row of d_model, whatever the prompt's length, and all senders of all
prompts make one batch. The block's own code runs (parallel or not, post-norms, multipliers); only
what its attention writes is put in place. The first row of every batch is unchanged, as a proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from factviz.facts.errors import FactvizError
from factviz.models.clean_runs import CACHES, CleanRun
from factviz.models.factmodel import FactModel
from factviz.models.geometry import linear_weight
from factviz.models.proofs import proven
from factviz.models.recording import hooks
from factviz.models.states import record_states

_ROWS = 4096  # rows of d_model that a block is given at once
# Most families take their attention's softmax in float32, whatever the weights are.
_LOOSE = {torch.float64: 1e-5, torch.float32: 1e-4}


@dataclass(frozen=True)
class AtPosition:
    """What stands at one position of each prompt, in a run without changes.

    ``residual`` [fact, layer + 1, d_model]: the input of each block, and what the last one leaves;
    ``heads`` [fact, layer, head, d_head] before the output projection; ``mlps`` [fact, layer,
    d_model] as added; ``logits`` [fact, vocab] at END, before a soft-cap.
    """

    residual: Float[Tensor, "fact layer d_model"]
    heads: Float[Tensor, "fact layer head d_head"]
    mlps: Float[Tensor, "fact layer d_model"]
    logits: Float[Tensor, "fact vocab"]

    def take(self, facts: slice) -> AtPosition:
        """Some of the prompts."""
        whole = (self.residual, self.heads, self.mlps, self.logits)
        return AtPosition(*(tensor[facts] for tensor in whole))


@dataclass(frozen=True)
class Shifts:
    """By how much each sender's output changes, in every prompt.

    ``heads`` [fact, layer, head, d_head], ``mlps`` [fact, layer, d_model].
    """

    heads: Float[Tensor, "fact layer head d_head"]
    mlps: Float[Tensor, "fact layer d_model"]

    def take(self, facts: slice) -> Shifts:
        """Those of some of the prompts."""
        return Shifts(self.heads[facts], self.mlps[facts])


def record_position(
    model: FactModel, rows: Sequence[Sequence[int]], at: Sequence[int]
) -> AtPosition:
    """Run prompts once and keep what path patching needs of one position of each.

    Raises
    ------
    FactvizError
        If a state, a head's output or an MLP's update is not finite.
    """
    seen = record_states(model, rows, [[p] for p in at], updates=True, heads=True)
    assert seen.heads is not None and seen.mlp is not None
    heads, mlps = seen.heads[:, :, 0], seen.mlp[:, :, 0]
    for name, values in (("heads", heads), ("MLPs", mlps)):
        bad = ~values.isfinite().flatten(1).all(1)
        if bool(bad.any()):
            raise FactvizError(
                f"{model.name}: {name} of prompt {int(bad.nonzero()[0, 0])} give NaN or infinity: "
                "load it with dtype='float32'"
            )
    return AtPosition(
        seen.residual[:, :, 0], heads.unflatten(-1, (model.n_heads, -1)), mlps, seen.logits
    )


class FrozenBlocks:
    """The blocks of a model, with attention's writes given; call it under the model's lock.

    Variants are counted so: 0 is unchanged; then, layer by layer, every head and the MLP.
    """

    def __init__(self, model: FactModel, ids: Sequence[int]) -> None:
        proof = proven(model, ids)
        # One token: what it attends to is put in place anyway, only the calls' form is taken.
        self.model, self.one = model, CleanRun(model, ids[:1], (), proof.attention)
        self.multiplier = model.geometry.residual_multiplier

    def variant(self, layer: int, head: int | None = None) -> int:
        """The number of a head's variant, or of an MLP's."""
        width = self.model.n_heads + 1
        return 1 + layer * width + (self.model.n_heads if head is None else head)

    def inputs(
        self, clean: AtPosition, shifts: Shifts, layer: int, *, freeze_mlps: bool = False
    ) -> Float[Tensor, "variant fact d_model"]:
        """The input of a block (or the last one's output) with each earlier sender replaced."""
        if freeze_mlps:
            return self._direct(clean, shifts, layer)
        found = clean.residual[None, :, 0]
        for index in range(layer):
            found = self._passed(clean, shifts, index, found)[0]
            own = clean.residual[:, index + 1] + shifts.mlps[:, index]
            found = torch.cat([found, own[None]])
        return found

    def mlps(
        self, clean: AtPosition, shifts: Shifts, layer: int, *, freeze_mlps: bool = False
    ) -> Float[Tensor, "variant fact d_model"]:
        """What a layer's MLP adds with each earlier sender, and its layer's heads, replaced."""
        entering = self.inputs(clean, shifts, layer, freeze_mlps=freeze_mlps)
        return self._passed(clean, shifts, layer, entering)[1]

    def reads_heads(self, clean: AtPosition, layer: int) -> bool:
        """Whether a layer's MLP sees that layer's heads: not so in parallel blocks."""
        row = clean.residual[:1, layer].expand(2, -1)
        written = self._written(layer, clean.heads[:1, layer].flatten(1)).repeat(2, 1)
        written[1] += written[1].norm() * torch.linspace(-1, 1, written.shape[1]).to(written)
        mlp = self._block(layer, row, written)[1]
        return not torch.allclose(mlp[0], mlp[1], rtol=1e-4, atol=1e-6)

    def normed(self, states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """States behind the final norm."""
        norm = self.one.bare.of(self.model.geometry.final_norm)
        return torch.cat([norm(part[None])[0] for part in states.split(_ROWS)])

    def _passed(
        self, clean: AtPosition, shifts: Shifts, layer: int, entering: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What a block leaves, and what its MLP adds, for those that enter and its own heads."""
        written = self._written(layer, clean.heads[:, layer].flatten(1))
        moved = written + self._moves(shifts, layer)
        hidden = torch.cat([entering, clean.residual[None, :, layer].expand_as(moved)])
        given = torch.cat([written.expand_as(entering), moved])
        after, mlp = self._block(layer, hidden.flatten(0, 1), given.flatten(0, 1))
        return after.view_as(hidden), mlp.view_as(hidden)

    def _direct(
        self, clean: AtPosition, shifts: Shifts, layer: int
    ) -> Float[Tensor, "variant fact d_model"]:
        moves = [torch.zeros_like(clean.residual[None, :, 0])]
        for index in range(layer):
            written = self._written(index, clean.heads[:, index].flatten(1))
            both = (self._update(index, w) for w in (written + self._moves(shifts, index), written))
            after, before = both
            moves += [after - before, shifts.mlps[None, :, index]]
        return clean.residual[:, layer] + torch.cat(moves)

    def _moves(self, shifts: Shifts, layer: int) -> Float[Tensor, "head fact d_model"]:
        """By how much each head moves what attention writes, before a post-norm."""
        weight = linear_weight(self.model.geometry.layers[layer].output)
        own = weight.unflatten(1, (self.model.n_heads, -1))
        return torch.einsum("fhw,dhw->hfd", shifts.heads[:, layer].to(own), own)

    def _written(self, layer: int, heads: Float[Tensor, "row value"]) -> Tensor:
        return self.one.parts[layer].output(heads[:, None])[:, 0]

    def _update(self, layer: int, written: Tensor) -> Tensor:
        """What attention adds to the residual stream, from what its output map gives."""
        post = self.model.geometry.layers[layer].attention_post
        update = written if post is None else self.one.bare.of(post)(written)
        return update * self.multiplier

    def _block(self, layer: int, hidden: Tensor, written: Tensor) -> tuple[Tensor, Tensor]:
        pairs = zip(hidden.split(_ROWS), written.split(_ROWS), strict=True)
        made = [self._rows(layer, *pair) for pair in pairs]
        after, mlp = (torch.cat(parts) for parts in zip(*made, strict=True))
        return after, mlp

    def _rows(self, layer: int, hidden: Tensor, written: Tensor) -> tuple[Tensor, Tensor]:
        parts = self.one.parts[layer]
        seen: list[Tensor] = []

        def put(_: nn.Module, _args: Any, output: Tensor) -> Tensor:
            return written.view(output.shape).to(output)

        def look(_place: Any, rows: Tensor) -> None:
            seen.append(rows.clone())  # blocks may add in place

        looking = parts.hooks(["mlp"], self.multiplier, look)
        with hooks((parts.output, "after", put), *looking):
            output = parts.block(**self._arguments(layer, hidden))
        output = output[0] if isinstance(output, tuple) else output
        if not seen:
            raise FactvizError(f"layer {layer} of {self.model.name} does not show its MLP")
        return output.reshape(hidden.shape), seen[0]

    def _arguments(self, layer: int, hidden: Tensor) -> dict[str, Any]:
        call = dict(self.one.calls[layer])
        call[next(iter(call))] = hidden[:, None]
        for name in CACHES:
            if name in call:
                call[name] = None
        if "use_cache" in call:
            call["use_cache"] = False
        alibi = call.get("alibi")
        if isinstance(alibi, Tensor) and alibi.ndim == 3:  # [prompt × head, 1, key]
            call["alibi"] = alibi.repeat(len(hidden), 1, 1)
        return call


def check_reproduced(
    model: FactModel,
    found: Float[Tensor, "*n width"],
    wanted: Float[Tensor, "*n width"],
    what: str,
    *,
    size: float | None = None,
) -> None:
    """Refuse a recomputation that, with nothing replaced, does not give what the model gave.

    The difference is judged against the largest value, or against ``size``.

    Raises
    ------
    FactvizError
        With the difference.
    """
    gap = float((found - wanted).abs().max())
    loose = _LOOSE.get(model.dtype, 2e-2)
    most = float(wanted.abs().max()) if size is None else size
    if not gap <= loose * max(1.0, most):
        raise FactvizError(
            f"paths of {model.name} can't be patched: run by itself, with nothing replaced, {what} "
            f"is off by {gap:.2g}"
        )
