"""Which heads map a subject's tokens to its attributes, in all layers (arXiv 2304.14767)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int

from factviz.analysis.head_vocabulary import PROJECTION, subject_ids
from factviz.analysis.provenance import provenance
from factviz.analysis.vocabularies import Vocabularies, Vocabulary, subject_vocabularies
from factviz.facts.checks import check_counts
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.models.vocabulary_maps import mapped
from factviz.results.hub_map import HubMap


@dataclass(frozen=True)
class _Subjects:
    """Subjects with their tokens and attributes.

    ``pairs`` [pair, 2] are (subject, place in ``tokens``); ``keys`` are subject · vocabulary +
    attribute, sorted; ``members`` [attribute, subject] says whose attribute each of ``attributes``
    is.
    """

    names: list[str]
    tokens: Int[np.ndarray, " token"]
    counts: Int[np.ndarray, " subject"]
    pairs: Int[np.ndarray, "pair two"]
    keys: Int[np.ndarray, " key"]
    attributes: Int[np.ndarray, " attribute"]
    members: Float[np.ndarray, "attribute subject"]


@torch.inference_mode()
def map_hubs(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    k: int = 10,
    vocabulary: Vocabulary | None = None,
    n_random: int = 256,
    seed: int = 0,
) -> HubMap:
    """For every head, the share of subjects whose tokens it maps to one of their attributes.

    A subject counts for a head if an attribute is among the first ``k`` of a row of
    E · W_V W_O · W_U that belongs to one of the subject's tokens. From the weights alone: prompts
    are only cut into tokens.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        Facts of one subject are put together.
    k : int
        How far down a row to look.
    vocabulary : optional
        The attributes, as in `attributes_rate`; by default answers and S.
    n_random : int
        Random vocabulary tokens behind the control: what share of subjects to expect with as many
        random tokens in place of the subject's own.
    seed : int

    Returns
    -------
    HubMap
        share and control [layer, head], prevalence and prevalence_control [layer] (any head of the
        layer), hits [subject, layer, head]; fractions of subjects.

    Raises
    ------
    FactvizError
        If k or n_random is below 1, or no attribute is a token.
    """
    check_counts(k=(k, 1), n_random=(n_random, 1))
    found = as_facts(facts)
    kept = np.ones(model.d_vocab, dtype=bool)
    vocabularies = subject_vocabularies(model, found, vocabulary, kept)
    subjects = _subjects(model, found, vocabularies.ids)
    pool = _pool(model, subjects, n_random, seed)
    ids = torch.from_numpy(np.concatenate([subjects.tokens, pool]))
    shape = (model.n_layers, model.n_heads)
    hits = np.zeros((len(subjects.names), *shape), dtype=bool)
    control, any_control = np.zeros(shape), np.zeros(model.n_layers)
    for layer in range(model.n_layers):
        some = np.zeros((len(pool), len(subjects.names)), dtype=bool)
        for head in range(model.n_heads):
            tops = mapped(model, layer, head, ids, k)[1].cpu().numpy()
            hits[:, layer, head] = _own(subjects, tops[: len(subjects.tokens)], model.d_vocab)
            random = _random(subjects, tops[len(subjects.tokens) :], model.d_vocab)
            control[layer, head] = _expected(random, subjects.counts)
            some |= random
        any_control[layer] = _expected(some, subjects.counts)
    dataset = _packed(subjects, hits, control, any_control)
    return HubMap(dataset, _provenance(model, vocabularies, k, len(pool), seed))


def _subjects(
    model: FactModel, facts: Sequence[Fact], attributes: Sequence[frozenset[int]]
) -> _Subjects:
    tokens: dict[str, dict[int, None]] = {}
    words: dict[str, set[int]] = {}
    for fact, ids in zip(facts, attributes, strict=True):
        tokens.setdefault(fact.subject, {}).update(dict.fromkeys(subject_ids(model, fact)))
        words.setdefault(fact.subject, set()).update(ids)
    names = [name for name in tokens if words[name] and tokens[name]]
    unique = np.unique([i for name in names for i in tokens[name]])
    pairs = [(s, i) for s, name in enumerate(names) for i in tokens[name]]
    known = np.unique([i for name in names for i in words[name]])
    members = np.zeros((len(known), len(names)), dtype=np.float32)
    for subject, name in enumerate(names):
        members[np.searchsorted(known, sorted(words[name])), subject] = 1
    return _Subjects(
        names=names,
        tokens=unique,
        counts=np.array([len(tokens[name]) for name in names]),
        pairs=np.array([(s, np.searchsorted(unique, i)) for s, i in pairs]),
        keys=np.array(sorted(s * model.d_vocab + i for s, n in enumerate(names) for i in words[n])),
        attributes=known,
        members=members,
    )


def _pool(
    model: FactModel, subjects: _Subjects, n_random: int, seed: int
) -> Int[np.ndarray, " random"]:
    """Random tokens, none of them a subject's or a marker."""
    special = {i for i in model.tokenizer.all_special_ids if i is not None}
    size = min(model.d_vocab, len(model.tokenizer))
    free = np.setdiff1d(np.arange(size), [*subjects.tokens, *special])
    if not len(free):
        raise FactvizError("every token of the vocabulary is a subject's: no random ones are left")
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(free, size=min(n_random, len(free)), replace=False))


