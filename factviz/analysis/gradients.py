"""Gradient × input: which states the answer is most sensitive to (arXiv 2304.14767)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from factviz.analysis.provenance import (
    before_cap,
    fact_coordinates,
    position_coordinates,
    provenance,
)
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.facts.tokens import PromptTokens, attribute_tokens
from factviz.models.factmodel import FactModel
from factviz.models.gradients import state_gradients
from factviz.results.gradients import Gradients


def gradients(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    target: Literal["logit", "probability"] = "logit",
    token: Literal["answer", "top1"] = "answer",
) -> Gradients:
    """Gradient × input of the state that enters each layer, at each position.

    The value is the sum over d_model of gradient ⊙ state: the change of the target per relative
    change of that state, to first order. Nothing of it stays in the model: parameters get no
    ``.grad``.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    target : {"logit", "probability"}
        The centred logit, before a soft-cap; or the probability, after it.
    token : {"answer", "top1"}
        Whose: the answer's first token, or the model's own first choice.

    Returns
    -------
    Gradients
        values [layer, position] (signed) and sizes [layer, position] (length of gradient ⊙ state),
        in logits or in probability; a leading fact dimension for several facts.

    Raises
    ------
    FactvizError
        If an option is unknown or the gradients are not finite.

    References
    ----------
    Geva et al., *Dissecting Recall of Factual Associations*, arXiv 2304.14767.
    """
    for name, value, known in (
        ("target", target, ("logit", "probability")),
        ("token", token, ("answer", "top1")),
    ):
        if value not in known:
            raise FactvizError(f"{name}={value!r} is unknown: {' or '.join(map(repr, known))}")
    found = as_facts(facts)
    tokens = [model.tokenize(fact) for fact in found]
    ids, notes = _target_ids(model, found, token)

    def read(logits: Float[Tensor, "fact vocab"], batch: Sequence[int]) -> Float[Tensor, " fact"]:
        wanted = torch.tensor([ids[i] for i in batch], device=logits.device)[:, None]
        if target == "logit":
            return logits.gather(1, wanted)[:, 0] - logits.mean(-1)
        cap = model.geometry.soft_cap
        capped = cap * torch.tanh(logits / cap) if cap else logits
        return capped.softmax(-1).gather(1, wanted)[:, 0]

    pairs = state_gradients(model, [row.ids for row in tokens], read)
    dataset = _packed(model, found, tokens, pairs, isinstance(facts, Fact))
    said = f"centred logit{before_cap(model)}" if target == "logit" else "probability"
    texts = [model.tokenizer.decode([i]) for i in ids]
    return Gradients(
        dataset.assign_coords(target=("fact", np.array(texts, dtype=str))),
        provenance(
            model,
            tokens,
            kind=Gradients.kind,
            projection="gradient ⊙ state, summed over d_model",
            layer_norm="recomputed",
            target=f"{said} of {'the answer' if token == 'answer' else 'the top-1 token'} at END",
            notes=[*notes, "layer l is the state that enters block l"],
            unit="logits" if target == "logit" else "probability",
        ),
    )


def _target_ids(model: FactModel, facts: Sequence[Fact], token: str) -> tuple[list[int], list[str]]:
    if token == "top1":
        return [row[0] for row in model.top_ids(facts, 1)], []
    chosen = [attribute_tokens(model.tokenizer, fact, [fact.answer])[0] for fact in facts]
    for one in chosen:
        if one.token_id >= model.d_vocab:
            raise FactvizError(
                f"answer {one.word!r} has token {one.token_id}, but the model has logits 0 to "
                f"{model.d_vocab - 1}: is this its tokenizer?"
            )
    return [one.token_id for one in chosen], [f"{t.word}: {t.note}" for t in chosen if t.note]


def _packed(
    model: FactModel,
    facts: Sequence[Fact],
    tokens: Sequence[PromptTokens],
    pairs: Sequence[tuple[Tensor, Tensor]],
    single: bool,
) -> xr.Dataset:
    shape = (len(facts), model.n_layers, max(map(len, tokens)))
    dtype = np.float64 if pairs[0][0].dtype == torch.float64 else np.float32
    values, sizes = np.full(shape, np.nan, dtype), np.full(shape, np.nan, dtype)
    for fact, (state, slope) in enumerate(pairs):
        product = state.to(slope) * slope
        product = product if product.dtype == torch.float64 else product.float()
        if not bool(product.isfinite().all()):
            raise FactvizError(
                f"{model.name} gives gradients that are not finite (NaN or infinity) for "
                f"{facts[fact].prompt[:60]!r}: load it with dtype='float32'"
            )
        values[fact, :, : product.shape[1]] = product.sum(-1).cpu().numpy()
        sizes[fact, :, : product.shape[1]] = product.norm(dim=-1).cpu().numpy()
    dims = ("fact", "layer", "position")
    return xr.Dataset(
        {"values": (dims, values), "sizes": (dims, sizes)},
        coords={
            **fact_coordinates(facts),
            **position_coordinates(tokens),
            "layer": np.arange(model.n_layers),
        },
        attrs={"single": single},
    )
