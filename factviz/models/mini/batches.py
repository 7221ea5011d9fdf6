"""Sentences as padded batches of tokens with a weight for each prediction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from factviz.models.mini.bpe import BOS_ID
from factviz.models.mini.corpus import Corpus, Sentence

ANSWER_WEIGHT = 3.0
_POOL = 16


@dataclass(frozen=True)
class Batch:
    """Padded sentences.

    ``ids`` [sentence, position], right-padded; ``weights`` [sentence, position - 1] of predicting
    the *next* token, 0 on padding.
    """

    ids: Tensor
    weights: Tensor


def batches(tokenizer: Tokenizer, seed: int, size: int) -> Iterator[Batch]:
    """Endless batches of ``size`` sentences of similar length, seeded."""
    sentences = iter(Corpus(seed))
    shuffle = torch.Generator().manual_seed(seed)
    while True:
        pool = [next(sentences) for _ in range(size * _POOL)]
        encoded = sorted(
            (_encode(tokenizer, sentence) for sentence in pool), key=lambda e: len(e[0])
        )
        for index in torch.randperm(_POOL, generator=shuffle).tolist():
            yield _pad(encoded[index * size : (index + 1) * size])


def _encode(tokenizer: Tokenizer, sentence: Sentence) -> tuple[list[int], list[float]]:
    found = tokenizer.encode(sentence.text)
    weights = [
        ANSWER_WEIGHT if any(start <= a < stop for start, stop in sentence.answers) else 1.0
        for a, _ in found.offsets
    ]
    return [BOS_ID, *found.ids], weights


def _pad(encoded: list[tuple[list[int], list[float]]]) -> Batch:
    length = max(len(ids) for ids, _ in encoded)
    ids = torch.zeros(len(encoded), length, dtype=torch.long)
    weights = torch.zeros(len(encoded), length - 1)
    for row, (tokens, weight) in enumerate(encoded):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, : len(weight)] = torch.tensor(weight)
    return Batch(ids, weights)
