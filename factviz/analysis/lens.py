"""The logit lens: every state read as if it were the last (arXiv 2304.14767)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from factviz.analysis.provenance import (
    before_cap,
    fact_coordinates,
    position_coordinates,
    provenance,
    texts,
)
from factviz.facts.errors import FactvizError
from factviz.facts.tokens import AttributeToken, attribute_tokens
from factviz.models.factmodel import FactModel
from factviz.models.states import States, plain, record_states
from factviz.models.traced import Trace
from factviz.results.lens import LogitLens

# States are read a few at a time: a row of logits is as long as the vocabulary.
_NUMBERS = 1 << 24
_LOOSE = {torch.float64: 1e-8, torch.float32: 1e-4}


@torch.inference_mode()
def lens(trace: Trace, attributes: Iterable[str | int] | None = None) -> LogitLens:
    """Read the residual stream behind every layer, at every position, as next-token logits.

    The final layer norm is recomputed on each state (not frozen), then the unembedding follows.

    Parameters
    ----------
    trace : Trace
        Its prompts are run once more, because a trace keeps END only.
    attributes : iterable of str or int, optional
        Words or token ids to follow; by default each fact's answer.

    Returns
    -------
    LogitLens
        logits (centred), probabilities and ranks (1 is the top) of each attribute
        [attribute, layer, position], and the top token [layer, position]. Layer −1 is the
        embedding, layer l what block l leaves.

    Raises
    ------
    FactvizError
        If states are not finite, or the last state at END does not give the model's own logits.

    References
    ----------
    nostalgebraist, *interpreting GPT: the logit lens*; Geva et al., arXiv 2304.14767.
    """
    model = trace.model
    chosen = _chosen(trace, attributes)
    states = record_states(model, [row.ids for row in trace.tokens])
    width = max(map(len, chosen))
    ids = torch.tensor(
        [[t.token_id for t in row] + [0] * (width - len(row)) for row in chosen],
        device=states.residual.device,
    )
    found = {name: array.cpu().numpy() for name, array in _read(model, states, ids).items()}
    _check_last(trace, states)
    return _packed(trace, chosen, found)


def _chosen(trace: Trace, attributes: Iterable[str | int] | None) -> list[list[AttributeToken]]:
    if attributes is not None and not isinstance(attributes, (str, int)):
        attributes = list(attributes)
    chosen = [
        attribute_tokens(trace.model.tokenizer, f, [f.answer] if attributes is None else attributes)
        for f in trace.facts
    ]
    size = trace.model.d_vocab
    for token in (token for row in chosen for token in row):
        if token.token_id >= size:
            raise FactvizError(
                f"attribute {token.word!r} has token {token.token_id}, but the model has logits 0 "
                f"to {size - 1}: is this its tokenizer?"
            )
    return chosen


def read_states(model: FactModel, states: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
    """States through the final norm, recomputed, and the unembedding: logits before a soft-cap."""
    normed = plain(model.geometry.final_norm)(states)
    return plain(model.geometry.unembed)(normed) * model.geometry.logit_multiplier


def _read(
    model: FactModel, states: States, ids: Int[Tensor, "fact attribute"]
) -> dict[str, Tensor]:
    residual = states.residual
    shape = residual.shape[:3]
    flat = residual.flatten(0, 2)
    per_state = ids.repeat_interleave(shape[1] * shape[2], 0)
    step = max(1, _NUMBERS // model.d_vocab)
    pieces = [
        _one(model, rows, wanted)
        for rows, wanted in zip(flat.split(step), per_state.split(step), strict=True)
    ]
    joined = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    return {name: array.unflatten(0, shape) for name, array in joined.items()}


def _one(
    model: FactModel, rows: Float[Tensor, "n d_model"], wanted: Int[Tensor, "n attribute"]
) -> dict[str, Tensor]:
    logits = read_states(model, rows)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    cap = model.geometry.soft_cap
    probability = (cap * torch.tanh(logits / cap) if cap else logits).softmax(-1)
    own = logits.gather(1, wanted)
    top = logits.argmax(-1)
    mean = logits.mean(-1, keepdim=True)
    # One attribute at a time: [n, attribute, vocab] would be large.
    ranks = [(logits > column[:, None]).sum(-1) + 1 for column in own.T]
    return {
        "logits": own - mean,
        "probabilities": probability.gather(1, wanted),
        "ranks": torch.stack(ranks, -1),
        "top_id": top,
        "top_logit": logits.gather(1, top[:, None])[:, 0] - mean[:, 0],
        "top_probability": probability.gather(1, top[:, None])[:, 0],
    }


def _check_last(trace: Trace, states: States) -> None:
    """The last state at END must give the model's own logits, or the lens reads something else."""
    model = trace.model
    ends = torch.tensor([len(row) - 1 for row in trace.tokens], device=states.residual.device)
    last = states.residual[torch.arange(len(ends), device=ends.device), -1, ends]
    gap = float((read_states(model, last) - trace.logits.to(last)).abs().max())
    if not gap <= _LOOSE.get(model.dtype, 0.1) * max(1.0, float(trace.logits.abs().max())):
        raise FactvizError(
            f"{model.name} ({model.architecture}): the last state read through its final norm "
            f"misses the model's own logits by {gap:.2g}; were its weights changed since the trace?"
        )


