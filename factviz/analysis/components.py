"""Parts of a model by name: heads, attention and MLP sublayers; and random ones like them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.interventions import Intervention, Place, ReplaceHead, ReplaceSublayer

Named = str | tuple[int, int] | tuple[str, int]
SAME = 1e-5  # of the largest number: more than what runs of different batches differ by
_HEAD = re.compile(r"l(\d+)\s*[.,]?\s*h(\d+)", re.IGNORECASE)
_SUBLAYER = re.compile(r"(attention|attn|mlp)\s*[:_.]?\s*l?(\d+)", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Component:
    """One head, one layer's attention, or one MLP."""

    kind: Literal["head", "attention", "mlp"]
    layer: int
    head: int = -1

    @property
    def name(self) -> str:
        """L3H4, attention 2, MLP 2."""
        if self.kind == "head":
            return f"L{self.layer}H{self.head}"
        return f"{'MLP' if self.kind == 'mlp' else 'attention'} {self.layer}"


def component_sets(
    model: FactModel,
    components: Named | Iterable[Named] | Mapping[str, Iterable[Named]],
    *,
    separately: bool = False,
) -> dict[str, tuple[Component, ...]]:
    """Named sets of components; each set is changed in one run.

    Parameters
    ----------
    model : FactModel
    components
        ``(layer, head)``, ``"L3H4"``, ``"mlp 2"``, ``"attn 2"`` or several of these (one set), or
        a mapping from names to several of these.
    separately : bool
        Make each component a set of its own.

    Raises
    ------
    FactvizError
        If a component is not understood, does not exist or is named twice in a set, or nothing
        is named.
    """
    if isinstance(components, Mapping):
        if separately:
            raise FactvizError("separately=True takes a list of components, not named sets")
        found = {str(n): _read_set(model, some) for n, some in components.items()}
    else:
        whole = _read_set(model, components)  # type: ignore[arg-type]
        found = {c.name: (c,) for c in whole} if separately else {_label(whole): whole}
    if not found:
        raise FactvizError("no components are named: give heads like (3, 4) or 'mlp 2'")
    return found


def names_in(sets: Mapping[str, Sequence[Component]]) -> dict[str, list[str]]:
    """Named sets as text, for the provenance."""
    return {name: [component.name for component in some] for name, some in sets.items()}


def heads_only(sets: Mapping[str, Sequence[Component]]) -> None:
    """Refuse sublayers where only heads will do."""
    for component in (c for some in sets.values() for c in some):
        if component.kind != "head":
            raise FactvizError(f"{component.name!r} is no head: give (layer, head) or 'L3H4'")


def _is_one(asked: object) -> bool:
    pair = isinstance(asked, tuple) and len(asked) == 2
    return isinstance(asked, str) or (pair and is_whole(asked[1]))  # type: ignore[index]


def _label(components: Sequence[Component], most: int = 6) -> str:
    names = [c.name for c in components]
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return " + ".join([*names[:most], *more])


def _read_set(model: FactModel, asked: Iterable[Named]) -> tuple[Component, ...]:
    alone = _is_one(asked) or not hasattr(asked, "__iter__")
    found = [_read(model, one) for one in ([asked] if alone else asked)]  # type: ignore[arg-type]
    if not found:
        raise FactvizError("a set of components is empty: give heads like (3, 4) or 'mlp 2'")
    for index, component in enumerate(found):
        if component in found[:index]:
            raise FactvizError(f"{component.name} is named twice")
    return tuple(found)


def _read(model: FactModel, asked: Named) -> Component:
    found = _parsed(asked)
    if found is None:
        raise FactvizError(
            f"component {asked!r} is not understood: (layer, head), 'L3H4', 'mlp 2' are"
        )
    if not 0 <= found.layer < model.n_layers:
        raise FactvizError(
            f"component {found.name}: layer {found.layer} does not exist: the model has 0 to "
            f"{model.n_layers - 1}"
        )
    if found.kind == "head" and not 0 <= found.head < model.n_heads:
        raise FactvizError(
            f"component {found.name}: head {found.head} does not exist: a layer has heads 0 to "
            f"{model.n_heads - 1}"
        )
    return found


def _parsed(asked: Named) -> Component | None:
    if isinstance(asked, str):
        if head := _HEAD.fullmatch(asked.strip()):
            return Component("head", int(head[1]), int(head[2]))
        sublayer = _SUBLAYER.fullmatch(asked.strip())
        return _sublayer(sublayer[1], int(sublayer[2])) if sublayer else None
    if not _is_one(asked):
        return None
    first, second = asked
    if isinstance(first, str):
        return _sublayer(first, int(second))
    return Component("head", int(first), int(second)) if is_whole(first) else None


def _sublayer(kind: str, layer: int) -> Component | None:
    name = {"attn": "attention", "attention": "attention", "mlp": "mlp"}.get(kind.strip().lower())
    return None if name is None else Component(name, layer)  # type: ignore[arg-type]


def random_like(
    model: FactModel,
    chosen: Sequence[Component],
    rng: np.random.Generator,
    *,
    avoid: Iterable[Component] = (),
) -> tuple[Component, ...] | None:
    """As many other components of the same kinds, heads of the same layers as far as there are any.

    None where the model has no more of a kind, those to ``avoid`` left out too.
    """
    taken = {*chosen, *avoid}
    found: list[Component] = []
    for component in chosen:
        others = [c for c in _same_kind(model, component) if c not in taken]
        near = [c for c in others if component.kind == "head" and c.layer == component.layer]
        if not others:
            return None
        pool = near or others
        drawn = pool[int(rng.integers(len(pool)))]
        taken.add(drawn)
        found.append(drawn)
    return tuple(found)


def _same_kind(model: FactModel, component: Component) -> list[Component]:
    layers = range(model.n_layers)
    if component.kind != "head":
        return [Component(component.kind, layer) for layer in layers]
    return [Component("head", layer, head) for layer in layers for head in range(model.n_heads)]


def place_of(component: Component) -> Place:
    """Where the engine shows a component's output."""
    return "heads" if component.kind == "head" else component.kind


def output_of(
    whole: Float[Tensor, "*position width"], component: Component, n_heads: int
) -> Float[Tensor, "*position own"]:
    """A head's share of the heads side by side; a sublayer's update is its own."""
    if component.kind != "head":
        return whole
    width = whole.shape[-1] // n_heads
    return whole[..., component.head * width : (component.head + 1) * width]


def replacement(component: Component, at: Sequence[int], value: Tensor | None) -> Intervention:
    """Put a value in a component's place, or remove it (None)."""
    scale = 0.0 if value is None else None
    if component.kind == "head":
        return ReplaceHead(component.layer, component.head, at, value=value, scale=scale)
    return ReplaceSublayer(component.kind, component.layer, at, value=value, scale=scale)
