"""The attributes rate: what a hidden state says about its subject (arXiv 2304.14767)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor

from factviz.analysis.positions import NAMED, named_positions, subject_positions
from factviz.analysis.provenance import RAW, fact_coordinates, provenance
from factviz.analysis.vocabularies import (
    SMALL,
    Vocabularies,
    Vocabulary,
    kept_tokens,
    subject_vocabularies,
)
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel
from factviz.models.states import input_embedding, record_states
from factviz.results.attributes_rate import AttributesRate

_NUMBERS = 1 << 24
_METRICS = ("precision", "recall", "lift")


@torch.inference_mode()
def attributes_rate(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    top_k: int = 50,
    vocabulary: Vocabulary | None = None,
) -> AttributesRate:
    """How many of a state's top tokens are attributes of the subject, layer by layer.

    A hidden state goes through the raw output embedding, without a layer norm. Stop words, tokens
    of two characters or less and markers are dropped; of the first ``top_k`` left, the share that
    is in the subject's attribute vocabulary is the precision.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    top_k : int
        How many tokens of a state are looked at.
    vocabulary : optional
        The attributes: by default each fact's answer and S. A text (every token counts), words
        (the first new token of each counts), a .txt or .csv file (columns subject and word, or
        subject and text), or a mapping from subject to text or words.

    Returns
    -------
    AttributesRate
        precision, recall (fractions) and lift over chance [fact, position, layer] at the subject's
        last and first token, behind the subject and at END; layer −1 is the embedding, layer l what
        block l leaves. Controls: the same states against the other subjects' vocabularies, and the
        mean input embedding of the subject's tokens.

    Raises
    ------
    FactvizError
        If no attribute is a token that counts, a subject has no vocabulary, or states are not
        finite.

    References
    ----------
    Geva et al., *Dissecting Recall of Factual Associations*, arXiv 2304.14767.
    """
    if top_k < 1:
        raise FactvizError(f"top_k={top_k} tokens are none: ask for 1 or more")
    found = as_facts(facts)
    tokens = [model.tokenize(fact) for fact in found]
    kept = kept_tokens(model)
    attributes = subject_vocabularies(model, found, vocabulary, kept)
    tops = _top_states(model, found, tokens, kept, top_k)
    means = _top_embeddings(model, found, tokens, kept, top_k)
    rates = _Rates(found, attributes.ids, kept)
    dataset = _packed(model, found, tops, means, rates)
    dataset.attrs = {"single": isinstance(facts, Fact), "top_k": tops.shape[-1]}
    return AttributesRate(dataset, _provenance(model, tokens, attributes, rates, tops.shape[-1]))


def top_tokens(
    model: FactModel, states: Float[Tensor, "n d_model"], kept: Bool[np.ndarray, " vocab"], k: int
) -> Int[np.ndarray, "n k"]:
    """The ids of the ``k`` kept tokens with the highest raw scores, best first."""
    weight = model.unembedding[0]
    dropped = torch.from_numpy(~kept).to(weight.device)
    k = min(k, int(kept.sum()))
    pieces: list[Tensor] = []
    for rows in states.to(weight).split(max(1, _NUMBERS // len(weight))):
        scores = (rows @ weight.T).masked_fill(dropped, -torch.inf)
        pieces.append(scores.topk(k).indices)
    return torch.cat(pieces).cpu().numpy()


def _top_states(
    model: FactModel,
    facts: Sequence[Fact],
    tokens: Sequence[PromptTokens],
    kept: Bool[np.ndarray, " vocab"],
    top_k: int,
) -> Int[np.ndarray, "fact position layer k"]:
    """Top tokens at the named positions; −1 where a prompt has no such position."""
    named = [named_positions(fact, row) for fact, row in zip(facts, tokens, strict=True)]
    # A missing position is read at END and blanked: rows keep one shape.
    at = [[one.get(name, one["end"]) for name in NAMED] for one in named]
    states = record_states(model, [row.ids for row in tokens], at).residual.transpose(1, 2)
    tops = top_tokens(model, states.flatten(0, 2), kept, top_k)
    tops = tops.reshape(*states.shape[:3], -1)
    missing = np.array([[name not in one for name in NAMED] for one in named])
    tops[missing] = -1
    return tops


def _top_embeddings(
    model: FactModel,
    facts: Sequence[Fact],
    tokens: Sequence[PromptTokens],
    kept: Bool[np.ndarray, " vocab"],
    top_k: int,
) -> Int[np.ndarray, "fact k"]:
    embedding = input_embedding(model)
    rows = [
        [row.ids[p] for p in subject_positions(fact, row)]
        for fact, row in zip(facts, tokens, strict=True)
    ]
    means = [embedding[torch.tensor(ids, device=embedding.device)].mean(0) for ids in rows]
    return top_tokens(model, torch.stack(means), kept, top_k)


class _Rates:
    """Counts hits of top tokens in vocabularies: the fact's own, and the other subjects'."""

    def __init__(
        self,
        facts: Sequence[Fact],
        own: Sequence[frozenset[int]],
        kept: Bool[np.ndarray, " vocab"],
    ) -> None:
        self.facts, self.own = facts, own
        self.size, self.tokens = int(kept.sum()), len(kept)
        by_subject: dict[str, set[int]] = {}
        for fact, ids in zip(facts, own, strict=True):
            by_subject.setdefault(fact.subject, set()).update(ids)
        self.subjects = {name: ids for name, ids in by_subject.items() if ids}
        self._hits = sum((self._weights(ids, 1) for ids in self.subjects.values()), self._none())
        self._shares = sum(
            (self._weights(ids, len(ids)) for ids in self.subjects.values()), self._none()
        )

    def _none(self) -> Float[np.ndarray, " vocab"]:
        return np.zeros(self.tokens + 1)  # the last entry is what −1, no token, looks up

    def _weights(self, ids: Iterable[int], divisor: int) -> Float[np.ndarray, " vocab"]:
        table = self._none()
        table[list(ids)] = 1 / divisor
        return table

    def of(self, fact: int, tops: Int[np.ndarray, "... k"]) -> dict[str, np.ndarray]:
        """Precision, recall and lift [...] of one fact's top tokens; NaN where there is none."""
        ids, k = self.own[fact], tops.shape[-1]
        found = self._weights(ids, 1)[tops].sum(-1)
        empty = np.full_like(found, np.nan)
        if not ids:
            return dict.fromkeys(_METRICS, empty)
        recall = np.where(tops[..., 0] < 0, np.nan, found / len(ids))
        return {
            "precision": recall * len(ids) / k,
            "recall": recall,
            "lift": recall * self.size / k,
        }

    def shuffled(self, fact: int, tops: Int[np.ndarray, "... k"]) -> dict[str, np.ndarray]:
        """The same against every other subject's vocabulary, the mean over these subjects."""
        own = self.subjects.get(self.facts[fact].subject, set())
        others, k = len(self.subjects) - bool(own), tops.shape[-1]
        hits = (self._hits - self._weights(own, 1))[tops].sum(-1)
        if not own or not others:
            return dict.fromkeys(_METRICS, np.full_like(hits, np.nan))
        shares = (self._shares - self._weights(own, len(own)))[tops].sum(-1)
        recall = np.where(tops[..., 0] < 0, np.nan, shares / others)
        return {
            "precision": np.where(np.isnan(recall), np.nan, hits / others / k),
            "recall": recall,
            "lift": recall * self.size / k,
        }


