"""The sets a, S, R and O of facts as tokens, and the directions that read their means.

Contributions are linear in the direction, so the mean contribution to many attributes costs no more
than that to one.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.directions import Directions, attribute_directions
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import Memo, PromptTokens, attribute_tokens
from factviz.models.factmodel import FactModel

ROLES = ("answer", "same_subject", "same_relation", "control")
"""a, S, R, and O: attributes of other facts that are in none of these."""
CONTROLS = 32  # attributes in O


@dataclass(frozen=True)
class RoleTokens:
    """Vocabulary ids [fact][role], any number of each, beside the prompts' own tokens.

    An attribute in S and in R is in neither here, as it would say nothing for one of the two, but
    in ``both`` [fact]. ``words`` [fact] has the words of all but O by id.
    """

    ids: list[list[tuple[int, ...]]]
    both: list[tuple[int, ...]]
    words: list[dict[int, str]]
    prompts: list[PromptTokens]
    notes: list[str]

    def take(self, facts: Sequence[int]) -> RoleTokens:
        """The same for some of the facts."""
        return RoleTokens(
            [self.ids[fact] for fact in facts],
            [self.both[fact] for fact in facts],
            [self.words[fact] for fact in facts],
            [self.prompts[fact] for fact in facts],
            self.notes,
        )

    def without_controls(self) -> RoleTokens:
        """The same without O."""
        return replace(self, ids=[row[:3] for row in self.ids])


def role_tokens(
    model: FactModel, facts: Sequence[Fact], *, controls: int = CONTROLS, seed: int = 0
) -> RoleTokens:
    """The attributes of each fact by role, as tokens.

    Parameters
    ----------
    model : FactModel
    facts : sequence of Fact
    controls : int
        Attributes in O for each fact: of the other facts, or words of the vocabulary where all
        attributes are in S or R. A fact's draw does not depend on the order of the facts.
    seed : int

    Raises
    ------
    FactvizError
        If an answer is no token of the model.
    """
    memo: Memo = {}
    ids: list[list[tuple[int, ...]]] = []
    words: list[dict[int, str]] = []
    both: list[tuple[int, ...]] = []
    taken: list[set[int]] = []
    shared, size = 0, model.d_vocab
    prompts = model.tokenize_all(facts)
    for fact, row in zip(facts, prompts, strict=True):
        base = list(row.ids[row.has_bos :])
        tokens = attribute_tokens(model.tokenizer, fact, memo=memo, base=base)
        if tokens[0].token_id >= size:
            raise FactvizError(
                f"answer {fact.answer!r} has token {tokens[0].token_id}, but the model has logits "
                f"0 to {size - 1}: is this its tokenizer?"
            )
        tokens = [token for token in tokens if token.token_id < size]
        ids.append([tuple(t.token_id for t in tokens if t.role == role) for role in ROLES[:3]])
        words.append({token.token_id: token.word for token in tokens})
        taken.append({token.token_id for token in tokens})
        both.append(tuple(token.token_id for token in tokens if token.role == "both"))
        shared += sum("same token and was left out" in token.note for token in tokens)
    doubled = sum(map(len, both))
    notes: list[str] = []
    if doubled:
        notes.append(f"{doubled} attributes in S and in R of the same fact are left out of both")
    if shared:
        notes.append(
            f"{shared} attributes share their first token with another of the fact, which stands "
            "for both"
        )
    drawn, invented = _controls(model, facts, taken, controls, seed)
    for row, some in zip(ids, drawn, strict=True):
        row.append(some)
    if invented:
        notes.append("O holds words of the vocabulary: the facts have no attributes that are in "
                     "neither S nor R")  # fmt: skip
    return RoleTokens(ids, both, words, prompts, notes)


def _controls(
    model: FactModel, facts: Sequence[Fact], taken: Sequence[set[int]], count: int, seed: int
) -> tuple[list[tuple[int, ...]], bool]:
    """O of each fact, and whether it had to be taken from the vocabulary for some.

    One shuffled round of all attributes, entered at a place that hangs on the prompt: so a fact's O
    does not depend on the order of the facts.
    """
    rng = np.random.default_rng(seed)
    pool = rng.permutation(sorted(set().union(*taken))).tolist()
    every: list[int] = []
    found: list[tuple[int, ...]] = []
    for fact, own in zip(facts, taken, strict=True):
        start = zlib.crc32(fact.prompt.encode())
        some = _around(pool, start, own, count)
        if not some and count:
            every = every or rng.permutation(_words(model)).tolist()
            some = _around(every, start, own, count)
        found.append(some)
    return found, bool(every)


def _words(model: FactModel) -> list[int]:
    """Tokens that begin a word, as attributes do; all but markers where a tokenizer has none."""
    size = min(model.d_vocab, len(model.tokenizer))
    texts = model.tokenizer.convert_ids_to_tokens(list(range(size)))
    found = [i for i, text in enumerate(texts) if text[0] in "Ġ▁" and text[1:].isalpha()]
    special = set(model.tokenizer.all_special_ids)
    return [i for i in found or range(size) if i not in special]


def _around(ring: Sequence[int], start: int, without: set[int], count: int) -> tuple[int, ...]:
    """The first tokens of a round from a place on, without some."""
    found: list[int] = []
    for step in range(len(ring)):
        token = ring[(start + step) % len(ring)]
        if token not in without:
            found.append(token)
            if len(found) >= count:
                break
    return tuple(found[:count])


def role_directions(model: FactModel, tokens: RoleTokens) -> Directions:
    """The mean direction of each role of each fact [fact · role]; NaN where a role is empty."""
    rows = [row for fact in tokens.ids for row in fact]
    unique = sorted({token for row in rows for token in row})
    single = attribute_directions(model, torch.tensor(unique, device=model.device))
    place = {token: index for index, token in enumerate(unique)}
    flat = np.fromiter((place[token] for row in rows for token in row), np.int64)
    joined = torch.cat([single.residual, single.constant[:, None]], 1)
    taken = joined[torch.from_numpy(flat).to(joined.device)]
    means = segment_means(taken, [len(row) for row in rows])
    return Directions(means[:, :-1], means[:, -1])


def segment_means(
    values: Float[Tensor, "n width"], counts: Sequence[int]
) -> Float[Tensor, "segment width"]:
    """Means of runs of rows; NaN for an empty run."""
    sizes = torch.tensor(counts, device=values.device)
    owner = torch.arange(len(counts), device=values.device).repeat_interleave(sizes)
    sums = values.new_zeros(len(counts), values.shape[1]).index_add_(0, owner, values)
    return sums / sizes[:, None]
