"""The modules of a block in which interventions act, and hooks that show their tensors as rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from factviz.models.bare import BareModel
from factviz.models.geometry import Layer
from factviz.models.interventions import Place

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


def bare_parts(bare: BareModel, layer: Layer) -> Parts:
    """The modules of a block, in the bare model."""
    block: Any = layer.block
    mlp = block._modules.get("mlp")
    out = None if mlp is None else mlp._modules.get("out")
    return Parts(
        block=bare.of(layer.block),
        output=bare.of(layer.output),
        attention=bare.of(layer.attention_post or layer.output),
        neurons=None if out is None else bare.of(out),
        mlp=bare.of(layer.mlp),
    )
