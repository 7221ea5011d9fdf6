"""The three steps of recall on one layer axis: enrichment, propagation, extraction (P3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from factviz.analysis.attention_knockout import knock_out_attention
from factviz.analysis.attributes_rate import attributes_rate
from factviz.analysis.extraction import extraction_events
from factviz.analysis.outcomes import Target
from factviz.analysis.vocabularies import Vocabulary
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.results.attention_knockout import AttentionKnockout
from factviz.results.attributes_rate import AttributesRate
from factviz.results.extraction import Extraction
from factviz.results.recall_flow import RecallFlow

_SHARED = ("prompt", "subject", "relation", "answer", "target_id", "target_token")


def follow_recall(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    *,
    window: int | None = None,
    target: Target = "top1",
    vocabulary: Vocabulary | None = None,
    top_k: int = 50,
    controls: int = 3,
    seed: int = 0,
) -> RecallFlow:
    """Follow an answer through the layers: into the subject's state, to END, and out of it.

    Three analyses with their own defaults, side by side: `attributes_rate` at the subject's last
    token (enrichment), `knock_out_attention` (propagation), `extraction_events` (extraction).

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    window : int, optional
        Layers that a knockout blocks at once.
    target : {"top1", "answer"} or int
        The token that propagation and extraction watch.
    vocabulary, top_k
        The attributes and how many tokens of a state are looked at, as for `attributes_rate`.
    controls, seed
        Draws of random keys, as for `knock_out_attention`.

    Returns
    -------
    RecallFlow
        recall and recall_shuffled [layer] of attributes in the state behind each block, change and
        control [group, layer] in percent, event and rank [sublayer, layer], subject_rank [layer].

    Raises
    ------
    FactvizError
        What the three raise.

    References
    ----------
    Geva et al., *Dissecting Recall of Factual Associations*, arXiv 2304.14767.
    """
    one = isinstance(facts, Fact)
    found = facts if one else as_facts(facts)
    rates = attributes_rate(model, found, top_k=top_k, vocabulary=vocabulary)
    knockout = knock_out_attention(
        model, found, window=window, target=target, tokens=False, controls=controls, seed=seed
    )
    events = extraction_events(model, found, target=target)
    return _joined(rates, knockout, events)


def _joined(rates: AttributesRate, knockout: AttentionKnockout, events: Extraction) -> RecallFlow:
    enriched = rates.dataset.sel(position="subject_last").isel(layer=slice(1, None))
    clean = events.dataset.isel(run=0)
    change = _table(knockout, knockout.change)
    data: dict[str, Any] = {
        "recall": (("fact", "layer"), enriched["recall"].values),
        "recall_shuffled": (("fact", "layer"), enriched["recall_shuffled"].values),
        "change": (("fact", "group", "layer"), change, {"units": "percent"}),
        "control": (("fact", "group", "layer"), _control(knockout, change), {"units": "percent"}),
        "event": (("fact", "sublayer", "layer"), clean["event"].values),
        "rank": (("fact", "sublayer", "layer"), clean["rank"].values),
        "subject_rank": (("fact", "layer"), clean["subject_rank"].values[:, 1:]),
    }
    coords = {name: clean[name].variable for name in ("fact", "sublayer", "layer", *_SHARED)}
    coords |= {
        "group": knockout.dataset["group"].variable,
        "token": (("fact", "sublayer", "layer"), clean["token"].values),
    }
    dataset = xr.Dataset(data, coords=coords, attrs=events.dataset.attrs)
    return RecallFlow(dataset, _provenance(rates, knockout, events))


def _table(knockout: AttentionKnockout, array: xr.DataArray) -> np.ndarray:
    """[fact, group, layer], also for one fact."""
    return array.values[None] if knockout.single else array.values


def _control(knockout: AttentionKnockout, like: np.ndarray) -> np.ndarray:
    if "control" not in knockout.dataset:
        return np.full_like(like, np.nan)
    return _table(knockout, knockout.control_change)


def _provenance(
    rates: AttributesRate, knockout: AttentionKnockout, events: Extraction
) -> dict[str, Any]:
    parts = [one.provenance for one in (rates, knockout, events)]
    notes = [note for part in parts for note in part.get("notes", [])]
    more = {
        "kind": RecallFlow.kind,
        "top_k": int(rates.dataset.attrs["top_k"]),
        "windows": [int(width) for width in knockout.dataset["window"].values],
        "notes": list(dict.fromkeys(notes)),
    }
    return events.provenance | more
