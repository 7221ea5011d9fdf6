"""One forward pass, of which only what END needs is kept.

Facts of different lengths are padded on the right: with causal attention no real position sees the
padding, so each fact gets exactly what it gets alone. Logits are computed for END alone: the
unembedding is handed END's rows only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from factviz.models.geometry import Geometry, Layer
from factviz.models.masks import closed_edges

Rows = tuple[Tensor, Tensor]


class Record:
    """What one batch left behind, on the model's device and in its dtype.

    pattern [layer][fact, head, source]; values [layer][fact, source, value]; mlps [layer][fact,
    d_model] as added to the residual stream; attention_post [layer] (before, after) the post-norm
    at END, each [fact, d_model], or None; embedding [fact, d_model]; final (before, after) the
    final norm; raw [fact, vocab] what the unembedding gave; logits [fact, vocab] what the model
    returned.
    """

    def __init__(self, layers: int) -> None:
        self.pattern: list[Any] = [None] * layers
        self.values: list[Any] = [None] * layers
        self.mlps: list[Any] = [None] * layers
        self.attention_post: list[Any] = [None] * layers
        self.embedding: Any = None
        self.final: Any = None
        self.raw: Any = None
        self.logits: Any = None


@contextmanager
def hooks(*places: tuple[nn.Module, str, Callable[..., Any]]) -> Generator[None]:
    """Attach hooks (module, "before" or "after", function) and take them off, whatever happens."""
    handles: list[Any] = []
    try:
        for module, when, function in places:
            if when == "before":
                handles.append(module.register_forward_pre_hook(function, with_kwargs=True))
            else:
                handles.append(module.register_forward_hook(function))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """No dropout inside; every module's training flag is given back as it was."""
    training = [module for module in _modules(model) if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def _modules(model: nn.Module) -> list[nn.Module]:
    """All modules, without the names that torch builds on the way: a run asks each time."""
    found, waiting = [], [model]
    while waiting:
        module = waiting.pop()
        found.append(module)
        waiting += module.children()
    return found


def record(
    model: nn.Module,
    geometry: Geometry,
    ids: Int[Tensor, "fact position"],
    ends: Int[Tensor, " fact"],
    blocked: Bool[Tensor, "fact query key"] | None = None,
) -> Record:
    """Run a right-padded batch and keep what END needs; call it under the model's lock.

    Edges in ``blocked`` are closed in every layer.
    """
    kept = Record(len(geometry.layers))
    rows = (torch.arange(len(ids), device=ids.device), ends)
    places = [*_stream_places(geometry, kept, rows), end_logits(geometry, rows)]
    for index, layer in enumerate(geometry.layers):
        places += _layer_places(layer, index, kept, rows, ids.shape[1])
        if blocked is not None:
            places.append((layer.attention, "before", _closing(blocked)))
    kept.logits = _run(model, places, ids)
    if len(kept.logits) != len(ids):  # a head that computes more than it was asked for
        raise RuntimeError("the model returned logits for other rows than END's")
    return kept


def logits_at_end(
    model: nn.Module,
    geometry: Geometry,
    ids: Int[Tensor, "fact position"],
    ends: Int[Tensor, " fact"],
) -> Float[Tensor, "fact vocab"]:
    """The model's own logits at END, after soft-cap and multipliers."""
    rows = (torch.arange(len(ids), device=ids.device), ends)
    return _run(model, [end_logits(geometry, rows)], ids)


def _run(
    model: nn.Module, places: list[tuple[nn.Module, str, Callable[..., Any]]], ids: Tensor
) -> Float[Tensor, "fact vocab"]:
    with hooks(*places), evaluating(model):
        # A mask of ones: padding is on the right, and some families count positions from it.
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return output.logits[:, -1]


def end_logits(
    geometry: Geometry, rows: Rows
) -> tuple[nn.Module, str, Callable[..., tuple[Any, Any]]]:
    """The hook that hands the unembedding END's rows only."""

    def narrow(_: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return (args[0][rows][:, None], *args[1:]), kwargs

    return geometry.unembed, "before", narrow


def _stream_places(
    geometry: Geometry, kept: Record, rows: Rows
) -> list[tuple[nn.Module, str, Callable[..., None]]]:
    def embedding(_: nn.Module, args: Any, kwargs: Any) -> None:
        kept.embedding = _hidden(args, kwargs)[rows]

    def final(_: nn.Module, args: Any, output: Tensor) -> None:
        kept.final = (args[0][rows], output[rows])

    def raw(_: nn.Module, _args: Any, output: Tensor) -> None:
        kept.raw = output[:, -1]

    return [
        (geometry.layers[0].block, "before", embedding),
        (geometry.final_norm, "after", final),
        (geometry.unembed, "after", raw),
    ]


def _layer_places(
    layer: Layer, index: int, kept: Record, rows: Rows, length: int
) -> list[tuple[nn.Module, str, Callable[..., None]]]:
    batch = len(rows[0])

    def pattern(_: nn.Module, _args: Any, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        kept.pattern[index] = None if weights is None else weights[rows[0], :, rows[1]]

    def values(_: nn.Module, _args: Any, output: Tensor) -> None:
        kept.values[index] = output.reshape(batch, length, -1)

    def mlp(_: nn.Module, _args: Any, output: Any) -> None:
        written = output[0] if isinstance(output, tuple) else output
        kept.mlps[index] = written.reshape(batch, length, -1)[rows]

    def post(_: nn.Module, args: Any, output: Tensor) -> None:
        kept.attention_post[index] = (args[0][rows], output[rows])

    places: list[tuple[nn.Module, str, Callable[..., None]]] = [
        (layer.attention, "after", pattern),
        (layer.value, "after", values),
        (layer.mlp, "after", mlp),
    ]
    return [*places, (layer.attention_post, "after", post)] if layer.attention_post else places


def _closing(blocked: Bool[Tensor, "fact query key"]) -> Callable[..., tuple[Any, Any]]:
    """The hook that closes edges in the mask that an attention module is handed."""

    def close(_: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        like = _hidden(args, kwargs)
        mask = closed_edges(kwargs.get("attention_mask"), blocked, like.dtype)
        return args, {**kwargs, "attention_mask": mask}

    return close


def _hidden(args: Any, kwargs: Any) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]
