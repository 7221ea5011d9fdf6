"""What every result says of its origin, and the coordinates that name facts and positions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

import factviz
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.models.edits import edits_of
from factviz.models.factmodel import FactModel

RAW = "P3: raw output embedding, no layer norm"  # named in every result that projects


def provenance(
    model: FactModel,
    tokens: Sequence[PromptTokens],
    *,
    kind: str,
    projection: str,
    layer_norm: str,
    target: str,
    notes: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """Model, modes, tokens and versions; never a local path.

    Parameters
    ----------
    model : FactModel
    tokens : [fact]
        The prompts as they were read; none for an analysis of parameters alone.
    kind : str
        The result's class.
    projection, layer_norm, target : str
        How states were read, in words.
    notes : sequence of str
        Sentences for the reader; repeats are said once.
    **more
        Whatever else the analysis was told.
    """
    edits = edits_of(model)
    if edits:
        notes = [*notes, "made while the model was edited: " + "; ".join(edits)]
    bos = None if model.bos_id is None else model.tokenizer.convert_ids_to_tokens(model.bos_id)
    return {
        "kind": kind,
        "factviz": factviz.__version__,
        "torch": _version("torch"),
        "transformers": _version("transformers"),
        "transformer_lens": _version("transformer-lens"),
        "model": model.name,
        "architecture": model.architecture,
        "weight_hash": model.weight_hash,
        **({"training": model.training} if model.training else {}),
        **({"edited": edits} if edits else {}),
        "projection": projection,
        "layer_norm": layer_norm,
        "target": target,
        "prepend_bos": model.bos_id is not None,
        "bos": bos,
        "prompt_tokens": [list(row.texts) for row in tokens],
        "dtype": str(model.dtype).split(".")[-1],
        "created": datetime.now(UTC).date().isoformat(),
        "notes": list(dict.fromkeys(notes)),
        **more,
    }


@cache
def _version(package: str) -> str:
    return version(package)


def before_cap(model: FactModel) -> str:
    """What to add to the name of a logit that a final soft-cap would still change."""
    cap = model.geometry.soft_cap
    return f", before the soft-cap of {cap:g}" if cap else ""


def texts(rows: Sequence[Sequence[str]], width: int) -> np.ndarray:
    """Texts [fact, n] in one array, ``""`` where a row is shorter."""
    # NumPy's own text type would drop a NUL at the end of a token.
    return np.array([[*row, *[""] * (width - len(row))] for row in rows], dtype=object)


def fact_coordinates(facts: Sequence[Fact]) -> dict[str, Any]:
    """Coordinates along ``fact``: its number, prompt, subject, relation, answer."""
    fields = ("prompt", "subject", "relation", "answer")
    named = {name: ("fact", np.array([getattr(f, name) for f in facts], object)) for name in fields}
    return {"fact": np.arange(len(facts)), **named}


def position_coordinates(
    tokens: Sequence[PromptTokens], groups: Sequence[dict[str, tuple[int, ...]]] | None = None
) -> dict[str, Any]:
    """Coordinates along ``position``: token and group [fact, position], ``""`` for padding."""
    width = max(map(len, tokens))
    named = [row.groups for row in tokens] if groups is None else groups
    rows = [owners(one, len(row)) for one, row in zip(named, tokens, strict=True)]
    return {
        "position": np.arange(width),
        "token": (("fact", "position"), texts([row.texts for row in tokens], width)),
        "group": (("fact", "position"), texts(rows, width)),
    }


def owners(groups: dict[str, tuple[int, ...]], length: int) -> list[str]:
    """The name of each position's group; "other" where it is in none."""
    names = ["other"] * length
    for name, positions in groups.items():
        for position in positions:
            names[position] = name
    return names
