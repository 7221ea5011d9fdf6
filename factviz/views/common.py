"""What figures of several kinds of results share: a choice of facts, a caption, columns, layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from factviz.results.factwise import FactResult
from factviz.results.grouping import DEFAULT_GROUPS, ordered
from factviz.views.spec import Figure, FigureBuilder, Panel

MAX_FACTS = 12
# Tables without scripts show 30 rows; a sum of the others would say nothing of layers.
MAX_LAYERS = 28


def short(text: str, limit: int = 80) -> str:
    """A long text cut, for choices and titles."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def length(fact: xr.Dataset) -> int:
    """How many positions a fact has, padding left out."""
    return int((fact["group"].values != "").sum())


def position_columns(fact: xr.Dataset, title: str = "token") -> dict[str, Any]:
    """A matrix's columns: the prompt's tokens, bracketed by source group."""
    count = length(fact)
    names = [str(name) for name in fact["group"].values[:count]]
    groups = [
        {"name": name, "positions": [i for i, other in enumerate(names) if other == name]}
        for name in ordered(names, DEFAULT_GROUPS)
    ]
    labels = [str(text) for text in fact["token"].values[:count]]
    return {"title": title, "labels": labels, "groups": groups}


def picked_layers(count: int) -> list[int]:
    """All layers of a small model; evenly spread ones of a deep one, first and last among them."""
    if count <= MAX_LAYERS:
        return list(range(count))
    return sorted(set(np.linspace(0, count - 1, MAX_LAYERS).round().astype(int).tolist()))


def caption(provenance: Mapping[str, Any], first: str) -> str:
    """One sentence: what the numbers are, how states were read, which weights."""
    projection = str(provenance.get("projection", ""))
    norm = f"layer norm {provenance.get('layer_norm', 'not stated')}"
    said = [
        first,
        projection,
        "" if "layer norm" in projection else norm,
        f"weights {str(provenance.get('weight_hash', ''))[:12]}",
        f"factviz {provenance.get('factviz', '')}",
    ]
    return "; ".join(part for part in said if part) + "."


def fact_title(fact: xr.Dataset) -> str:
    """A fact by its prompt and answer."""
    return f"{short(str(fact['prompt'].item()), 240)} → {short(str(fact['answer'].item()))}"


def by_fact(
    result: FactResult,
    builder: FigureBuilder,
    panels: Callable[[FigureBuilder, xr.Dataset], list[Panel]],
) -> Figure:
    """A figure with one list of panels a fact, the first 12 facts as a choice."""
    data, total = result.dataset, result.dataset.sizes["fact"]
    chosen = result.view_options.get("fact")
    facts = list(range(min(total, MAX_FACTS))) if chosen is None else [chosen]
    made = [panels(builder, data.isel(fact=index)) for index in facts]
    builder.note(*map(str, result.provenance.get("notes", [])))
    if len(facts) == 1:
        return builder.figure(made)
    if len(facts) < total:
        builder.note(f"{len(facts)} of {total} facts are drawn; .view(fact=…) draws any.")
    labels = [short(fact_title(data.isel(fact=index))) for index in facts]
    return builder.figure(made, {"label": "fact", "options": labels})


def title(result: FactResult, what: str) -> str:
    """What is shown, and of which fact or how many."""
    total, chosen = result.dataset.sizes["fact"], result.view_options.get("fact")
    if total > 1 and chosen is None:
        return f"{what}: {total} facts"
    return f"{what}: {fact_title(result.dataset.isel(fact=chosen or 0))}"
