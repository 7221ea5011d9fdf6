"""Sentences as padded batches of tokens, with a weight for each prediction and edges to block."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from factviz.models.mini.bpe import BOS_ID
from factviz.models.mini.corpus import Corpus
from factviz.models.mini.recipes import CONTEXT
from factviz.models.mini.sentences import Sentence, Span

ANSWER_WEIGHT = 3.0
WORD_SHARE = 0.3
"""Share of the other tokens that are predicted, with weight 1: answers are what is to be learnt,
and the unembedding is a third of a step's work."""
_POOL = 32


@dataclass(frozen=True)
class Batch:
    """Padded sentences.

    ``ids`` [sentence, position], right-padded; ``weights`` [sentence, position - 1] of predicting
    the *next* token, 0 where it is not to be learnt, as on padding; ``blocked`` [sentence, query,
    key], the attention edges that training forbids, or None.
    """

    ids: Int[Tensor, "sentence position"]
    weights: Float[Tensor, "sentence position-1"]
    blocked: Bool[Tensor, "sentence query key"] | None = None


class Batches:
    """Batches of ``size`` sentences of similar length, by number.

    A batch is drawn from the seed and its number alone, so that a resumed run goes on with the
    batch it would have had.
    """

    def __init__(self, tokenizer: Tokenizer, corpus: Corpus, seed: int, size: int) -> None:
        self._tokenizer, self._corpus, self._seed, self._size = tokenizer, corpus, seed, size

    def since(self, first: int, blocked_share: float = 0.0) -> Iterator[Batch]:
        """Endless batches from this number on.

        Parameters
        ----------
        first : int
        blocked_share : float
            Share of the sentences in which END may not attend to the subject.
        """
        pool, skip = divmod(first, _POOL)
        while True:
            yield from self._pool(pool, blocked_share)[skip:]
            pool, skip = pool + 1, 0

    def _pool(self, number: int, blocked_share: float) -> list[Batch]:
        draw = random.Random(f"{self._seed} pool {number}")
        sentences = list(self._corpus.block(number, self._size * _POOL))
        encodings = self._tokenizer.encode_batch([sentence.text for sentence in sentences])
        rows = sorted(
            (
                _Row.of(sentence, encoding, draw, draw.random() < blocked_share)
                for sentence, encoding in zip(sentences, encodings, strict=True)
            ),
            key=lambda row: len(row.ids),
        )
        some = [_pad(rows[start : start + self._size]) for start in range(0, len(rows), self._size)]
        draw.shuffle(some)
        return some


@dataclass(frozen=True)
class _Row:
    ids: list[int]
    weights: list[float]
    edges: list[tuple[int, list[int]]]
    """END of each wording, and its subject's tokens; empty unless they are to be blocked."""

    @classmethod
    def of(cls, sentence: Sentence, encoding: Encoding, draw: random.Random, blocked: bool) -> _Row:
        starts = [start for start, _ in encoding.offsets]
        weights = [
            ANSWER_WEIGHT
            if any(_within(s, c.answer) for c in sentence.clauses)
            else float(draw.random() < WORD_SHARE)
            for s in starts
        ]
        edges = [
            # BOS moves every token by one, so END is where the answer stands without it.
            (next(i for i, s in enumerate(starts) if _within(s, clause.answer)),
             [i + 1 for i, s in enumerate(starts) if _within(s + 1, clause.subject)
              or _within(s, clause.subject)])
            for clause in sentence.clauses
            if blocked and clause.subject
        ]  # fmt: skip
        # A text longer than the context loses its end.
        ids = [BOS_ID, *encoding.ids][:CONTEXT]
        return cls(ids, weights[: len(ids) - 1], [edge for edge in edges if edge[0] < len(ids)])


def _within(start: int, span: Span) -> bool:
    return span[0] <= start < span[1]


def _pad(rows: list[_Row]) -> Batch:
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), BOS_ID, dtype=torch.long)
    weights = torch.zeros(len(rows), length - 1)
    blocked = torch.zeros(len(rows), length - 1, length - 1, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        weights[i, : len(row.weights)] = torch.tensor(row.weights)
        for end, keys in row.edges:
            blocked[i, end, keys] = True
    return Batch(ids, weights, blocked if bool(blocked.any()) else None)
