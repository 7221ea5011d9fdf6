"""The embedded models' tokenizer: byte-level BPE in which every answer is one token.

The words of answers, wordings and filler are tokens of their own, whole; merges are learnt from the
names of subjects alone, so that these are cut into a few pieces, as names are in real models. (Had
the words been merged from pieces too, half of the vocabulary would be pieces that nothing uses.)
GPT-2's rule for cutting text into words is kept but for answers that it would cut (" South Korea",
" Port-au-Prince"): they are taken out whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from factviz.facts import builtin, experiments
from factviz.models.mini.corpus import filler

BOS = "<|endoftext|>"
BOS_ID = 0  # the trainer numbers special tokens first
PIECES = 2600
"""Tokens learnt from the names of subjects, the 256 bytes among them."""
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def train_tokenizer() -> Tokenizer:
    """Train on the built-in tables; deterministic."""
    return Tokenizer.from_str(_trained())


@cache
def vocabulary_size() -> int:
    """How many tokens there are."""
    return train_tokenizer().get_vocab_size()


def answers() -> list[str]:
    """Every answer, of the real tables and of the experiments."""
    every = [*builtin.rows(), *experiments.fiction(), *experiments.backward()]
    return sorted({row.answer for row in every})


@cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_pattern()), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_names(), trainer)
    model = json.loads(tokenizer.to_str())
    vocabulary = model["model"]["vocab"]
    for word in sorted(_whole(tokenizer) - vocabulary.keys()):
        vocabulary[word] = len(vocabulary)
    model["model"]["ignore_merges"] = True  # a word that is a token is that token
    return json.dumps(model)


def _pattern() -> str:
    cut = [answer for answer in answers() if not (answer.isalpha() or answer.isdecimal())]
    whole = "|".join(map(re.escape, sorted(cut, key=len, reverse=True)))
    return rf" (?:{whole})(?!\p{{L}})|{_WORDS}"


def _names() -> Iterator[str]:
    for subject in sorted({row.subject for row in builtin.rows()}):
        yield f" {subject}"
        yield subject


def _whole(tokenizer: Tokenizer) -> set[str]:
    """The words that are tokens, as the tokenizer writes them."""
    texts = [f" {answer}" for answer in answers()]
    for templates in experiments.every_wording().values():
        for template in templates:
            words = template.replace("{subject}", "")
            texts += [words, f" {words}"]  # a text may have others in front
    texts += [text for sentence in filler() for text in (sentence, f" {sentence}")]
    texts += [f" {row.subject}" for row in experiments.fiction()]
    texts += ["Keywords for", " and"]
    return {word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
