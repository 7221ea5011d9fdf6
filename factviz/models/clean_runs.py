"""One run of a prompt without any change, and all that changed runs take from it.

Kept: what each block was called with, its input at every position, the keys and values. A changed
run then begins at the layer and position where it differs, and reads the rest from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import DynamicCache

from factviz.facts.errors import FactvizError
from factviz.models.bare import BareModel
from factviz.models.factmodel import FactModel
from factviz.models.geometry import Layer
from factviz.models.interventions import Place
from factviz.models.plans import Extent, Kept
from factviz.models.recording import hooks

CACHES = ("past_key_values", "layer_past", "past_key_value")
See = Callable[[Place, Float[Tensor, "row width"]], Tensor | None]
Hooked = tuple[nn.Module, str, Callable[..., Any]]


@dataclass(frozen=True)
class Parts:
    """A block's modules, bare. The updates are what these two return, times the multiplier."""

    block: nn.Module
    output: nn.Module
    attention: nn.Module
    neurons: nn.Module | None
    mlp: nn.Module

    def hooks(self, places: Sequence[Place], multiplier: float, see: See) -> list[Hooked]:
        """Hooks that show the tensor of each place, as rows, and put back what ``see`` returns."""
        found: list[Hooked] = []
        for place in places:
            if place == "heads":
                found.append((self.output, "before", _entering(place, see)))
            elif place == "neurons" and self.neurons is not None:
                found.append((self.neurons, "before", _entering(place, see)))
            elif place in ("attention", "mlp"):
                module = self.attention if place == "attention" else self.mlp
                found.append((module, "after", _leaving(place, see, multiplier)))
        return found


def _entering(place: Place, see: See) -> Callable[..., Any]:
    def hook(_: nn.Module, args: Any, kwargs: Any) -> Any:
        new = see(place, args[0].reshape(-1, args[0].shape[-1]))
        return None if new is None else ((new.view(args[0].shape), *args[1:]), kwargs)

    return hook


def _leaving(place: Place, see: See, multiplier: float) -> Callable[..., Any]:
    def hook(_: nn.Module, _args: Any, output: Any) -> Any:
        whole = output[0] if isinstance(output, tuple) else output
        rows = whole.reshape(-1, whole.shape[-1])
        new = see(place, rows if multiplier == 1 else rows * multiplier)
        if new is None:
            return None
        new = (new if multiplier == 1 else new / multiplier).view(whole.shape)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return hook


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
        self.parts = [self._parts(layer) for layer in model.geometry.layers]
        self.length = len(ids)
        self.calls: list[dict[str, Any]] = []
        self.states: list[Tensor] = []
        self._cache: Any = DynamicCache()
        self._recorded: dict[tuple[Place, int], Tensor] = {}
        self._logits: Tensor | None = None
        self._run(torch.tensor([list(ids)], device=model.device))
        self.masks, self.closed = self._read_masks()
        self.kept = [self._kept(keep) for keep in keeps]

    @property
    def extent(self) -> Extent:
        """Sizes, and what every position may see."""
        visible = [self.visible(layer) for layer in range(len(self.parts))]
        return Extent(len(self.parts), self.model.n_heads, self.length, visible)

    def visible(self, layer: int) -> Bool[Tensor, "query key"]:
        """Which keys a query position can see at a layer: causal, and in its window."""
        return (self.masks[layer] > torch.finfo(self.masks[layer].dtype).min / 2).any(0)

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

    def tail(self, states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """Final states to logits: norm, unembedding, multiplier and soft-cap."""
        geometry = self.model.geometry
        normed = self.bare.of(geometry.final_norm)(states[None])
        logits = self.bare.of(geometry.unembed)(normed)[0] * geometry.logit_multiplier
        if geometry.soft_cap:
            logits = geometry.soft_cap * torch.tanh(logits / geometry.soft_cap)
        return logits

    def _parts(self, layer: Layer) -> Parts:
        of = self.bare.of
        mlp = layer.block._modules.get("mlp")
        out = None if mlp is None else mlp._modules.get("out")
        return Parts(
            block=of(layer.block),
            output=of(layer.output),
            attention=of(layer.attention_post or layer.output),
            neurons=None if out is None else of(out),
            mlp=of(layer.mlp),
        )

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
            wanted = {k.place for k in self.keeps if layer in k.layers} - {"state"}

            def see(place: Place, rows: Tensor, layer: int = layer) -> None:
                self._recorded[place, layer] = rows

            found += parts.hooks(sorted(wanted), multiplier, see)
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

    def _read_masks(self) -> tuple[list[Tensor], list[Any]]:
        """What is added to the scores, and the value that closes a key in a boolean mask."""
        made: dict[int, tuple[Tensor, Any]] = {}
        found: list[tuple[Tensor, Any]] = []
        for parts, call in zip(self.parts, self.calls, strict=True):
            mask = call.get("attention_mask")
            own = _own_mask(parts.block)
            key = hash((id(mask), None if own is None else id(own)))
            if key not in made:
                made[key] = _additive(mask, own, self.length, self.states[0])
            found.append(made[key])
        return [mask for mask, _ in found], [closed for _, closed in found]


def _no_rows(_: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The unembedding reads all its weights even for one row: END's turn comes with the others."""
    return (args[0][:, :0], *args[1:]), kwargs


def _own_mask(block: nn.Module) -> Tensor | None:
    """The causal or local mask that some attention modules keep as a buffer (GPT-Neo)."""
    for module in block.modules():
        held = module._buffers.get("bias")
        if held is not None and held.dtype == torch.bool and held.ndim == 4:
            return held
    return None


def open_own_masks(block: nn.Module, size: int) -> None:
    """Put all-true masks in the place of such buffers, in the bare copy: rows are no positions."""
    for module in block.modules():
        held = module._buffers.get("bias")
        if held is not None and held.dtype == torch.bool and held.ndim == 4:
            module._buffers["bias"] = held.new_ones(1, 1, 1, 1).expand(1, 1, size, size)


def _additive(
    mask: Tensor | None, own: Tensor | None, length: int, like: Tensor
) -> tuple[Tensor, Any]:
    closed = None
    least = torch.finfo(like.dtype).min
    if mask is None:
        added = torch.full((length, length), least, dtype=like.dtype, device=like.device).triu(1)
        added = added[None]
    elif mask.dtype == torch.bool:
        # Position 0 sees itself: that says which value means "open".
        seen = mask[0, :, 0, 0]
        closed = not bool(seen[0])
        added = torch.zeros_like(mask[0], dtype=like.dtype).masked_fill(mask[0] == closed, least)
    else:
        added = mask[0].clamp(min=torch.finfo(mask.dtype).min)
    if own is not None:
        window = own[0, 0, :length, :length]
        added = added.masked_fill(~window, torch.finfo(added.dtype).min)
    return added, closed
