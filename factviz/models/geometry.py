"""Where a model writes to the residual stream and how it reads logits from it.

TransformerLens' adapters say which module plays which part in about a hundred families; what they
do not say (post-norms, multipliers, soft-cap) is gathered here. Nothing is copied or folded:
everything is read from the live weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from factviz.facts.errors import FactvizError
from factviz.models import fingerprint
from factviz.models.norms import Norm, read_norm

_ADDS_RESIDUAL = ("BloomMLP", "MptMLP")


@dataclass(frozen=True)
class Layer:
    """The modules of one block that attribution reads.

    ``attention`` returns the pattern; ``value`` and ``output`` are W_V and W_O with their biases;
    ``before`` is the norm in front of W_V; ``attention_post`` the norm behind W_O, if there is one;
    ``mlp`` is the module whose output, times the multiplier, is added to the residual stream.
    """

    block: nn.Module
    attention: Any
    value: nn.Module
    output: nn.Module
    before: nn.Module | None
    attention_post: nn.Module | None
    mlp: nn.Module


@dataclass(frozen=True)
class Geometry:
    """All blocks, and the way from the last residual to logits."""

    layers: tuple[Layer, ...]
    final_norm: nn.Module
    unembed: nn.Module
    residual_multiplier: float
    logit_multiplier: float
    soft_cap: float | None
    n_heads: int
    width: int
    _norms: dict[int, tuple[Any, Norm]] = field(default_factory=dict, repr=False, compare=False)

    def norm(self, module: nn.Module) -> Norm:
        """A norm's gain, bias and centring, from its weights as they are now."""
        inner = original(module)
        key = [fingerprint.state(tensor) for tensor in inner._parameters.values()]
        known = self._norms.get(id(inner))
        if known is None or known[0] != key:
            known = self._norms[id(inner)] = (key, read_norm(inner, self.width))
        return known[1]


def read_geometry(bridge: Any, architecture: str) -> Geometry:
    """Find the parts of a bridged model.

    Raises
    ------
    FactvizError
        If the architecture lacks one of them: its logits are no sum that this method knows.
    """
    config = _text_config(bridge.original_model.config)
    if getattr(config, "is_encoder_decoder", False):
        raise refusal(architecture, "it is an encoder-decoder; decoder-only models work")
    blocks = getattr(bridge, "blocks", None)
    if blocks is None or len(blocks) == 0:
        raise refusal(architecture, "it has no stack of blocks")
    found = [_layer(block, index, architecture) for index, block in enumerate(blocks)]
    return Geometry(
        layers=tuple(found),
        final_norm=_need(bridge, "ln_final", architecture, "no norm before the logits"),
        unembed=_need(bridge, "unembed", architecture, "no unembedding"),
        residual_multiplier=float(getattr(config, "residual_multiplier", None) or 1.0),
        logit_multiplier=_logit_multiplier(config),
        soft_cap=getattr(config, "final_logit_softcapping", None) or None,
        n_heads=int(bridge.cfg.n_heads),
        width=int(bridge.cfg.d_model),
    )


def refusal(architecture: str, why: str) -> FactvizError:
    """The one line that names an architecture which can't be decomposed."""
    return FactvizError(
        f"{architecture} can't be decomposed into heads, MLPs and embeddings: {why}"
    )


def _layer(block: Any, index: int, architecture: str) -> Layer:
    where = f"its layer {index} has "
    attention = _need(block, "attn", architecture, where + "no attention")
    mlp: Any = _need(block, "mlp", architecture, where + "no MLP")
    # Some MLP modules add the residual themselves, and OPT has no MLP module: the last linear map.
    if getattr(mlp, "name", None) is None or type(original(mlp)).__name__ in _ADDS_RESIDUAL:
        mlp = _need(mlp, "out", architecture, where + "an MLP without an output map")
    return Layer(
        block=block,
        attention=attention,
        value=_need(attention, "v", architecture, where + "no plain value vectors"),
        output=_need(attention, "o", architecture, where + "no output map of its heads"),
        before=_part(block, "ln1"),
        attention_post=_part(block, "ln1_post"),
        mlp=_part(block, "ln2_post") or mlp,
    )


def _part(parent: Any, name: str) -> Any:
    child = parent._modules.get(name)
    return None if child is None or getattr(child, "original_component", child) is None else child


def _need(parent: Any, name: str, architecture: str, why: str) -> Any:
    child = _part(parent, name)
    # An MLP bridge without a module of its own still has its maps below it.
    if child is None and name in parent._modules and parent._modules[name] is not None:
        child = parent._modules[name] if name == "mlp" else None
    if child is None:
        raise refusal(architecture, why)
    return child


def _text_config(config: Any) -> Any:
    return getattr(config, "text_config", None) or config


def _logit_multiplier(config: Any) -> float:
    if scaling := getattr(config, "logits_scaling", None):  # Granite divides
        return 1.0 / float(scaling)
    return float(getattr(config, "logit_scale", None) or 1.0)  # Cohere multiplies


def original(module: Any) -> Any:
    """The model's own module behind a bridge's."""
    return getattr(module, "original_component", None) or module


def linear_weight(module: nn.Module) -> Float[Tensor, "out in"]:
    """The weight of a linear map, outputs first, whether it is a Linear or GPT-2's Conv1D."""
    inner = original(module)
    weight = inner.weight.detach()
    return weight.T if type(inner).__name__ == "Conv1D" else weight


def linear_bias(module: nn.Module) -> Float[Tensor, " out"] | None:
    """The bias of a linear map, if it has one."""
    bias = getattr(original(module), "bias", None)
    return None if bias is None else bias.detach()


def constant_values(geometry: Geometry, layer: Layer) -> Float[Tensor, " value"] | None:
    """b_V + β₁·W_V: the part of every value vector that no token has a share in."""
    bias = None if layer.before is None else geometry.norm(layer.before).bias
    inner = original(layer.value)
    if bias is not None:
        return inner(bias)
    flat = linear_bias(layer.value)
    return None if flat is None or not bool(flat.any()) else flat


@torch.inference_mode()
def vocabulary_mean(
    weight: Float[Tensor, "vocab d_model"], dtype: torch.dtype
) -> Float[Tensor, " d_model"]:
    """The mean output embedding; half-precision weights are summed in slices of ``dtype``."""
    if weight.dtype == dtype:
        return weight.mean(0)
    total = weight.new_zeros(weight.shape[1], dtype=dtype)
    for rows in weight.split(4096):
        total += rows.to(dtype).sum(0)
    return total / len(weight)