def _own(
    subjects: _Subjects, tops: Int[np.ndarray, "token rank"], size: int
) -> Bool[np.ndarray, " subject"]:
    """Whether a row of one of the subject's tokens holds one of its attributes."""
    subject, token = subjects.pairs.T
    hit = np.isin(subject[:, None] * size + tops[token], subjects.keys).any(1)
    found = np.zeros(len(subjects.names), dtype=bool)
    found[subject[hit]] = True
    return found


def _random(
    subjects: _Subjects, tops: Int[np.ndarray, "random rank"], size: int
) -> Bool[np.ndarray, "random subject"]:
    """Whether a random token's row holds an attribute of each subject."""
    place = np.full(size, len(subjects.attributes))
    place[subjects.attributes] = np.arange(len(subjects.attributes))
    held = np.zeros((len(tops), len(subjects.attributes) + 1), dtype=np.float32)
    held[np.arange(len(tops))[:, None], place[tops]] = 1
    return held[:, :-1] @ subjects.members > 0


def _expected(
    hits: Bool[np.ndarray, "random subject"], counts: Int[np.ndarray, " subject"]
) -> float:
    """The share of subjects to expect with as many random tokens as each has of its own."""
    return float((1 - (1 - hits.mean(0)) ** counts).mean())


def _packed(
    subjects: _Subjects,
    hits: Bool[np.ndarray, "subject layer head"],
    control: Float[np.ndarray, "layer head"],
    any_control: Float[np.ndarray, " layer"],
) -> xr.Dataset:
    grid = ("layer", "head")
    unit = {"units": "fraction of subjects"}
    return xr.Dataset(
        {
            "share": (grid, hits.mean(0), unit),
            "control": (grid, control, unit),
            "prevalence": ("layer", hits.any(2).mean(0), unit),
            "prevalence_control": ("layer", any_control, unit),
            "hits": (("subject", *grid), hits),
        },
        coords={
            "subject": np.arange(len(subjects.names)),
            "subject_name": ("subject", np.array(subjects.names, dtype=str)),
            "subject_tokens": ("subject", subjects.counts),
            "layer": np.arange(hits.shape[1]),
            "head": np.arange(hits.shape[2]),
        },
    )


def _provenance(
    model: FactModel, vocabularies: Vocabularies, k: int, n_random: int, seed: int
) -> dict[str, Any]:
    return provenance(
        model,
        [],
        kind=HubMap.kind,
        projection=PROJECTION,
        layer_norm="none",
        target=f"an attribute among the first {k} of a subject token's row",
        notes=vocabularies.notes,
        k=k,
        vocabulary=vocabularies.source,
        n_random=n_random,
        seed=seed,
    )
