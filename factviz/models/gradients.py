"""Gradients of something read at END with respect to the states that enter each block.

The one place that leaves inference mode. Only states are differentiated: parameters get no
``.grad`` and keep their flags, whatever these are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.geometry import refusal
from factviz.models.recording import end_logits, evaluating, hooks
from factviz.models.states import batches

_BATCH_TOKENS = 1024  # every layer's attention is held for the way back

# From END's logits [fact, vocab] (before a soft-cap) and the facts' numbers to one value a fact.
Target = Callable[[Float[Tensor, "fact vocab"], Sequence[int]], Float[Tensor, " fact"]]


def state_gradients(
    model: FactModel, rows: Sequence[Sequence[int]], target: Target
) -> list[tuple[Float[Tensor, "layer position d_model"], Float[Tensor, "layer position d_model"]]]:
    """States that enter each block, and the gradient of a target with respect to them.

    Parameters
    ----------
    model : FactModel
    rows : [fact] of token ids
    target
        From END's logits [fact, vocab], before a soft-cap, and the facts' numbers to [fact].

    Returns
    -------
    list of (state, gradient)
        One pair a fact, [layer, position, d_model] each, without padding.

    Raises
    ------
    FactvizError
        If the model's weights cannot be differentiated through.
    """
    if any(parameter.is_inference() for parameter in model.network.parameters()):
        raise FactvizError(
            f"{model.name} was made inside torch.inference_mode(): its weights allow no gradients; "
            "load it outside"
        )
    found: list[tuple[Tensor, Tensor]] = []
    # Grad mode belongs to the thread, and the caller may be in either mode.
    with torch.inference_mode(False), torch.enable_grad(), model.lock:
        for batch in batches([len(row) for row in rows], _BATCH_TOKENS):
            found += _batch(model, [rows[i] for i in batch], batch, target)
    return found


def _batch(
    model: FactModel, rows: Sequence[Sequence[int]], batch: Sequence[int], target: Target
) -> list[tuple[Tensor, Tensor]]:
    ids, ends = model.padded(rows)
    states = _States(model)
    raw = states.run(ids, ends) * model.geometry.logit_multiplier
    if not raw.requires_grad:
        raise refusal(model.architecture, "its logits cannot be differentiated")
    # Facts do not see each other: the gradient of the sum is each one's own.
    slopes = torch.autograd.grad(target(raw, batch).sum(), states.entering)
    entering = [state.detach() for state in states.entering]
    return [
        (
            torch.stack([state[fact, : len(row)] for state in entering]),
            torch.stack([slope[fact, : len(row)] for slope in slopes]),
        )
        for fact, row in enumerate(rows)
    ]


class _States:
    """Holds what enters each block; the graph begins at the first one."""

    def __init__(self, model: FactModel) -> None:
        self.model = model
        self.entering: list[Tensor] = []
        self.raw: Any = None

    def run(
        self, ids: Int[Tensor, "fact position"], ends: Int[Tensor, " fact"]
    ) -> Float[Tensor, "fact vocab"]:
        """The forward pass; END's logits with their graph."""
        geometry, network = self.model.geometry, self.model.network
        places = [(layer.block, "before", self._enter) for layer in geometry.layers]
        rows = (torch.arange(len(ids), device=ids.device), ends)
        places += [end_logits(geometry, rows), (geometry.unembed, "after", self._keep)]
        with hooks(*places), evaluating(network):
            network(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        return self.raw

    def _enter(self, _: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        state = args[0] if args else kwargs["hidden_states"]
        if not self.entering:
            state = state.detach().clone().requires_grad_(True)
        self.entering.append(state)
        if args:
            return (state, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": state}

    def _keep(self, _: nn.Module, _args: Any, output: Tensor) -> None:
        self.raw = output[:, -1]
