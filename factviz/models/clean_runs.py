"""One run of a prompt without any change, and all that changed runs take from it.

Kept: what each block was called with, its input at every position, the keys and values. A changed
run then begins at the layer and position where it differs, and reads the rest from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import DynamicCache

from factviz.facts.errors import FactvizError
from factviz.models.bare import BareModel
from factviz.models.factmodel import FactModel
from factviz.models.interventions import Place
from factviz.models.masks import least, read_masks
from factviz.models.parts import Hooked, bare_parts
from factviz.models.plans import Extent, Kept
from factviz.models.recording import hooks

CACHES = ("past_key_values", "layer_past", "past_key_value")


class CleanRun:
    """The unchanged run of one prompt; made under the model's lock.

    Attributes
    ----------
    states : [layer + 1] of [position, d_model]
        The input of every block, and the output of the last.
    keys, values : [layer] of [1, kv_head, position, d_head]
    masks : [layer] of [1 or head, query, key]
        What is added to attention scores; the dtype's minimum where a key can't be seen.
    kept : [keep] of [layer, position, width]
        What was asked for with ``keeps``, whose positions and layers are resolved.
    """

    def __init__(
        self,
        model: FactModel,
        ids: Sequence[int],
        keeps: Sequence[Kept] = (),
        attention: str = "eager",
    ) -> None:
        self.model = model
        self.keeps = keeps
        self.bare = BareModel(model.network, attention)
        self.parts = [bare_parts(self.bare, layer) for layer in model.geometry.layers]
        self.length = len(ids)
        self.calls: list[dict[str, Any]] = []
        self.states: list[Tensor] = []
        self._cache: Any = DynamicCache()
        self._recorded: dict[tuple[Place, int], Tensor] = {}
        self._logits: Tensor | None = None
        self._run(torch.tensor([list(ids)], device=model.device))
        taken = [call.get("attention_mask") for call in self.calls]
        self.masks, self.closed = read_masks(self.parts, taken, self.states[0])
        self.kept = [self._kept(keep) for keep in keeps]

    @property
    def extent(self) -> Extent:
        """Sizes, and what every position may see."""
        visible = [self.visible(layer) for layer in range(len(self.parts))]
        return Extent(len(self.parts), self.model.n_heads, self.length, visible)

    def visible(self, layer: int) -> Bool[Tensor, "query key"]:
        """Which keys a query position can see at a layer: causal, and in its window."""
        return (self.masks[layer] > least(self.masks[layer]) / 2).any(0)

    def prefix(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the whole prompt at a layer, each [1, kv_head, position, d_head]."""
        held = self._cache.layers[layer]
        return held.keys, held.values

    @property
    def shares(self) -> bool:
        """Whether every layer left keys and values for the whole prompt."""
        layers = self._cache.layers
        if len(layers) != len(self.parts):
            return False
        return all(layer.is_initialized and layer.keys.shape[-2] == self.length for layer in layers)

    @property
    def logits(self) -> Float[Tensor, " vocab"]:
        """At END, in logits; computed when first asked for, or along with the first variants."""
        if self._logits is None:
            self.read(self.states[-1][:0])
        assert self._logits is not None
        return self._logits

    def read(self, ends: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """Logits of final states; the clean END joins in, as one row more costs nothing."""
        if self._logits is not None:
            return self.tail(ends)
        logits = self.tail(torch.cat([self.states[-1][-1:], ends]))
        if not bool(logits[0].isfinite().all()):
            raise self._broken()
        self._logits = logits[0].clone()
        return logits[1:]

    def _broken(self) -> FactvizError:
        return FactvizError(
            f"{self.model.name} gives NaN or infinite logits on this prompt: nothing to compare"
        )

    def release(self) -> None:
        """Let go of everything but the logits and what was kept: no variant will run any more."""
        _ = self.logits
        self.calls, self.states, self.masks = [], [], []
        self._recorded.clear()
        del self._cache

    def tail(self, states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """Final states to logits: norm, unembedding, multiplier and soft-cap."""
        geometry = self.model.geometry
        normed = self.bare.of(geometry.final_norm)(states[None])
        logits = self.bare.of(geometry.unembed)(normed)[0] * geometry.logit_multiplier
        if geometry.soft_cap:
            logits = geometry.soft_cap * torch.tanh(logits / geometry.soft_cap)
        return logits

    def _run(self, ids: Tensor) -> None:
        last = self.parts[-1].block
        places: list[Hooked] = [(parts.block, "before", self._called) for parts in self.parts]
        places.append((last, "after", lambda _m, _a, output: self._left(output)))
        places.append((self.bare.of(self.model.geometry.unembed), "before", _no_rows))
        with hooks(*places, *self._recording()):
            self.bare.network(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                past_key_values=self._cache,
                use_cache=True,
            )
        if not bool(self.states[-1].isfinite().all()):
            raise self._broken()

    def _recording(self) -> list[Hooked]:
        multiplier = self.model.geometry.residual_multiplier
        found: list[Hooked] = []
        for layer, parts in enumerate(self.parts):
            wanted: list[Place] = [k.place for k in self.keeps if layer in k.layers]

            def see(place: Place, rows: Tensor, layer: int = layer) -> None:
                self._recorded[place, layer] = rows.clone()  # blocks may add in place

            found += parts.hooks(wanted, multiplier, see)
        return found

    def _kept(self, keep: Kept) -> Float[Tensor, "layer position width"]:
        rows: list[Tensor] = []
        for layer in keep.layers:
            if keep.place != "state" and (keep.place, layer) not in self._recorded:
                raise FactvizError(
                    f"layer {layer} of {self.model.name} shows no {keep.place!r} to keep"
                )
            whole = (
                self.states[layer] if keep.place == "state" else self._recorded[keep.place, layer]
            )
            rows.append(whole[list(keep.positions)])
        return torch.stack(rows)

    def _called(self, module: Any, args: Any, kwargs: Any) -> None:
        # Of the class: what an adapter puts on an instance takes just *args and **kwargs.
        bound = inspect.signature(type(module).forward).bind(module, *args, **kwargs)
        named: dict[str, Any] = {}
        for name, value in list(bound.arguments.items())[1:]:
            kind = bound.signature.parameters[name].kind
            named |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        self.calls.append(named)
        self.states.append(next(iter(named.values()))[0])

    def _left(self, output: Any) -> None:
        self.states.append((output[0] if isinstance(output, tuple) else output)[0])


def _no_rows(_: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The unembedding reads all its weights even for one row: END's turn comes with the others."""
    return (args[0][:, :0], *args[1:]), kwargs