def _packed(
    model: FactModel,
    facts: Sequence[Fact],
    tops: Int[np.ndarray, "fact position layer k"],
    means: Int[np.ndarray, "fact k"],
    rates: _Rates,
) -> xr.Dataset:
    rows = range(len(facts))
    own = [rates.of(i, tops[i]) for i in rows]
    shuffled = [rates.shuffled(i, tops[i]) for i in rows]
    embedding = [rates.of(i, means[i]) for i in rows]
    state = ("fact", "position", "layer")
    data: dict[str, Any] = {}
    for name in _METRICS:
        data[name] = (state, np.stack([one[name] for one in own]))
        data[f"{name}_shuffled"] = (state, np.stack([one[name] for one in shuffled]))
        data[f"{name}_embedding"] = ("fact", np.array([float(one[name]) for one in embedding]))
    data["vocabulary_size"] = ("fact", np.array([len(ids) for ids in rates.own]))
    data["chance"] = ("fact", np.array([len(ids) / rates.size for ids in rates.own]))
    coords = {
        **fact_coordinates(facts),
        "position": list(NAMED),
        "layer": np.arange(-1, model.n_layers),
    }
    return xr.Dataset(data, coords=coords)


def _provenance(
    model: FactModel,
    tokens: Sequence[PromptTokens],
    attributes: Vocabularies,
    rates: _Rates,
    top_k: int,
) -> dict[str, Any]:
    sizes = [len(ids) for ids in attributes.ids if ids]
    mean = sum(sizes) / len(sizes)
    notes = list(attributes.notes)
    if mean < SMALL:
        notes.append(
            f"the vocabularies are small ({mean:.1f} tokens on average): precision at {top_k} "
            f"cannot pass {min(1.0, mean / top_k):.3f}; read recall and lift"
        )
    if len(rates.subjects) < 2:
        notes.append("one subject only: there is no shuffled-subject control and no interval")
    notes.append("layer −1 is the embedding; layer l is what block l leaves")
    return provenance(
        model,
        tokens,
        kind=AttributesRate.kind,
        projection=RAW,
        layer_norm="none",
        target=f"share of the first {top_k} tokens that are attributes of the subject",
        notes=notes,
        top_k=top_k,
        vocabulary=attributes.source,
        tokens_counted=rates.size,
        facts=len(tokens),
    )
