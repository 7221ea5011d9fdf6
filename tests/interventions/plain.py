"""The slow, plain way: one Hugging Face forward per variant, with hooks written here.

Nothing of the engine is used: module paths, masks, windows and multipliers stand in this file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch

# blocks, attention in the block, output projection in attention, what adds the attention update,
# neurons' output map, what adds the MLP update
_LLAMA = ("model.layers", "self_attn", "o_proj", "self_attn.o_proj", "mlp.down_proj", "mlp")
_SANDWICH = (
    "model.layers",
    "self_attn",
    "o_proj",
    "post_attention_layernorm",
    "mlp.down_proj",
    "post_feedforward_layernorm",
)
_NEOX = (
    "gpt_neox.layers",
    "attention",
    "dense",
    "attention.dense",
    "mlp.dense_4h_to_h",
    "mlp",
)
_GPT2 = ("transformer.h", "attn", "c_proj", "attn.c_proj", "mlp.c_proj", "mlp")
_FALCON = (
    "transformer.h",
    "self_attention",
    "dense",
    "self_attention.dense",
    "mlp.dense_4h_to_h",
    "mlp",
)
PATHS = {
    "gpt2": _GPT2,
    "gpt2-inverse-layer": _GPT2,
    "neox-parallel": _NEOX,
    "neox-sequential": _NEOX,
    "gptj": ("transformer.h", "attn", "out_proj", "attn.out_proj", "mlp.fc_out", "mlp"),
    "opt": ("model.decoder.layers", "self_attn", "out_proj", "self_attn.out_proj", "fc2", "fc2"),
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "mistral": _LLAMA,
    "gemma2": _SANDWICH,
    "olmo2": _SANDWICH,
    "granite": _LLAMA,
    "gpt-neo": (
        "transformer.h",
        "attn.attention",
        "out_proj",
        "attn.attention.out_proj",
        "mlp.c_proj",
        "mlp",
    ),
    "bloom": (*_FALCON[:5], "mlp.dense_4h_to_h"),
    "phi": ("model.layers", "self_attn", "dense", "self_attn.dense", "mlp.fc2", "mlp"),
    "falcon-7b": _FALCON,
    "falcon-40b": _FALCON,
    "falcon-rw": _FALCON,
}
# Sliding windows: which layers see only the last 4 positions, themselves included.
WINDOWED = {"mistral": (0, 1, 2), "gemma2": (0, 2), "gpt-neo": (1,)}
WINDOW = 4
MULTIPLIER = {"granite": 0.4}


class Plain:
    """A plain model, run with hooks by place, layer and position."""

    def __init__(self, family: str, model: Any) -> None:
        self.family, self.model = family, model
        if family != "falcon-rw":  # transformers 5.23 adds ALiBi twice in eager attention
            model.set_attn_implementation("eager")
        names = PATHS[family]
        self.blocks = list(model.get_submodule(names[0]))
        self.names = names

    def visible(self, layer: int, length: int) -> torch.Tensor:
        seen = torch.ones(length, length, dtype=torch.bool).tril()
        if layer in WINDOWED.get(self.family, ()):
            seen &= ~torch.ones(length, length, dtype=torch.bool).tril(-WINDOW)
        return seen

    def bias(self, length: int) -> torch.Tensor:
        """What a mask holds besides: ALiBi, for 4 heads of width 8, where the mask brings it."""
        if self.family != "falcon-rw":
            return torch.zeros(1, 1, 1, length)
        slopes = torch.tensor([2.0 ** (-2 * (head + 1)) for head in range(4)])
        return (slopes[:, None, None] * torch.arange(length) / 8**0.5)[None]

    def part(self, layer: int, place: str) -> Any:
        index = {"heads": 3, "attention": 3, "neurons": 4, "mlp": 5}[place]
        name = f"{self.names[1]}.{self.names[2]}" if place == "heads" else self.names[index]
        return self.blocks[layer].get_submodule(name)

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], *changes: Callable[[Plain, int], list[Any]]) -> Any:
        with ExitStack() as stack:
            for change in changes:
                for handle in change(self, len(ids)):
                    stack.callback(handle.remove)
            return self.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]


def blocked(queries: Sequence[int], keys: Sequence[int], layers: Sequence[int]) -> Any:
    """Edges closed in the attention module's own mask; a row without edges writes zeros."""

    def attach(plain: Plain, length: int) -> list[Any]:
        handles: list[Any] = []
        for layer in layers:
            seen = plain.visible(layer, length)
            for query in queries:
                seen[query, list(keys)] = False
            bare = [q for q in range(length) if not seen[q].any()]
            seen[bare, bare] = True
            attention = plain.blocks[layer].get_submodule(plain.names[1])
            handles.append(
                attention.register_forward_pre_hook(
                    _masked(seen, plain.bias(length)), with_kwargs=True
                )
            )
            handles.append(plain.part(layer, "heads").register_forward_pre_hook(_zeroed(bare)))
        return handles

    return attach


def _masked(seen: torch.Tensor, bias: torch.Tensor) -> Any:
    def hook(module: Any, args: Any, kwargs: Any) -> Any:
        bound = inspect.signature(type(module).forward).bind(module, *args, **kwargs)
        dtype = next(module.parameters()).dtype
        mask = bias.to(dtype).expand(1, -1, len(seen), -1)
        bound.arguments["attention_mask"] = mask.masked_fill(~seen, torch.finfo(dtype).min)
        return bound.args[1:], bound.kwargs

    return hook


def _zeroed(rows: list[int]) -> Any:
    def hook(_: Any, args: Any) -> Any:
        new = args[0].clone()
        new[:, rows] = 0
        return (new, *args[1:])

    return hook


def changed(place: str, layer: int, positions: Sequence[int], change: Callable[[Any], Any]) -> Any:
    """The tensor of a place at positions [position, width], changed by a function."""

    def attach(plain: Plain, length: int) -> list[Any]:
        multiplier = MULTIPLIER.get(plain.family, 1.0) if place in ("attention", "mlp") else 1.0

        def edit(tensor: Any) -> Any:
            new = tensor.clone().view(length, -1)
            new[list(positions)] = change(new[list(positions)] * multiplier) / multiplier
            return new.view(tensor.shape)

        def entering(_: Any, args: Any, kwargs: Any) -> Any:
            if args:
                return (edit(args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": edit(kwargs["hidden_states"])}

        def leaving(_: Any, _args: Any, output: Any) -> Any:
            return edit(output)

        if place == "state":
            module = plain.blocks[layer]
            return [module.register_forward_pre_hook(entering, with_kwargs=True)]
        module = plain.part(layer, place)
        if place in ("heads", "neurons"):
            return [module.register_forward_pre_hook(entering, with_kwargs=True)]
        return [module.register_forward_hook(leaving)]

    return attach
