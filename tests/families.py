"""Tiny random models of many families, with everything on that could break a sum.

Biases are not 0 and norm gains are not 1; some are untied, some group their keys and values. They
know nothing: they test arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 61
BOS = "<|endoftext|>"
_ROTARY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}
_GPT = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 32,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def _neox(**options: Any) -> Any:
    config = transformers.GPTNeoXConfig(**_ROTARY, **options)
    return transformers.GPTNeoXForCausalLM(config)


def _gpt2() -> Any:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**_GPT))


def _gpt2_inverse_layer() -> Any:
    config = transformers.GPT2Config(
        **_GPT, scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False
    )
    return transformers.GPT2LMHeadModel(config)


def _gptj() -> Any:
    return transformers.GPTJForCausalLM(transformers.GPTJConfig(**_GPT, rotary_dim=4))


def _opt() -> Any:
    config = transformers.OPTConfig(
        **{key: _ROTARY[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers")},
        ffn_dim=48,
        num_attention_heads=4,
        max_position_embeddings=32,
        word_embed_proj_dim=32,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    return transformers.OPTForCausalLM(config)


def _llama() -> Any:
    config = transformers.LlamaConfig(**_ROTARY, num_key_value_heads=2, attention_bias=True)
    return transformers.LlamaForCausalLM(config)


def _qwen2() -> Any:
    config = transformers.Qwen2Config(**_ROTARY, num_key_value_heads=2, tie_word_embeddings=True)
    return transformers.Qwen2ForCausalLM(config)


def _mistral() -> Any:
    config = transformers.MistralConfig(**_ROTARY, num_key_value_heads=2, sliding_window=4)
    return transformers.MistralForCausalLM(config)


def _gemma2() -> Any:
    config = transformers.Gemma2Config(
        **_ROTARY,
        num_key_value_heads=2,
        head_dim=12,
        query_pre_attn_scalar=12,
        sliding_window=4,
        final_logit_softcapping=3.0,
        attn_logit_softcapping=5.0,
    )
    return transformers.Gemma2ForCausalLM(config)


def _olmo2() -> Any:
    return transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**_ROTARY, num_key_value_heads=2))


def _granite() -> Any:
    config = transformers.GraniteConfig(
        **_ROTARY,
        num_key_value_heads=2,
        embedding_multiplier=3.0,
        logits_scaling=2.0,
        residual_multiplier=0.4,
        attention_multiplier=0.3,
        attention_bias=True,
    )
    return transformers.GraniteForCausalLM(config)


def _gpt_neo() -> Any:
    config = transformers.GPTNeoConfig(
        **{key: _ROTARY[key] for key in ("vocab_size", "hidden_size", "bos_token_id")},
        num_layers=3,
        num_heads=4,
        attention_types=[[["global", "local", "global"], 1]],
        window_size=4,
        max_position_embeddings=32,
        eos_token_id=0,
    )
    return transformers.GPTNeoForCausalLM(config)


def _bloom() -> Any:
    config = transformers.BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0
    )
    return transformers.BloomForCausalLM(config)


def _phi() -> Any:
    config = transformers.PhiConfig(**_ROTARY, partial_rotary_factor=0.5)
    return transformers.PhiForCausalLM(config)


def _falcon(**options: Any) -> Any:
    config = transformers.FalconConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=32,
        bos_token_id=0,
        eos_token_id=0,
        **options,
    )
    return transformers.FalconForCausalLM(config)


def _mpt() -> Any:
    config = transformers.MptConfig(
        d_model=32, n_heads=4, n_layers=3, vocab_size=VOCABULARY, max_seq_len=32
    )
    return transformers.MptForCausalLM(config)


def _gemma3() -> Any:
    config = transformers.Gemma3TextConfig(
        **_ROTARY, num_key_value_heads=2, head_dim=12, sliding_window=4, query_pre_attn_scalar=12
    )
    return transformers.Gemma3ForCausalLM(config)


def _cohere() -> Any:
    config = transformers.CohereConfig(**_ROTARY, num_key_value_heads=2, logit_scale=0.3)
    return transformers.CohereForCausalLM(config)


def _mixtral() -> Any:
    config = transformers.MixtralConfig(**_ROTARY, num_key_value_heads=2, num_local_experts=4)
    return transformers.MixtralForCausalLM(config)


FAMILIES: dict[str, Callable[[], Any]] = {
    "gpt2": _gpt2,
    "gpt2-inverse-layer": _gpt2_inverse_layer,
    "neox-parallel": lambda: _neox(use_parallel_residual=True),
    "neox-sequential": lambda: _neox(use_parallel_residual=False, tie_word_embeddings=True),
    "gptj": _gptj,
    "opt": _opt,
    "llama": _llama,
    "qwen2": _qwen2,
    "mistral": _mistral,
    "gemma2": _gemma2,
    "olmo2": _olmo2,
    "granite": _granite,
    "gpt-neo": _gpt_neo,
    "bloom": _bloom,
    "phi": _phi,
    # One norm for both, one key for all heads; two norms, keys in groups; sequential with ALiBi.
    "falcon-7b": lambda: _falcon(multi_query=True, parallel_attn=True, bias=True),
    "falcon-40b": lambda: _falcon(new_decoder_architecture=True, num_kv_heads=2, bias=True),
    "falcon-rw": lambda: _falcon(
        multi_query=False, parallel_attn=False, alibi=True, bias=True, num_kv_heads=4
    ),
}


# Attribution is exact on these too; interventions promise nothing about them.
MORE_FAMILIES: dict[str, Callable[[], Any]] = {
    "gemma3": _gemma3,
    "cohere": _cohere,
    "mixtral": _mixtral,
    "mpt": _mpt,
}


def tiny_model(family: str, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A tiny model of a family: weights, biases and norm gains all random, in eval mode."""
    torch.manual_seed(seed)
    model = (FAMILIES | MORE_FAMILIES)[family]()
    scramble(model, seed)
    return model.to(dtype).eval()


def scramble(model: Any, seed: int = 0) -> None:
    """Give every parameter random values: large enough that each part shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1 and "bias" not in name:  # a norm's gain
                parameter.copy_(1 + 0.3 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)


def tiny_tokenizer(*, bos: str | None = BOS) -> PreTrainedTokenizerFast:
    """Words "w1" … "w60", cut at spaces; token 0 is BOS."""
    words = {BOS: 0} | {f"w{i}": i for i in range(1, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=BOS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, unk_token=BOS)