def _packed(
    trace: Trace, chosen: Sequence[Sequence[AttributeToken]], found: dict[str, np.ndarray]
) -> LogitLens:
    """Label the axes; what is padding becomes NaN, or −1 in ids and ranks."""
    there = np.array([[i < len(row) for i in range(found["top_id"].shape[2])]
                      for row in trace.tokens])[:, None, :]  # fmt: skip
    known = np.array([[i < len(row) for i in range(max(map(len, chosen)))] for row in chosen])
    tops = np.where(there, found["top_id"], -1)
    table = ("fact", "attribute", "layer", "position")
    data: dict[str, Any] = {}
    for name, unit in (("logits", "logits"), ("probabilities", "probability"), ("ranks", "rank")):
        values = np.moveaxis(found[name], -1, 1)
        empty = -1 if name == "ranks" else np.nan
        full = known[:, :, None, None] & there[:, None]
        data[name] = (table, np.where(full, values, empty), {"units": unit})
    state = ("fact", "layer", "position")
    data["top_id"] = (state, tops)
    data["top_logit"] = (state, np.where(there, found["top_logit"], np.nan))
    data["top_probability"] = (state, np.where(there, found["top_probability"], np.nan))
    coords = {
        **fact_coordinates(trace.facts),
        **position_coordinates(trace.tokens, trace.groups),
        "layer": np.arange(-1, trace.model.n_layers),
        "attribute": np.arange(known.shape[1]),
        **_attribute_coordinates(chosen),
        "top_token": (state, _decoded(trace.model, tops)),
    }
    dataset = xr.Dataset(data, coords=coords, attrs={"single": trace.single})
    return LogitLens(dataset, _provenance(trace, chosen))


def _attribute_coordinates(chosen: Sequence[Sequence[AttributeToken]]) -> dict[str, Any]:
    width, table = max(map(len, chosen)), ("fact", "attribute")
    return {
        "attribute_word": (table, texts([[t.word for t in row] for row in chosen], width)),
        "attribute_token": (table, texts([[t.text for t in row] for row in chosen], width)),
        "role": (table, texts([[t.role for t in row] for row in chosen], width)),
    }


def _decoded(model: FactModel, ids: np.ndarray) -> np.ndarray:
    size = len(model.tokenizer)
    names = {
        int(i): model.tokenizer.decode([int(i)]) if 0 <= i < size else "" for i in np.unique(ids)
    }
    return np.array([names[int(i)] for i in ids.ravel()], dtype=str).reshape(ids.shape)


def _provenance(trace: Trace, chosen: Sequence[Sequence[AttributeToken]]) -> dict[str, Any]:
    said = [f"{token.word}: {token.note}" for row in chosen for token in row if token.note]
    cap = before_cap(trace.model)
    return provenance(
        trace.model,
        trace.tokens,
        kind=LogitLens.kind,
        projection="logit lens: final layer norm recomputed on each state, then W_U",
        layer_norm="recomputed",
        target=f"centred logit{cap}",
        notes=[*said, "layer −1 is the embedding; layer l is what block l leaves"],
    )
