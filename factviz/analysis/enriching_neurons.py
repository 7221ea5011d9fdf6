"""Which neurons write a subject's attributes at its last token (arXiv 2304.14767)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.positions import subject_positions
from factviz.analysis.provenance import RAW, fact_coordinates, provenance
from factviz.analysis.vocabularies import (
    Vocabularies,
    Vocabulary,
    kept_tokens,
    subject_vocabularies,
)
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.models.geometry import linear_weight
from factviz.models.states import States, mlp_norm, output_map, record_states
from factviz.results.enriching_neurons import EnrichingNeurons

# Neurons of all layers are held for a few facts at a time.
_FACTS = 64


@torch.inference_mode()
def find_enriching_neurons(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    k: int = 10,
    vocabulary: Vocabulary | None = None,
) -> EnrichingNeurons:
    """The neurons that write most of a subject's own attributes at its last token.

    An MLP's update is exactly a sum over its neurons, activation × output row (and a bias). Each is
    read along the mean raw output embedding of the subject's attributes, minus that of the whole
    vocabulary; a norm behind the MLP is passed with its scale frozen. Many neurons raise attributes
    of all kinds, so they are ranked by what they write of this subject's minus the other subjects'.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    k : int
        Neurons kept for each fact and layer.
    vocabulary : optional
        The attributes, as in `attributes_rate`; by default each fact's answer and S.

    Returns
    -------
    EnrichingNeurons
        neurons, activations and contributions [fact, layer, rank], controls (the same neurons read
        along the other subjects' mean attribute direction; NaN for a single subject, which is
        ranked by contribution alone), mlps and mlps_control [fact, layer], the whole update; in
        units of the raw projection.

    Raises
    ------
    FactvizError
        If no attribute is a token that counts, or the MLPs have no neurons (mixtures of experts).
    """
    if k < 1:
        raise FactvizError(f"k={k} neurons cannot be shown: ask for 1 or more")
    found = as_facts(facts)
    kept = kept_tokens(model)
    vocabularies = subject_vocabularies(model, found, vocabulary, kept)
    # Facts without an attribute that counts are named in a note.
    rows = [i for i in range(len(found)) if vocabularies.ids[i]]
    chosen = [found[i] for i in rows]
    own = _directions(model, [vocabularies.ids[i] for i in rows])
    both = torch.stack([own, _others([fact.subject for fact in chosen], own)], 1)
    parts = [
        _read(model, chosen[start : start + _FACTS], both[start : start + _FACTS], k)
        for start in range(0, len(rows), _FACTS)
    ]
    arrays = {
        name: np.concatenate([part[name].cpu().numpy() for part in parts]) for name in parts[0]
    }
    return _packed(model, chosen, arrays, vocabularies, isinstance(facts, Fact))


def _directions(model: FactModel, ids: Sequence[frozenset[int]]) -> Float[Tensor, "fact d_model"]:
    """The mean output embedding of each vocabulary, minus the mean of all."""
    weight = model.unembedding[0]
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
    means = [weight[torch.tensor(sorted(one), device=weight.device)].to(dtype).mean(0)
             for one in ids]  # fmt: skip
    return torch.stack(means) - model.mean_unembedding(dtype)


def _others(
    subjects: Sequence[str], own: Float[Tensor, "fact d_model"]
) -> Float[Tensor, "fact d_model"]:
    """For each fact, the mean direction of the other subjects; NaN where there is none."""
    names = list(dict.fromkeys(subjects))
    owner = torch.tensor([names.index(name) for name in subjects], device=own.device)
    sums = own.new_zeros(len(names), own.shape[1]).index_add_(0, owner, own)
    means = sums / torch.bincount(owner, minlength=len(names))[:, None]
    if len(names) < 2:
        return torch.full_like(own, torch.nan)
    return ((means.sum(0) - means) / (len(names) - 1))[owner]


def _read(
    model: FactModel,
    facts: Sequence[Fact],
    directions: Float[Tensor, "fact two d_model"],
    k: int,
) -> dict[str, Tensor]:
    tokens = [model.tokenize(fact) for fact in facts]
    at = [subject_positions(fact, row)[-1:] for fact, row in zip(facts, tokens, strict=True)]
    states = record_states(model, [row.ids for row in tokens], at, updates=True, neurons=True)
    assert states.neurons is not None and states.mlp is not None
    layers = [_layer(model, layer, states, directions, k) for layer in range(model.n_layers)]
    made = {name: torch.stack([one[name] for one in layers], 1) for name in layers[0]}
    update = states.mlp[:, :, 0].to(directions)
    made["mlps"], made["mlps_control"] = torch.einsum("fld,ftd->tfl", update, directions)
    return made


def _layer(
    model: FactModel,
    layer: int,
    states: States,
    directions: Float[Tensor, "fact two d_model"],
    k: int,
) -> dict[str, Tensor]:
    assert states.neurons is not None and states.mlp_scale is not None
    activation = states.neurons[:, layer, 0].to(directions)
    scale = states.mlp_scale[:, layer, 0].to(directions)[:, None]
    weight = linear_weight(output_map(model, layer)).to(directions)
    multiplier = model.geometry.residual_multiplier
    contribution, control = (
        activation * (_before_norm(model, layer, d) @ weight) * multiplier / scale
        for d in directions.unbind(1)
    )
    contrast = contribution - control.nan_to_num()
    top = contrast.topk(min(k, contrast.shape[1])).indices
    return {
        "neurons": top,
        "contributions": contribution.gather(1, top),
        "activations": activation.gather(1, top),
        "controls": control.gather(1, top),
        "positive": contrast.clamp(min=0).sum(1),
    }


def _before_norm(
    model: FactModel, layer: int, directions: Float[Tensor, "fact d_model"]
) -> Float[Tensor, "fact d_model"]:
    """Directions pulled back through a norm behind the MLP, if there is one."""
    norm = mlp_norm(model.geometry.layers[layer])
    return directions if norm is None else model.geometry.norm(norm).pull_back(directions)


def _packed(
    model: FactModel,
    facts: Sequence[Fact],
    arrays: dict[str, np.ndarray],
    vocabularies: Vocabularies,
    single: bool,
) -> EnrichingNeurons:
    table, ranked = ("fact", "layer"), ("fact", "layer", "rank")
    notes = list(vocabularies.notes)
    if len({fact.subject for fact in facts}) < 2:
        notes.append("one subject only: neurons are ranked by contribution, without a control")
    dataset = xr.Dataset(
        {name: (ranked if values.ndim == 3 else table, values) for name, values in arrays.items()},
        coords={
            **fact_coordinates(facts),
            "layer": np.arange(model.n_layers),
            "rank": np.arange(1, arrays["neurons"].shape[2] + 1),
        },
        attrs={"single": single},
    )
    return EnrichingNeurons(
        dataset,
        provenance(
            model,
            [model.tokenize(fact) for fact in facts],
            kind=EnrichingNeurons.kind,
            projection=f"{RAW}, minus the vocabulary mean",
            layer_norm="none",
            target="mean of the subject's attributes, at its last token",
            notes=notes,
            vocabulary=vocabularies.source,
        ),
    )
