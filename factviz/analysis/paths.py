"""The two halves of path patching: from senders to the receiver, and from there to π.

The first half runs single positions (`factviz.models.frozen`). The second is the original run with
only the receiver replaced: for the final residual there is nothing left to run; a head that reads
one input anew writes something else, and so does an MLP, and that is patched into the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.directions import working_dtype
from factviz.analysis.receivers import NoSendersError, Receiver
from factviz.models.factmodel import FactModel
from factviz.models.frozen import AtPosition, FrozenBlocks, Shifts, check_reproduced
from factviz.models.head_inputs import read_anew
from factviz.models.interventions import Keep, ReplaceHead, ReplaceSublayer, Variant
from factviz.models.runs import run


class Pi:
    """π of one token for each fact: its logit minus the vocabulary's mean, before a soft-cap.

    It is one product with a direction, so that no other logit is computed.
    """

    def __init__(self, model: FactModel, ids: Sequence[int]) -> None:
        dtype, multiplier = working_dtype(model), model.geometry.logit_multiplier
        weight, bias = model.unembedding
        self.ids = torch.tensor(list(ids), device=weight.device)
        centred = weight[self.ids].to(dtype) - model.mean_unembedding(dtype)
        self.directions = centred * multiplier
        self.constant = centred.new_zeros(len(self.ids))
        if bias is not None:
            own = bias.to(dtype)
            self.constant = (own[self.ids] - own.mean()) * multiplier

    def of_normed(
        self, facts: slice, normed: Float[Tensor, "variant fact d_model"]
    ) -> Float[Tensor, "variant fact"]:
        """From states behind the final norm."""
        directions = self.directions[facts]
        return (normed.to(directions) * directions).sum(-1) + self.constant[facts]

    def of_logits(self, facts: slice, logits: Float[Tensor, "fact vocab"]) -> Tensor:
        """From the model's own logits before a soft-cap [fact]."""
        logits = logits.to(self.directions)
        return logits.gather(1, self.ids[facts, None])[:, 0] - logits.mean(-1)


class Paths:
    """Effects of all senders on π through one receiver."""

    def __init__(
        self,
        model: FactModel,
        rows: Sequence[Sequence[int]],
        at: Sequence[int],
        receiver: Receiver,
        pi: Pi,
        *,
        freeze_mlps: bool,
    ) -> None:
        self.model, self.rows, self.at = model, rows, at
        self.receiver, self.pi, self.freeze_mlps = receiver, pi, freeze_mlps
        with model.lock:
            self.blocks = FrozenBlocks(model, max(rows, key=len))

    def effects(
        self, part: slice, clean: AtPosition, runs: Sequence[Shifts]
    ) -> Float[np.ndarray, "fact run sender"]:
        """Changes of π, in logits, for some facts; NaN where no path leads to the receiver.

        Parameters
        ----------
        part
            Which facts.
        clean
            Theirs.
        runs
            What replaces the senders, one after the other.
        """
        with self.model.lock:
            states = [self._sent(clean, shifts) for shifts in runs]
            if self.receiver.kind == "resid_final":
                found = [self._read(part, clean, one) for one in states]
                pi = torch.stack(found)  # [run, variant, fact]
            else:
                facts = range(len(self.rows))[part]
                pi = torch.stack(
                    [
                        self._rerun(fact, torch.stack([one[:, i] for one in states]))
                        for i, fact in enumerate(facts)
                    ],
                    -1,
                )
        moved = (pi[:, 1:] - pi[:, :1]).double().cpu().numpy()
        senders = self.model.n_layers * (self.model.n_heads + 1)
        made = np.full((moved.shape[-1], len(runs), senders), np.nan)
        made[:, :, : moved.shape[1]] = np.moveaxis(moved, -1, 0)
        return made

    def _sent(self, clean: AtPosition, shifts: Shifts) -> Float[Tensor, "variant fact d_model"]:
        """What reaches the receiver: a block's input, or what its MLP then adds."""
        frozen, layer = self.freeze_mlps, self.receiver.layer
        if self.receiver.kind != "mlp":
            layer = self.model.n_layers if self.receiver.kind == "resid_final" else layer
            states = self.blocks.inputs(clean, shifts, layer, freeze_mlps=frozen)
            check_reproduced(self.model, states[0], clean.residual[:, layer], "the residual")
            return states
        states = self.blocks.mlps(clean, shifts, layer, freeze_mlps=frozen)
        check_reproduced(self.model, states[0], clean.mlps[:, layer], f"MLP {layer}")
        if not self.blocks.reads_heads(clean, layer):  # parallel: they run side by side
            states = states[: self.blocks.variant(layer, 0)]
        if len(states) == 1:
            raise NoSendersError(
                f"{self.receiver.name} has no senders: in a parallel block it reads what the first "
                "attention reads, the embedding"
            )
        return states

    def _read(self, part: slice, clean: AtPosition, states: Tensor) -> Tensor:
        normed = self.blocks.normed(states.flatten(0, 1)).view_as(states)
        pi = self.pi.of_normed(part, normed)
        size = float(clean.logits.abs().max())  # what π is a difference of
        check_reproduced(self.model, pi[0], self.pi.of_logits(part, clean.logits), "π", size=size)
        return pi

    def _rerun(
        self, fact: int, states: Float[Tensor, "run variant d_model"]
    ) -> Float[Tensor, "run variant"]:
        """The original prompt with the receiver replaced, once for each run and sender."""
        flat, n_layers = states.flatten(0, 1), self.model.n_layers
        end = Keep("state", [-1], [n_layers])
        # Senders that leave the receiver as it was have no effect: that is a result.
        done = run(
            self.model,
            self.rows[fact],
            self._variants(fact, flat),
            keep=[end],
            tokens=[int(self.pi.ids[fact])],
            allow_idle=True,
        )
        last = torch.cat([done.clean_kept[0][:, 0], done.kept[0][:, 0, 0]])
        pi = self.pi.of_normed(slice(fact, fact + 1), self.blocks.normed(last)[:, None])[:, 0]
        check_reproduced(self.model, pi[1], pi[0], "π")
        return pi[1:].view(states.shape[:2])

    def _variants(self, fact: int, states: Float[Tensor, "variant d_model"]) -> list[Variant]:
        layer, position, ids = self.receiver.layer, self.at[fact], self.rows[fact]
        if self.receiver.kind == "mlp":
            return [[ReplaceSublayer("mlp", layer, [position], value=new)] for new in states]
        heads = self.receiver.heads
        one = self.receiver.head_input
        read, clean = read_anew(self.model, ids, one, position, states)
        check_reproduced(self.model, read[0], clean, f"attention {layer}")
        reach = [position] if self.receiver.kind == "q" else list(range(position, len(ids)))
        own = read[:, : len(reach)].unflatten(-1, (self.model.n_heads, -1))
        return [
            [ReplaceHead(layer, head, reach, value=one[:, head]) for head in heads] for one in own
        ]
