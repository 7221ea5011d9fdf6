"""Facts as a model reads them, and the token at END that is followed in changed runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from factviz.facts.checks import check_seed, is_whole
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.facts.tokens import PromptTokens, attribute_tokens
from factviz.models.factmodel import FactModel, check_model

Target = str | int
"""The token that is followed: "answer", "top1" (of the clean run) or a token id."""


@dataclass(frozen=True)
class Prompts:
    """Facts as a model reads them."""

    model: FactModel
    facts: list[Fact]
    tokens: list[PromptTokens]
    single: bool

    def each(self) -> Iterable[tuple[Fact, PromptTokens]]:
        """Facts with their tokens."""
        return zip(self.facts, self.tokens, strict=True)


def read_prompts(model: FactModel, facts: Fact | Iterable[Fact]) -> Prompts:
    """The facts, as this model reads them."""
    check_model(model)
    found = as_facts(facts)
    return Prompts(model, found, [model.tokenize(f) for f in found], isinstance(facts, Fact))


def target_ids(prompts: Prompts, target: Target) -> list[int | None]:
    """The token to follow for each fact; None is the clean run's top-1.

    Raises
    ------
    FactvizError
        If the target is none that is known.
    """
    size = prompts.model.d_vocab
    if target == "top1":
        return [None] * len(prompts.facts)
    if target == "answer":
        return [answer_id(prompts.model, fact) for fact in prompts.facts]
    if not isinstance(target, str) and is_whole(target):
        if not 0 <= target < size:
            raise FactvizError(
                f"target token {target} does not exist: the model has 0 to {size - 1}"
            )
        return [int(target)] * len(prompts.facts)
    raise FactvizError(
        f"target {target!r} is unknown: 'answer', 'top1' (of the clean run) or a token id; for "
        "another word, fact.replace(answer=…)"
    )


def answer_id(model: FactModel, fact: Fact) -> int:
    """The one token of a fact's answer."""
    token = attribute_tokens(model.tokenizer, fact, [fact.answer])[0]
    if token.token_id >= model.d_vocab:
        raise FactvizError(
            f"answer {fact.answer!r} has token {token.token_id}, but the model has logits 0 to "
            f"{model.d_vocab - 1}: is this its tokenizer?"
        )
    return token.token_id


def generators(count: int, seed: int) -> list[np.random.Generator]:
    """A generator for each fact, so that a fact's draws do not depend on the others."""
    check_seed(seed)
    return [np.random.default_rng([seed, fact]) for fact in range(count)]


def target_texts(model: FactModel, targets: Iterable[int]) -> np.ndarray:
    """Tokens as text [fact]; ``""`` for a logit that the tokenizer has no token for."""
    size = len(model.tokenizer)
    return np.array([model.tokenizer.decode([t]) if t < size else "" for t in targets], dtype=str)
