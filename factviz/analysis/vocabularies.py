"""Which tokens count as a subject's attributes, and which tokens count at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from factviz.analysis.stop_words import STOP_WORDS
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import attribute_tokens
from factviz.models.factmodel import FactModel

# What `vocabulary=` may be: text, a file, words; or these by subject.
Words = str | Iterable[str]
Vocabulary = Words | os.PathLike[str] | Mapping[str, Words]

SHORTEST = 3
SMALL = 20
_FILES = (".csv", ".txt")
_TEXT_COLUMNS = ("text", "paragraph")


@dataclass(frozen=True)
class Vocabularies:
    """The attribute tokens of each fact's subject, and what was decided on the way."""

    ids: list[frozenset[int]]
    source: str
    notes: list[str]


def kept_tokens(model: FactModel) -> Bool[np.ndarray, " vocab"]:
    """The tokens that count: no stop words, nothing of two characters or less, no markers."""
    tokenizer, size = model.tokenizer, model.d_vocab
    known = min(size, len(tokenizer))
    names = tokenizer.batch_decode([[i] for i in range(known)])
    special = set(tokenizer.all_special_ids)
    kept = np.zeros(size, dtype=bool)
    kept[:known] = [
        i not in special
        and len(text := name.strip()) >= SHORTEST
        and text.lower() not in STOP_WORDS
        for i, name in enumerate(names)
    ]
    if not kept.any():
        raise FactvizError(
            f"every token of {model.name} is a stop word or has two characters or less: the "
            "attributes rate is not defined for this tokenizer"
        )
    return kept


def subject_vocabularies(
    model: FactModel,
    facts: Sequence[Fact],
    vocabulary: Vocabulary | None,
    kept: Bool[np.ndarray, " vocab"],
) -> Vocabularies:
    """The attribute tokens of each fact's subject.

    Parameters
    ----------
    model : FactModel
    facts : [fact]
    vocabulary
        None: each fact's answer and S. Text, words or a file for all subjects, or a mapping from
        subject to text or words. Every token of a text counts, and the first new token of a word.
    kept : [vocab]
        Tokens that count; the others are left out of vocabularies too.

    Raises
    ------
    FactvizError
        If a subject is missing from the mapping or the file, or nothing is left for any fact.
    """
    source, by_fact = _given(facts, vocabulary)
    raw = [_ids(model, fact, words) for fact, words in zip(facts, by_fact, strict=True)]
    ids = [frozenset(i for i in found if i < len(kept) and kept[i]) for found in raw]
    if not any(ids):
        raise FactvizError(
            f"no attribute of {facts[0].subject!r}"
            + (f" or of {len(facts) - 1} other facts" if len(facts) > 1 else "")
            + " is a token that counts (three characters or more, no stop word): give attributes "
            "to the facts (same_subject=), or vocabulary="
        )
    return Vocabularies(ids, source, _notes(facts, raw, ids))


def _notes(
    facts: Sequence[Fact], raw: Sequence[set[int]], ids: Sequence[frozenset[int]]
) -> list[str]:
    notes: list[str] = []
    dropped = sum(len(before) > len(after) for before, after in zip(raw, ids, strict=True))
    if dropped:
        notes.append(
            f"{dropped} of {len(facts)} vocabularies lost tokens that are stop words or have two "
            "characters or less"
        )
    empty = [fact.subject for fact, found in zip(facts, ids, strict=True) if not found]
    if empty:
        notes.append(f"{len(empty)} facts have no attribute left, such as {empty[0]!r}: no values")
    return notes


def _given(facts: Sequence[Fact], vocabulary: Vocabulary | None) -> tuple[str, list[Words | None]]:
    """What was given, in words, and each fact's share of it."""
    if vocabulary is None:
        return "the facts' answers and S", [None] * len(facts)
    if isinstance(vocabulary, Mapping):
        return "words by subject", _by_subject(facts, dict(vocabulary.items()), "the vocabulary")
    path = _path(vocabulary)
    if path is None:
        words: Any = vocabulary if isinstance(vocabulary, str) else [*_words(vocabulary)]
        return "one text for all" if isinstance(words, str) else "words for all", [words] * len(
            facts
        )
    if path.suffix.lower() == ".csv":
        return f"file {path.name}", _by_subject(facts, _read_csv(path), path.name)
    return f"file {path.name}", [_read(path)] * len(facts)


def _words(vocabulary: Any) -> list[str]:
    found = list(vocabulary)
    for word in found:
        if not isinstance(word, str):
            raise FactvizError(f"a vocabulary holds words, not {type(word).__name__}: {word!r}")
    if not found:
        raise FactvizError("the vocabulary is empty: give words, a text or a file")
    return found


def _by_subject(facts: Sequence[Fact], words: Mapping[str, Any], where: str) -> list[Any]:
    missing = [fact.subject for fact in facts if fact.subject not in words]
    if missing:
        raise FactvizError(
            f"subject {missing[0]!r} is not in {where}"
            + (f", nor are {len(set(missing)) - 1} others" if len(set(missing)) > 1 else "")
            + f"; it has {len(words)}, such as {next(iter(words), '')!r}"
        )
    chosen = [words[fact.subject] for fact in facts]
    return [words if isinstance(words, str) else _words(words) for words in chosen]


def _path(vocabulary: Any) -> Path | None:
    """A file, if that is what was named; a text that only looks like one is an error."""
    if isinstance(vocabulary, os.PathLike):
        return Path(vocabulary)
    short = isinstance(vocabulary, str) and "\n" not in vocabulary and len(vocabulary) < 4096
    if short and Path(vocabulary.strip()).suffix.lower() in _FILES:
        return Path(vocabulary.strip()).expanduser()
    return None


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise FactvizError(f"cannot read the vocabulary {str(path)!r}: {said}") from None


def _read_csv(path: Path) -> dict[str, Any]:
    """Subject to text (a column ``text`` or ``paragraph``) or to words (any other column)."""
    rows = list(csv.DictReader(_read(path).splitlines()))
    columns = list(rows[0]) if rows else []
    others = [name for name in columns if name and name.strip().lower() != "subject"]
    if len(columns) - len(others) != 1 or not others:
        raise FactvizError(
            f"vocabulary {path.name!r} needs a column subject and one with a word or a text each; "
            f"it has {', '.join(map(repr, columns)) or 'no rows'}"
        )
    subject = next(name for name in columns if name.strip().lower() == "subject")
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row[subject], []).extend(row[c] for c in others if row[c])
    if any(name.strip().lower() in _TEXT_COLUMNS for name in others):
        return {name: "\n".join(texts) for name, texts in found.items()}
    return dict(found)


def _ids(model: FactModel, fact: Fact, words: Words | None) -> set[int]:
    tokenizer = model.tokenizer
    if words is None:
        words = [fact.answer, *fact.same_subject]
    if isinstance(words, str):
        # A space in front: the first word as it is inside a sentence.
        found = set(tokenizer(f" {words.strip()}", add_special_tokens=False)["input_ids"])
        return found - {tokenizer.unk_token_id}
    return {token.token_id for token in attribute_tokens(tokenizer, fact, words)}
