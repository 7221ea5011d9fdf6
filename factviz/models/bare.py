"""The model's own modules without the bridge around them, for hooks that must not touch the model.

TransformerBridge replaces modules in place: attention is computed by its own code, which on some
families drops edits of scores. Here every module is copied shallowly, with the bridge left out:
parameters and buffers are the very same tensors (live, no memory), but children and hooks are the
copy's own. What is hooked or exchanged here is unknown to the user's model.
"""

from __future__ import annotations

import copy
import types
from typing import Any

from torch import nn
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers import PretrainedConfig


class BareModel:
    """A shallow copy of a bridged network; `of` finds the copy of any of its modules.

    Parameters
    ----------
    network
        The bridged model's `original_model`. It is only read.
    attention
        The attention implementation, "eager" or "sdpa": kinds that take any additive mask.
    """

    def __init__(self, network: nn.Module, attention: str = "eager") -> None:
        self._attention = attention
        self._copies: dict[int, nn.Module] = {}
        self._configs: dict[int, Any] = {}
        self.network = self._copied(network)

    def of(self, module: nn.Module) -> nn.Module:
        """The copy of a module of the model, given as itself or as its bridge.

        Raises
        ------
        KeyError
            If the module is no part of the network (the bridge's own split of a joint QKV).
        """
        inner = _unwrapped(module)
        if id(inner) not in self._copies:
            raise KeyError(f"{type(inner).__name__} takes no part in the model's own forward pass")
        return self._copies[id(inner)]

    def _copied(self, module: nn.Module) -> nn.Module:
        inner = _unwrapped(module)
        if (known := self._copies.get(id(inner))) is not None:
            return known
        made = type(inner).__new__(type(inner))
        state = dict(inner.__dict__)
        for name, value in inner.__dict__.items():
            if "hooks" in name and isinstance(value, dict):
                state[name] = type(value)()
        state["_buffers"] = dict(state["_buffers"])
        state["training"] = False  # no dropout, and the model's own flags stay as they are
        if isinstance(state.get("config"), PretrainedConfig):
            state["config"] = self._configured(state["config"])
        forward = state.get("forward")
        if isinstance(forward, types.MethodType) and forward.__self__ is inner:
            state["forward"] = types.MethodType(forward.__func__, made)
        made.__dict__.update(state)
        self._copies[id(inner)] = made
        made.__dict__["_modules"] = {
            name: None if child is None else self._copied(child)
            for name, child in state["_modules"].items()
        }
        return made

    def _configured(self, config: Any) -> Any:
        """The same configuration, with the attention that was asked for."""
        if config._attn_implementation == self._attention:
            return config
        if id(config) not in self._configs:
            made = copy.copy(config)
            made._attn_implementation_internal = self._attention
            self._configs[id(config)] = made
        return self._configs[id(config)]


def _unwrapped(module: nn.Module) -> nn.Module:
    while isinstance(module, GeneralizedComponent):
        inner = module.original_component
        if inner is None:
            break
        module = inner
    return module
