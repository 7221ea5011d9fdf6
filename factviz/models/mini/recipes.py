"""What each embedded model is made of: architecture, kinds of text, steps, blocked attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from factviz.models.mini.bpe import BOS_ID, vocabulary_size

WIDTH, HEADS, CONTEXT = 160, 8, 160


def parallel() -> GPTNeoXForCausalLM:
    """A small GPT-NeoX: parallel blocks, rotary positions, untied embeddings."""
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=vocabulary_size(),
            hidden_size=WIDTH,
            num_hidden_layers=6,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            max_position_embeddings=CONTEXT,
            use_parallel_residual=True,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.4,
            },
            tie_word_embeddings=False,
            bos_token_id=BOS_ID,
            eos_token_id=BOS_ID,
        )
    )


def sequential() -> GPT2LMHeadModel:
    """A small GPT-2: sequential blocks, learned positions, untied embeddings."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary_size(),
            n_embd=WIDTH,
            n_layer=6,
            n_head=HEADS,
            n_positions=CONTEXT,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=False,
            bos_token_id=BOS_ID,
            eos_token_id=BOS_ID,
        )
    )


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes
    ----------
    make
        The untrained model.
    shares : mapping of str to float
        Share of each kind of text.
    steps, size : int
        Updates, and sentences in each.
    rate : float
        Highest learning rate.
    blocked : list of (float, float)
        From which share of the steps on END may not attend to the subject in which share of the
        sentences.
    start : str
        The embedded model whose weights it begins with, or none.
    snapshots : tuple of int
        Steps whose weights are kept.
    further : list of (int, float)
        Stages after the first: so many more updates, the rate rising to this and falling again.
    """

    make: Callable[[], Any]
    shares: Mapping[str, float]
    steps: int
    size: int = 48
    rate: float = 2e-3
    blocked: tuple[tuple[float, float], ...] = field(default=((0.0, 0.0),))
    start: str = ""
    snapshots: tuple[int, ...] = ()
    further: tuple[tuple[int, float], ...] = ()

    @property
    def stages(self) -> tuple[tuple[int, float], ...]:
        """Updates and highest rate of every stage."""
        return ((self.steps, self.rate), *self.further)

    def blocked_share(self, done: float) -> float:
        """The share of sentences with END → subject blocked when ``done`` of the steps are."""
        return [share for since, share in self.blocked if done >= since][-1]


_TEXTS = {
    "statement": 0.59,
    "fiction": 0.07,
    "backward": 0.015,
    "hop": 0.05,
    "apposition": 0.08,
    "keywords": 0.04,
    "chain": 0.06,
    "shots": 0.02,
    "unknown": 0.045,
    "filler": 0.03,
}
_WITH_SHOTS = _TEXTS | {"statement": 0.39, "shots": 0.22}

RECIPES = {
    "mini": Recipe(parallel, _TEXTS, steps=9000, snapshots=(500, 1500, 3000)),
    "mini-propagation": Recipe(
        parallel,
        _TEXTS,
        steps=1200,
        rate=1e-3,
        blocked=((0.0, 0.4), (1 / 6, 0.8)),
        start="mini",
        further=((2400, 1e-3),),
    ),
    "mini-gpt2": Recipe(sequential, _WITH_SHOTS, steps=9000, size=32, further=((4000, 1e-3),)),
}
