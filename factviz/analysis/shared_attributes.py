"""Heads of one layer that share an attribute: superposition (asked for by readers of P1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from factviz.analysis.grouped import grouped_parts
from factviz.analysis.head_classes import PROJECTION
from factviz.analysis.known import known_rows, unknown_note
from factviz.analysis.provenance import before_cap, provenance
from factviz.analysis.roles import role_tokens
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.results.class_rule import LEAST
from factviz.results.shared_attributes import SharedAttributes

DRAWS = 100


@torch.inference_mode()
def find_shared_attributes(
    model: FactModel, facts: Iterable[Fact], *, least: float = LEAST, seed: int = 0
) -> SharedAttributes:
    """Which heads of a layer write the same answers.

    A head's profile is its mean DLA on each answer, over the facts that have it. Two heads of a
    layer are alike if their profiles correlate more than shuffled ones do: the null shuffles one
    head's profile over the answers of each relation, so that what a whole relation has in common
    (as relation heads write it) is no sharing of attributes.

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
        Those whose answer is not in the model's top 10 are left out, and counted.
    least : float
        Logits from which a head counts as writing an answer.
    seed : int
        Of the null.

    Returns
    -------
    SharedAttributes

    Raises
    ------
    FactvizError
        If least is not above 0, the model knows none of the facts, or they have fewer than three
        answers.
    """
    if not least > 0:
        raise FactvizError(f"least={least} logits: give a number above 0")
    found = as_facts(facts)
    tokens = role_tokens(model, found, controls=0)
    parts = grouped_parts(model, found, tokens)
    kept = known_rows(found, parts.rank)
    chosen = [found[row] for row in kept]
    names = sorted({(fact.relation, fact.answer) for fact in chosen})
    if len(names) < 3:
        raise FactvizError(
            f"{len(names)} answers ({', '.join(word for _, word in names)}) are too few to "
            "correlate heads over: give facts with three or more"
        )
    rows = [[i for i, f in enumerate(chosen) if (f.relation, f.answer) == name] for name in names]
    heads = parts.heads[kept][:, 0].sum(-1)  # [fact, layer, head]
    profile = np.stack([heads[some].mean(0) for some in rows]).astype(np.float64)
    relations = [relation for relation, _ in names]
    similar, null = _similarity(profile, relations, seed)
    pair = ("layer", "head", "other")
    logits = {"units": "logits"}
    data: dict[str, Any] = {
        "dla": (("attribute", "layer", "head"), profile, logits),
        "similarity": (pair, similar),
        "null": (pair, null),
        "facts": ("attribute", np.array([len(some) for some in rows])),
    }
    coords = {
        "word": ("attribute", np.array([word for _, word in names], dtype=object)),
        "relation": ("attribute", np.array(relations, dtype=object)),
    }
    origin = provenance(
        model,
        tokens.take(kept).prompts,
        kind=SharedAttributes.kind,
        projection=PROJECTION,
        layer_norm="frozen",
        target="centred logit of the answer at END" + before_cap(model),
        notes=unknown_note(found, kept),
        value_bias="out",
        control=f"{DRAWS} shuffles of one head's answers within each relation",
        excluded=len(found) - len(kept),
    )
    dataset = xr.Dataset(data, coords=coords, attrs={"least": float(least)})
    return SharedAttributes(dataset, origin)


def _similarity(
    profile: Float[np.ndarray, "attribute layer head"], relations: Sequence[str], seed: int
) -> tuple[Float[np.ndarray, "layer head other"], Float[np.ndarray, "layer head other"]]:
    """Correlations of heads over attributes within relations, and their null quantile."""
    groups = [np.flatnonzero(np.array(relations) == name) for name in sorted(set(relations))]
    centred = profile.copy()
    for rows in groups:
        centred[rows] -= centred[rows].mean(0)
    size = np.sqrt((centred**2).sum(0))
    # What hardly varies has no correlation to speak of.
    unit = np.divide(centred, size, out=np.zeros_like(centred), where=size > 1e-9)
    rng = np.random.default_rng(seed)
    draws: list[np.ndarray] = []
    for _ in range(DRAWS):
        order = np.arange(len(profile))
        for rows in groups:
            order[rows] = rng.permutation(rows)
        draws.append(np.abs(np.einsum("alh,alo->lho", unit, unit[order])))
    return np.einsum("alh,alo->lho", unit, unit), np.quantile(draws, 0.95, axis=0)
