"""The embedded models' tokenizer: byte-level BPE in which every answer word is one token.

Answers and wordings are weighted up, so that their words become whole tokens; names of subjects
count once, so that they are cut into a few pieces, as names are in real models.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from factviz.facts import builtin

BOS = "<|endoftext|>"
BOS_ID = 0  # the trainer numbers special tokens first
VOCABULARY = 3072
_WEIGHT = 300


def train_tokenizer() -> Tokenizer:
    """Train on the built-in tables; deterministic."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


def _texts() -> Iterator[str]:
    answers = sorted({row.answer for row in builtin.rows()})
    for answer in answers:
        yield from [f" {answer}"] * _WEIGHT
    for templates in builtin.wordings().values():
        for template in templates:
            yield from [template.replace("{subject}", "")] * 20
    for subject in sorted({row.subject for row in builtin.rows()}):
        yield f" {subject}."
        yield f"{subject} "
