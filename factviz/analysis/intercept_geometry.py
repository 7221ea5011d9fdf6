"""Where an MLP's intercept, output and the states around it point: to X, to Y, from X to Y.

The claim is that b points along W_U[Y] − W_U[X] (arXiv 2403.19521). But b is one vector for all
prompts, so the same is asked of answers that belong to other topics, of random directions, and of
the direction that all answers of a relation share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from factviz.analysis.directions import attribute_directions
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import Memo, PromptTokens, attribute_tokens
from factviz.models.factmodel import FactModel
from factviz.results.mlp_decomposition import DIRECTIONS

DRAWS, PAIRS = 200, 8
"""Random directions, and shuffled answers for each prompt."""


@dataclass(frozen=True)
class Targets:
    """The directions of each fact's tokens [fact, d_model], γ ⊙ centred W_U.

    ``topic``, ``answer`` [fact] are token ids; ``shuffled`` [fact, pair] numbers of other facts;
    ``kind`` the mean over R, NaN where a fact has none; ``random`` [draw, d_model]; ``centred``
    whether the final norm takes a vector's mean out.
    """

    topic: Int[np.ndarray, " fact"]
    answer: Int[np.ndarray, " fact"]
    x: Float[np.ndarray, "fact d_model"]
    y: Float[np.ndarray, "fact d_model"]
    kind: Float[np.ndarray, "fact d_model"]
    shuffled: Int[np.ndarray, "fact pair"]
    random: Float[np.ndarray, "draw d_model"]
    centred: bool

    def cosines(
        self, vectors: Float[np.ndarray, "fact d_model"]
    ) -> tuple[Float[np.ndarray, "fact direction"], Float[np.ndarray, " draw"]]:
        """Cosines of one vector a fact with `DIRECTIONS`, and mean ones with random directions."""
        own = vectors - vectors.mean(-1, keepdims=True) if self.centred else vectors
        found = [
            cosine(own, self.x),
            cosine(own, self.y),
            cosine(own, self.y - self.x),
            np.mean([cosine(own, self.y[j] - self.x) for j in self.shuffled.T], axis=0),
            cosine(own, self.kind),
        ]
        assert len(found) == len(DIRECTIONS)
        # The mean of products is the product with the mean of unit vectors.
        unit = own / np.linalg.norm(own, axis=-1, keepdims=True)
        random = self.random / np.linalg.norm(self.random, axis=-1, keepdims=True)
        return np.stack(found, 1), random @ unit.mean(0)


def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Along the last axis; NaN where a vector is 0."""
    sizes = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    inner = (one * other).sum(-1)
    return np.divide(inner, sizes, out=np.full(inner.shape, np.nan), where=sizes > 0)


@torch.inference_mode()
def read_targets(
    model: FactModel,
    facts: Sequence[Fact],
    tokens: Sequence[PromptTokens],
    topics: Sequence[int],
    *,
    seed: int = 0,
) -> Targets:
    """The directions to compare with.

    Parameters
    ----------
    model, facts, tokens
    topics : [fact]
        X, each prompt's topic token.
    seed : int
        Of shuffles and random directions.

    Raises
    ------
    FactvizError
        If an answer is no token of the model.
    """
    memo: Memo = {}
    x = np.array(topics)
    y, kinds = _answers(model, facts, tokens, memo)
    unique = np.unique([*x, *y, *(token for row in kinds for token in row)])
    ids = torch.tensor(unique, device=model.device)
    table = attribute_directions(model, ids).residual.double().cpu().numpy()
    place = {int(token): row for row, token in enumerate(unique)}
    empty = np.full(model.d_model, np.nan)
    rng = np.random.default_rng(seed)
    norm = model.geometry.norm(model.geometry.final_norm)
    return Targets(
        topic=x,
        answer=np.array(y),
        x=table[[place[int(t)] for t in x]],
        y=table[[place[t] for t in y]],
        kind=np.stack([table[[place[t] for t in r]].mean(0) if r else empty for r in kinds]),
        shuffled=_shuffled(facts, y, rng),
        random=rng.normal(size=(DRAWS, model.d_model)),
        centred=norm.centred,
    )


def _answers(
    model: FactModel, facts: Sequence[Fact], tokens: Sequence[PromptTokens], memo: Memo
) -> tuple[list[int], list[list[int]]]:
    """Token ids of the answer, and of R."""
    answers: list[int] = []
    kinds: list[list[int]] = []
    for fact, row in zip(facts, tokens, strict=True):
        base = list(row.ids[row.has_bos :])
        found = attribute_tokens(model.tokenizer, fact, memo=memo, base=base)
        if found[0].token_id >= model.d_vocab:
            raise FactvizError(
                f"answer {fact.answer!r} has token {found[0].token_id}, but the model has logits 0 "
                f"to {model.d_vocab - 1}: is this its tokenizer?"
            )
        answers.append(found[0].token_id)
        kinds.append(
            [t.token_id for t in found if t.role in ("same_relation", "both")
             and t.token_id < model.d_vocab]
        )  # fmt: skip
    return answers, kinds


def _shuffled(
    facts: Sequence[Fact], answers: Sequence[int], rng: np.random.Generator
) -> Int[np.ndarray, "fact pair"]:
    """Facts with another answer, of the same relation where there is one."""
    relations = np.array([fact.relation for fact in facts])
    ids = np.array(answers)
    rows: list[np.ndarray] = []
    for number, answer in enumerate(answers):
        pool = np.flatnonzero((relations == relations[number]) & (ids != answer))
        pool = pool if len(pool) else np.flatnonzero(ids != answer)
        pool = pool if len(pool) else np.arange(len(facts))
        rows.append(rng.choice(pool, PAIRS))
    return np.stack(rows)


def layer_cosines(
    targets: Targets,
    intercept: Float[np.ndarray, " d_model"],
    vectors: Mapping[str, Float[np.ndarray, "fact d_model"] | None],
) -> tuple[Float[np.ndarray, "fact vector direction"], Float[np.ndarray, "vector draw"]]:
    """Cosines of b and of other vectors of a layer; NaN for what does not exist (None)."""
    facts = len(targets.topic)
    every = {"b": np.broadcast_to(intercept, (facts, len(intercept))), **vectors}
    found = np.full((facts, len(every), len(DIRECTIONS)), np.nan)
    random = np.full((len(every), DRAWS), np.nan)
    for number, vector in enumerate(every.values()):
        if vector is not None:
            found[:, number], random[number] = targets.cosines(vector)
    return found.astype(np.float32), random.astype(np.float32)
