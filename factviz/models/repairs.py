"""A bridged model must compute what the plain one does: what is put right, and the check.

Each repair names the fault and the version it was seen in. The check runs a few tokens through the
plain model and through its bridge whenever one is made: parts that add up to the wrong logit would
pass every other test.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from factviz.facts.errors import FactvizError
from factviz.models.recording import evaluating

_PROBE = 8


def boot_overrides(config: Any) -> dict[str, Any]:
    """Config values that only the bridge's adapter reads, for it to cut weights rightly.

    Falcon's new decoder architecture ignores ``multi_query`` (falcon-40b has it on), the adapter
    does not and takes one key head for all (TransformerLens 4.3).
    """
    return {"multi_query": False} if _grouped_falcon(config) else {}


def repair(bridge: Any) -> None:
    """Put right a bridge that was made here (never one that a user brought)."""
    config = bridge.original_model.config
    if _grouped_falcon(config):
        for block in bridge.blocks:
            _split_falcon(block.attn, config)
    if _alibi_falcon(config):
        for block in bridge.blocks:
            block.attn.register_forward_pre_hook(_without_alibi, with_kwargs=True)


def _grouped_falcon(config: Any) -> bool:
    is_falcon = getattr(config, "model_type", None) == "falcon"
    return is_falcon and bool(config.new_decoder_architecture)


def _alibi_falcon(config: Any) -> bool:
    return getattr(config, "model_type", None) == "falcon" and bool(config.alibi)


def _split_falcon(attention: Any, config: Any) -> None:
    """Falcon's fused map holds, for each key head, its queries, the key and the value in turn.

    The adapter cuts it as all queries, all keys, all values (TransformerLens 4.3).
    """
    fused = attention.original_component.query_key_value
    repeat = config.num_attention_heads // config.num_kv_heads
    cuts = (slice(0, repeat), slice(repeat, repeat + 1), slice(repeat + 1, repeat + 2))
    for name in ("weight", "bias"):
        whole = getattr(getattr(fused, "original_component", fused), name)
        if whole is None:
            continue
        rows = whole.detach().unflatten(0, (config.num_kv_heads, repeat + 2, -1))
        for part, cut in zip((attention.q, attention.k, attention.v), cuts, strict=True):
            getattr(part.original_component, name).data.copy_(rows[:, cut].flatten(0, 2))


def _without_alibi(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Falcon's eager attention adds ALiBi twice, in the mask and in the scores; its default once.

    Seen in transformers 5.23. The mask's is kept.
    """
    return args, kwargs | {"alibi": torch.zeros_like(kwargs["alibi"])}


@torch.inference_mode()
def probe_logits(model: nn.Module) -> Float[Tensor, " vocab"]:
    """The last logits of a few fixed tokens: before bridging, what the model should give."""
    held = next(model.parameters())
    size = _vocabulary(model)
    ids = (torch.arange(1, _PROBE + 1) * 7 % size).to(held.device)[None]
    with evaluating(model), _default_attention(model):
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return output.logits[0, -1].clone()


def check_same(model: nn.Module, plain: Float[Tensor, " vocab"], architecture: str) -> None:
    """Refuse a bridge whose logits are not the plain model's.

    Raises
    ------
    FactvizError
        With the difference, in logits.
    """
    exact = plain.dtype in (torch.float32, torch.float64)
    bridged = probe_logits(model).to(plain.device)
    gap = float((bridged - plain).abs().max())
    allowed = (1e-3 if exact else 1e-1) * max(1.0, float(plain.abs().max()))
    if plain.isfinite().all() and not gap <= allowed:
        raise FactvizError(
            f"{architecture} can't be decomposed: bridged by TransformerLens, its logits differ "
            f"from the plain model's by {gap:.2g}"
        )


def _vocabulary(model: Any) -> int:
    embedding = model.get_input_embeddings()
    return int(embedding.weight.shape[0])


@contextmanager
def _default_attention(model: Any) -> Generator[None]:
    """Where eager attention is at fault (`_without_alibi`), ask the plain model otherwise."""
    config = model.config
    bridged = any("_original_component" in name for name, _ in model.named_modules())
    was = config._attn_implementation
    try:
        if _alibi_falcon(config) and not bridged:
            config._attn_implementation = "sdpa"
        yield
    finally:
        config._attn_implementation = was
