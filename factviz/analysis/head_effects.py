"""Each head's DLA beside its ablation effect: self-repair shows as a gap (P1 point 11)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from factviz.analysis.ablation import ablate
from factviz.analysis.grouped import grouped_parts
from factviz.analysis.head_classes import PROJECTION
from factviz.analysis.known import known_rows, unknown_note
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance
from factviz.analysis.roles import role_tokens
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.results.head_effects import HeadEffects


@torch.inference_mode()
def compare_effects(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    mode: Literal["zero", "mean"] = "zero",
) -> HeadEffects:
    """Put what each head writes towards the answer beside what ablating it costs.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        Those whose answer is not in the model's top 10 are left out, and counted.
    mode : {"zero", "mean"}
        As for `ablate`. DLA is all that a head wrote, so it compares with "zero"; "mean" leaves
        what the head writes for any of the facts.

    Returns
    -------
    HeadEffects

    Raises
    ------
    FactvizError
        If the model knows none of the facts, or as `ablate` does.
    """
    found = as_facts(facts)
    tokens = role_tokens(model, found, controls=0)
    parts = grouped_parts(model, found, tokens)
    kept = known_rows(found, parts.rank)
    chosen: Any = [found[row] for row in kept]
    single = isinstance(facts, Fact)
    every = [(layer, head) for layer in range(model.n_layers) for head in range(model.n_heads)]
    runs = ablate(
        model,
        chosen[0] if single else chosen,
        every,
        mode=mode,
        separately=True,
        controls=0,
        allow_idle=True,
    )
    shape = (len(kept), model.n_layers, model.n_heads)
    dims = ("fact", "layer", "head")
    falls = {
        name: -(values.values[:, 1:] - values.values[:, :1]).reshape(shape)
        for name, values in ((n, runs.dataset[n]) for n in ("logit", "probability"))
    }
    data: dict[str, Any] = {
        "dla": (dims, parts.heads[kept][:, 0].sum(-1), {"units": "logits"}),
        "effect": (dims, falls["logit"], {"units": "logits"}),
        "probability_effect": (dims, falls["probability"], {"units": "probability"}),
    }
    coords = fact_coordinates(chosen) | {n: np.arange(s) for n, s in zip(dims, shape, strict=True)}
    dataset = xr.Dataset(data, coords=coords, attrs={"single": single})
    origin = provenance(
        model,
        tokens.take(kept).prompts,
        kind=HeadEffects.kind,
        projection=f"DLA: {PROJECTION}; effect: the model's own logits",
        layer_norm="frozen for DLA, recomputed in every ablated run",
        target="centred logit of the answer at END" + before_cap(model),
        notes=unknown_note(found, kept),
        mode=mode,
        value_bias="out",
        excluded=len(found) - len(kept),
    )
    return HeadEffects(dataset, origin)
