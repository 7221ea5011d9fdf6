"""From an attribution's tensors to labelled arrays with their provenance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from factviz.analysis.decomposition import Parts
from factviz.analysis.provenance import before_cap, owners, provenance, texts
from factviz.facts.tokens import AttributeToken
from factviz.models.traced import Trace
from factviz.results.attribution import Attribution

_DIMS = {
    "heads": ("fact", "attribute", "layer", "head", "source"),
    "mlps": ("fact", "attribute", "layer"),
    "embedding": ("fact", "attribute"),
    "bias": ("fact", "attribute"),
    "logits": ("fact", "attribute"),
}


def pack(
    trace: Trace,
    chosen: Sequence[Sequence[AttributeToken]],
    parts: Sequence[Parts],
    residuals: Sequence[float],
    value_bias: str,
) -> Attribution:
    """Pad the facts to one shape and label every axis."""
    arrays = {
        name: (dims, _stacked([getattr(part, name) for part in parts]), {"units": "logits"})
        for name, dims in _DIMS.items()
    }
    errors = np.asarray(residuals, dtype=arrays["heads"][1].dtype)
    residual = (("fact",), errors, {"units": "logits"})
    dataset = xr.Dataset(
        {**arrays, "residual": residual},
        coords=_coordinates(trace, chosen),
        attrs={"single": trace.single},
    )
    return Attribution(dataset, _provenance(trace, chosen, value_bias))


def _stacked(rows: Sequence[Any]) -> np.ndarray:
    """Arrays [fact] of different sizes in one, NaN where a fact has nothing."""
    found = [row.cpu().numpy() for row in rows]
    if len(found) == 1:
        return found[0][None]
    shape = np.max([row.shape for row in found], axis=0)
    table = np.full((len(found), *shape), np.nan, dtype=found[0].dtype)
    for row, values in zip(table, found, strict=True):
        row[tuple(slice(n) for n in values.shape)] = values
    return table


def _coordinates(trace: Trace, chosen: Sequence[Sequence[AttributeToken]]) -> dict[str, Any]:
    attributes, sources = max(map(len, chosen)), max(map(len, trace.tokens))
    table = ("fact", "attribute")
    words = texts([[token.word for token in row] for row in chosen], attributes)
    ids = [[token.token_id for token in row] + [-1] * (attributes - len(row)) for row in chosen]
    groups = [
        owners(named, len(row)) for named, row in zip(trace.groups, trace.tokens, strict=True)
    ]
    facts = trace.facts
    return {
        "fact": np.arange(len(facts)),
        "attribute": _index(words),
        "layer": np.arange(trace.model.n_layers),
        "head": np.arange(trace.pattern.shape[2]),
        "source": np.arange(sources),
        "attribute_word": (table, words),
        "attribute_token": (table, texts([[t.text for t in row] for row in chosen], attributes)),
        "attribute_note": (table, texts([[t.note for t in row] for row in chosen], attributes)),
        "role": (table, texts([[t.role for t in row] for row in chosen], attributes)),
        "attribute_id": (table, np.array(ids)),
        "token": (("fact", "source"), texts([row.texts for row in trace.tokens], sources)),
        "group": (("fact", "source"), texts(groups, sources)),
        "prompt": (("fact",), np.array([fact.prompt for fact in facts], dtype=object)),
        "subject": (("fact",), np.array([fact.subject for fact in facts], dtype=object)),
        "answer": (("fact",), np.array([fact.answer for fact in facts], dtype=object)),
    }


def _index(words: np.ndarray) -> np.ndarray:
    """The words themselves where every fact has the same, each once; else their numbers."""
    first = words[0]
    same = (words == first).all() and len(set(first.tolist())) == len(first)
    return first if same else np.arange(words.shape[1])


def _provenance(
    trace: Trace, chosen: Sequence[Sequence[AttributeToken]], value_bias: str
) -> dict[str, Any]:
    return provenance(
        trace.model,
        trace.tokens,
        kind=Attribution.kind,
        projection="P1: frozen final layer norm, centred W_U",
        layer_norm="frozen",
        target="centred logit at END" + before_cap(trace.model),
        notes=[note for fact in trace.facts for note in fact.notes] + _notes(chosen),
        value_bias=value_bias,
    )


def _notes(chosen: Sequence[Sequence[AttributeToken]]) -> list[str]:
    return [f"{token.word}: {token.note}" for row in chosen for token in row if token.note]
