"""Models of one layer and two heads, one of which is planted; every number is known by hand.

Embeddings are one-hot, the MLP writes nothing. END attends to the subject with a strength that
grows with the subject's number, by the same formula in every head that is not uniform.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import transformers

import factviz as fv
from tests.families import VOCABULARY, tiny_tokenizer

WIDTH = 64
SUBJECTS = tuple(range(1, 17))
ANSWERS = {subject: subject + 20 for subject in SUBJECTS}
END = 42
LENGTH = 3  # BOS, subject, END
SIZE = math.sqrt(WIDTH)
"""A one-hot vector behind the norm."""


def strength(subject: int) -> float:
    """The attention score of a subject; the others' is 0."""
    return -1 + 0.25 * subject


def attention(subject: int) -> float:
    """END's attention to the subject, by hand."""
    return math.exp(strength(subject)) / (math.exp(strength(subject)) + LENGTH - 1)


def facts() -> list[fv.Fact]:
    """One relation; R holds all other answers."""
    return [
        fv.Fact.from_template(
            f"{{subject}} w{END}",
            f"w{subject}",
            f"w{answer}",
            relation="r",
            same_relation=tuple(f"w{other}" for other in ANSWERS.values() if other != answer),
        )
        for subject, answer in ANSWERS.items()
    ]


def one_hot_llama() -> Any:
    """Two heads and an MLP that write nothing yet, between one-hot embeddings."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        rms_norm_eps=1e-12,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    plain = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
        plain.model.embed_tokens.weight.copy_(torch.eye(VOCABULARY, WIDTH))
        plain.lm_head.weight.copy_(torch.eye(VOCABULARY, WIDTH))
        for norm in (plain.model.norm, plain.model.layers[0].input_layernorm):
            norm.weight.fill_(1.0)
    return plain


def _look(plain: Any, head: int) -> None:
    """Let END attend to subjects by `strength`; the slowest rotary pair hardly turns."""
    attention_ = plain.model.layers[0].self_attn
    width = WIDTH // 2
    slow = head * width + width // 2 - 1
    with torch.no_grad():
        attention_.q_proj.weight[slow, END] = 1 / SIZE
        for subject in SUBJECTS:
            attention_.k_proj.weight[slow, subject] = strength(subject) * math.sqrt(width) / SIZE


def _write(plain: Any, head: int, where: dict[int, int], size: float) -> None:
    """What a head reads of a subject goes to another token's dimension."""
    attention_ = plain.model.layers[0].self_attn
    base = head * WIDTH // 2
    with torch.no_grad():
        for place, (subject, target) in enumerate(where.items()):
            attention_.v_proj.weight[base + place, subject] = 1.0
            attention_.o_proj.weight[target, base + place] = size


def _loaded(plain: Any) -> fv.FactModel:
    return fv.load_model(plain, tokenizer=tiny_tokenizer(), prepend_bos=True, name="planted")


def mover() -> fv.FactModel:
    """Head 0 copies the subject it attends to; head 1 writes the answer, attending to all alike."""
    plain = one_hot_llama()
    _look(plain, 0)
    _write(plain, 0, {subject: subject for subject in SUBJECTS}, 1.0)
    _write(plain, 1, ANSWERS, 1.0)
    return _loaded(plain)


HELD_BACK = 0.5


def suppressor() -> fv.FactModel:
    """Head 0 writes the answer, head 1 half as much against it; both attend by `strength`."""
    plain = one_hot_llama()
    for head, size in ((0, 1.0), (1, -HELD_BACK)):
        _look(plain, head)
        _write(plain, head, ANSWERS, size)
    return _loaded(plain)


def logits_with_gain(subject: int, gain: float) -> np.ndarray:
    """All logits of a prompt of the model with a suppressor, head 1 times the gain, by hand."""
    state = np.zeros(WIDTH)
    state[END] = 1.0
    state[ANSWERS[subject]] = SIZE * attention(subject) * (1 - HELD_BACK * gain)
    return (state / math.sqrt((state**2).mean()))[:VOCABULARY]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities."""
    found = np.exp(logits - logits.max())
    return found / found.sum()
