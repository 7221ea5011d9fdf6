"""From an attribution's tensors to labelled arrays with their provenance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

import factviz
from factviz.analysis.decomposition import Parts
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

    def text(rows: Sequence[Sequence[str]], width: int) -> np.ndarray:
        return np.array([[*row, *[""] * (width - len(row))] for row in rows], dtype=str)

    words = text([[token.word for token in row] for row in chosen], attributes)
    ids = [[token.token_id for token in row] + [-1] * (attributes - len(row)) for row in chosen]
    groups = [_group_names(named, len(row)) for named, row in zip(trace.groups, trace.tokens,
                                                                 strict=True)]  # fmt: skip
    facts = trace.facts
    return {
        "fact": np.arange(len(facts)),
        "attribute": _index(words),
        "layer": np.arange(trace.model.n_layers),
        "head": np.arange(trace.pattern.shape[2]),
        "source": np.arange(sources),
        "attribute_word": (table, words),
        "attribute_token": (table, text([[t.text for t in row] for row in chosen], attributes)),
        "attribute_note": (table, text([[t.note for t in row] for row in chosen], attributes)),
        "role": (table, text([[t.role for t in row] for row in chosen], attributes)),
        "attribute_id": (table, np.array(ids)),
        "token": (("fact", "source"), text([row.texts for row in trace.tokens], sources)),
        "group": (("fact", "source"), text(groups, sources)),
        "prompt": (("fact",), np.array([fact.prompt for fact in facts])),
        "subject": (("fact",), np.array([fact.subject for fact in facts])),
        "answer": (("fact",), np.array([fact.answer for fact in facts])),
    }


def _index(words: np.ndarray) -> np.ndarray:
    """The words themselves where every fact has the same, each once; else their numbers."""
    first = words[0]
    same = (words == first).all() and len(set(first.tolist())) == len(first)
    return first if same else np.arange(words.shape[1])


def _group_names(groups: dict[str, tuple[int, ...]], length: int) -> list[str]:
    names = ["other"] * length
    for name, positions in groups.items():
        for position in positions:
            names[position] = name
    return names


def _provenance(
    trace: Trace, chosen: Sequence[Sequence[AttributeToken]], value_bias: str
) -> dict[str, Any]:
    model = trace.model
    cap = model.geometry.soft_cap
    bos = None if model.bos_id is None else model.tokenizer.convert_ids_to_tokens(model.bos_id)
    return {
        "kind": "Attribution",
        "factviz": factviz.__version__,
        "torch": _version("torch"),
        "transformers": _version("transformers"),
        "transformer_lens": _version("transformer-lens"),
        "model": model.name,
        "architecture": model.architecture,
        "weight_hash": model.weight_hash,
        "projection": "P1: frozen final layer norm, centred W_U",
        "layer_norm": "frozen",
        "value_bias": value_bias,
        "target": "centred logit at END" + (f", before the soft-cap of {cap:g}" if cap else ""),
        "prepend_bos": model.bos_id is not None,
        "bos": bos,
        "prompt_tokens": [list(row.texts) for row in trace.tokens],
        "dtype": str(model.dtype).split(".")[-1],
        "created": datetime.now(UTC).date().isoformat(),
        "notes": _notes(chosen),
    }


@cache
def _version(package: str) -> str:
    return version(package)


def _notes(chosen: Sequence[Sequence[AttributeToken]]) -> list[str]:
    said = (f"{token.word}: {token.note}" for row in chosen for token in row if token.note)
    return list(dict.fromkeys(said))
