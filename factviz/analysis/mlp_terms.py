"""What an MLP reads and writes at END, split into the heads it sees and the rest of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.attribution import TOLERANCE
from factviz.facts.errors import FactvizError
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel
from factviz.models.geometry import linear_bias, linear_weight, refusal
from factviz.models.parallel import parallel_blocks
from factviz.models.states import States, record_states

Heads = Literal["own", "previous"]
"""The heads of the MLP's own layer, or of the layer before it."""


@dataclass(frozen=True)
class EndStates:
    """The states and updates at END of many prompts.

    ``parallel``: whether the MLP reads the state before attention, so that r_mid does not exist.
    """

    model: FactModel
    states: States
    parallel: bool

    def before(self, layer: int) -> Float[Tensor, "prompt d_model"]:
        """r_pre: the residual stream in front of a block."""
        return self.states.residual[:, layer, 0].double()

    def mid(self, layer: int) -> Float[Tensor, "prompt d_model"]:
        """r_mid: behind attention and in front of the MLP (in parallel blocks, r_pre)."""
        assert self.states.attention is not None
        before = self.before(layer)
        return before if self.parallel else before + self.states.attention[:, layer, 0].double()

    def after(self, layer: int) -> Float[Tensor, "prompt d_model"]:
        """r_post: behind the block."""
        return self.before(layer + 1)

    def mlp(self, layer: int) -> Float[Tensor, "prompt d_model"]:
        """m: what the MLP adds."""
        assert self.states.mlp is not None
        return self.states.mlp[:, layer, 0].double()

    def heads(self, layer: int) -> Float[Tensor, "prompt head d_model"]:
        """a: what each head adds, value biases included; b_O belongs to no head.

        Raises
        ------
        FactvizError
            If heads and bias do not add up to what the attention added.
        """
        model, parts = self.model, self.model.geometry.layers[layer]
        assert self.states.heads is not None and self.states.attention is not None
        read = self.states.heads[:, layer, 0].double().unflatten(-1, (model.n_heads, -1))
        weight = linear_weight(parts.output).double().unflatten(-1, (model.n_heads, -1))
        written = torch.einsum("phw,dhw->phd", read, weight)
        bias = linear_bias(parts.output)
        constant = written.new_zeros(model.d_model) if bias is None else bias.double()
        multiplier = model.geometry.residual_multiplier
        update = self.states.attention[:, layer, 0].double() / multiplier
        whole = written.sum(1) + constant
        if parts.attention_post is not None:
            norm = model.geometry.norm(parts.attention_post)
            scale = norm.scale(whole, update)[:, None].double()
            written = norm.push(written) / scale[..., None]
            whole = norm.push(whole) / scale
            whole = whole if norm.bias is None else whole + norm.bias.double()
        _check_sum(model, layer, whole, update)
        return written * multiplier

    def terms(
        self, layer: int, heads: Heads
    ) -> tuple[
        Float[np.ndarray, "prompt head d_model"],
        Float[np.ndarray, "prompt d_model"],
        Float[np.ndarray, "prompt d_model"],
    ]:
        """Heads, the rest of what the MLP reads, and what it writes.

        The rest is what the MLP reads without these heads, so that a head's coefficient is its
        invariant g: c_h + c_r, whichever state r stands for (METHODS.md, P2 item 4).
        """
        source = layer if heads == "own" else layer - 1
        written = self.heads(source)
        # Behind attention less its own heads is the state before it, up to b_O: no rounding here.
        rest = self.before(layer) if heads == "own" else self.mid(layer) - written.sum(1)
        found = (written, rest, self.mlp(layer))
        return tuple(array.cpu().numpy() for array in found)  # type: ignore[return-value]


def _check_sum(
    model: FactModel,
    layer: int,
    whole: Float[Tensor, "prompt d_model"],
    update: Float[Tensor, "prompt d_model"],
) -> None:
    gap, size = float((whole - update).abs().max()), float(update.abs().max())
    if not gap <= 10 * TOLERANCE.get(model.dtype, 1e-4) * max(size, 1.0):
        raise refusal(
            model.architecture,
            f"the heads of layer {layer} miss what its attention adds by {gap:.2g} (of {size:.2g})",
        )


@torch.inference_mode()
def end_states(model: FactModel, tokens: Sequence[PromptTokens]) -> EndStates:
    """Run prompts once and keep what stands at END.

    Raises
    ------
    FactvizError
        If states are not finite, or the blocks' updates do not add up to their states.
    """
    rows = [row.ids for row in tokens]
    at = [(len(row) - 1,) for row in rows]
    states = record_states(model, rows, at, updates=True, heads=True)
    assert states.attention is not None and states.mlp is not None
    step = states.residual[:, 1:].double() - states.residual[:, :-1]
    gap = (step - states.attention - states.mlp).abs().amax((0, 2, 3))
    limit = 10 * TOLERANCE.get(model.dtype, 1e-4) * max(float(states.residual.abs().max()), 1.0)
    if not float(gap.max()) <= limit:
        raise refusal(
            model.architecture,
            f"attention and MLP of layer {int(gap.argmax())} miss the next state by "
            f"{float(gap.max()):.2g}",
        )
    return EndStates(model, states, parallel_blocks(model, rows[0]))


def check_heads(found: EndStates, heads: Heads) -> None:
    """Refuse heads that the MLP never sees.

    Raises
    ------
    FactvizError
        If ``heads`` is unknown, or the layer's own in parallel blocks.
    """
    if heads not in ("own", "previous"):
        raise FactvizError(f"heads={heads!r} are unknown: 'own' or 'previous'")
    if heads == "own" and found.parallel:
        raise FactvizError(
            f"{found.model.name} ({found.model.architecture}) has parallel blocks: the MLP of a "
            "layer never sees the heads of that layer. heads='previous' fits it on the heads of "
            "the layer before, which it does see; or take a sequential model, such as 'mini-gpt2'"
        )
