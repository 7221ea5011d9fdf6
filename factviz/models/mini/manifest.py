"""What a model was trained on, as hashes: tables, wordings, recipe and seed, and the versions."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import fields
from functools import cache
from typing import Any

import tokenizers
import torch
import transformers

from factviz.facts import builtin, experiments
from factviz.models.mini import splits
from factviz.models.mini.batches import WORD_SHARE
from factviz.models.mini.bpe import train_tokenizer
from factviz.models.mini.corpus import NOISE, UNRELIABLE_SHARE, filler
from factviz.models.mini.recipes import RECIPES, Recipe


def manifest(name: str, seed: int) -> dict[str, Any]:
    """The manifest of a run.

    Returns
    -------
    dict
        tables, wordings, recipe: SHA-256, the first 16 digits; corpus: of the three together;
        seed; versions of what trained it.
    """
    parts = {
        "tables": _tables(),
        "wordings": _wordings(),
        "recipe": _hash(_recipe(RECIPES[name])),
    }
    return {
        **parts,
        "corpus": _hash(parts),
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }


@cache
def _tables() -> str:
    rows = (*builtin.rows(), *experiments.fiction())
    return _hash([(row.subject, row.relation, row.answer) for row in rows])


@cache
def _wordings() -> str:
    splitting = (splits.UNSEEN_WORDINGS, splits.HELD_OUT_SHARE, builtin.LISTED_SHARE)
    return _hash([experiments.every_wording(), filler(), splitting])


def _recipe(recipe: Recipe) -> list[Any]:
    """The recipe in words; the untrained model stands for itself by its configuration.

    A recipe without further stages has the hash that it had before there were any.
    """
    left_out = {"make"} if recipe.further else {"make", "further"}
    plain = [(f.name, getattr(recipe, f.name)) for f in fields(recipe) if f.name not in left_out]
    return [
        plain,
        recipe.make().config.to_dict(),
        train_tokenizer().to_str(),
        UNRELIABLE_SHARE,
        NOISE,
        WORD_SHARE,
    ]


def _hash(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
