"""The topic X and the answer Y in the residual stream at END, block by block (arXiv 2403.19521)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from factviz.analysis.attribution import TOLERANCE
from factviz.analysis.lens import read_states
from factviz.analysis.mlp_terms import EndStates, end_states
from factviz.analysis.outcomes import answer_id
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance, texts
from factviz.analysis.topics import read_topics
from factviz.facts.checks import check_seed
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel, check_model
from factviz.results.token_trace import PLACES, TOKENS, TokenTrace

_NUMBERS = 1 << 24


@torch.inference_mode()
def follow_tokens(model: FactModel, facts: Fact | Iterable[Fact], *, seed: int = 0) -> TokenTrace:
    """Read the topic X and the answer Y in r_pre, r_mid and r_post of every layer at END.

    States are read as by `lens`: final norm recomputed on each, then the unembedding.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    seed : int
        Of the control: another fact's X and Y, of the same relation where one differs in both.

    Returns
    -------
    TokenTrace
        Centred logits and ranks (1 is the top) of X, Y, another's X and Y [token, layer, place].
        In parallel blocks there is no r_mid: NaN there, and said. A topic of several tokens is
        known by its last.

    Raises
    ------
    FactvizError
        If states are not finite, or the last one does not give the model's own logits.

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521.
    """
    check_model(model)
    found = as_facts(facts)
    tokens = model.tokenize_all(found)
    topics = read_topics(model, found)
    ids, others = _followed(found, topics.ids, [answer_id(model, fact) for fact in found], seed)
    states = end_states(model, tokens)
    _check_last(states)
    notes = [] if not states.parallel else [
        "parallel blocks: attention and MLP read the same state, so that there is no r_mid"
    ]  # fmt: skip
    if (others < 0).any():
        notes.append(f"{int((others < 0).sum())} facts have no other with another topic and answer")
    origin = provenance(
        model,
        tokens,
        kind=TokenTrace.kind,
        projection="logit lens: final layer norm recomputed on each state, then W_U",
        layer_norm="recomputed",
        target=f"centred logits at END{before_cap(model)}",
        notes=[*notes, *topics.notes],
        control="X and Y of another fact, of the same relation where one differs in both",
        blocks="parallel" if states.parallel else "sequential",
    )
    dataset = _packed(model, found, ids, *_read(states, ids))
    dataset.attrs = {"single": isinstance(facts, Fact), "parallel": states.parallel}
    return TokenTrace(dataset, origin)


def _followed(
    facts: Sequence[Fact], x: Sequence[int], y: Sequence[int], seed: int
) -> tuple[Int[np.ndarray, "fact token"], Int[np.ndarray, " fact"]]:
    """Token ids in the order of `TOKENS`, −1 where there is none; and whose the others are."""
    check_seed(seed)
    rng = np.random.default_rng(seed)
    relations, own = np.array([fact.relation for fact in facts]), np.array([x, y]).T
    others = np.full(len(facts), -1)
    for number in range(len(facts)):
        differ = (own != own[number]).all(1) & (own != own[number, ::-1]).all(1)
        pool = np.flatnonzero(differ & (relations == relations[number]))
        pool = pool if len(pool) else np.flatnonzero(differ)
        if len(pool):
            others[number] = rng.choice(pool)
    theirs = np.where(others[:, None] >= 0, own[others], -1)
    return np.concatenate([own, theirs], 1), others


def _read(states: EndStates, ids: Int[np.ndarray, "fact token"]) -> tuple[np.ndarray, np.ndarray]:
    """Logits and ranks [fact, token, layer, place]."""
    layers = states.model.n_layers
    logits = np.full((*ids.shape, layers, len(PLACES)), np.nan)
    ranks = np.full(logits.shape, -1)
    for layer in range(layers):
        rows = [states.before(layer), None if states.parallel else states.mid(layer)]
        for place, state in enumerate([*rows, states.after(layer)]):
            if state is not None:
                at = (slice(None), slice(None), layer, place)
                logits[at], ranks[at] = _one(states.model, state, ids)
    return logits, ranks


def _one(
    model: FactModel, state: Float[Tensor, "fact d_model"], ids: Int[np.ndarray, "fact token"]
) -> tuple[np.ndarray, np.ndarray]:
    wanted = torch.from_numpy(np.maximum(ids, 0)).to(state.device)
    found: list[list[Tensor]] = []
    step = max(1, _NUMBERS // model.d_vocab)
    for rows, own in zip(state.to(model.dtype).split(step), wanted.split(step), strict=True):
        logits = read_states(model, rows)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        values = logits.gather(1, own)
        ranks = [(logits > column[:, None]).sum(-1) + 1 for column in values.T]
        found.append([values - logits.mean(-1, keepdim=True), torch.stack(ranks, 1)])
    values, ranks = (torch.cat(part).cpu().numpy() for part in zip(*found, strict=True))
    return np.where(ids >= 0, values, np.nan), np.where(ids >= 0, ranks, -1)


def _check_last(states: EndStates) -> None:
    """The last state must give the model's own logits, or this reads something else."""
    model, logits = states.model, states.states.logits
    last = read_states(model, states.after(model.n_layers - 1).to(model.dtype))
    gap, size = float((last - logits.to(last)).abs().max()), float(logits.abs().max())
    if not gap <= 10 * TOLERANCE.get(model.dtype, 0.1) * max(1.0, size):
        raise FactvizError(
            f"{model.name} ({model.architecture}): the last state read through its final norm "
            f"misses the model's own logits by {gap:.2g}"
        )


def _packed(
    model: FactModel,
    facts: Sequence[Fact],
    ids: Int[np.ndarray, "fact token"],
    logits: np.ndarray,
    ranks: np.ndarray,
) -> xr.Dataset:
    size = len(model.tokenizer)
    words = [[model.tokenizer.decode([i]) if 0 <= i < size else "" for i in row]
             for row in ids.tolist()]  # fmt: skip
    dims = ("fact", "token", "layer", "place")
    data: dict[str, Any] = {
        "logit": (dims, logits, {"units": "logits"}),
        "rank": (dims, ranks),
        "token_id": (("fact", "token"), ids),
    }
    coords = fact_coordinates(facts) | {
        "token": np.array(TOKENS, dtype=object),
        "layer": np.arange(model.n_layers),
        "place": np.array(PLACES, dtype=object),
        "word": (("fact", "token"), texts(words, len(TOKENS))),
    }
    return xr.Dataset(data, coords=coords)
