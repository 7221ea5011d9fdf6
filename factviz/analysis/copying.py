"""Copying scores: whether a head's W_OV gives back the token that it reads.

Two definitions, both the share of topic tokens that are among the first ``k`` of their own row:

- *weights*: the row of E · W_V W_O · W_U, raw weights, no norms, no biases (P3's head map,
  METHODS.md; on untied models the input embedding extracts nothing);
- *read*: the row of v · W_O · W_U (centred, with the final norm's gain), v the value vector of the
  topic's last token in its prompt. After Wang et al., *Interpretability in the Wild*, arXiv
  2211.00593, who take the state behind the first MLP through W_OV and count the top 5; here it is
  the state that the head really reads, through its own norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from factviz.analysis.directions import working_dtype
from factviz.analysis.writes import vocabulary_logits
from factviz.facts.errors import FactvizError
from factviz.models.factmodel import FactModel
from factviz.models.geometry import linear_weight
from factviz.models.traced import Trace
from factviz.models.vocabulary_maps import mapped


@dataclass(frozen=True)
class Copying:
    """Shares [layer, head] of topic tokens; the control is the share of other topics' tokens."""

    weights: Float[np.ndarray, "layer head"]
    weights_control: Float[np.ndarray, "layer head"]
    read: Float[np.ndarray, "layer head"]
    read_control: Float[np.ndarray, "layer head"]
    tokens: int
    notes: list[str]


class TopicValues:
    """The value vectors of topics' last tokens, of each token's first prompt [layer][token]."""

    def __init__(self, topics: Sequence[int], places: Sequence[int], most: int) -> None:
        first: dict[int, int] = {}
        for fact, token in enumerate(topics):
            first.setdefault(token, fact)
        chosen = list(first)[:most]
        self.ids, self.left_out = chosen, len(first) - len(chosen)
        self._row = {first[token]: row for row, token in enumerate(chosen)}
        self._places = places
        self._held: dict[int, list[Tensor]] = {}

    def look(self, traced: Trace, batch: Sequence[int]) -> None:
        """Keep what a batch holds of them."""
        for row, fact in enumerate(batch):
            if (token := self._row.get(fact)) is not None:
                at = self._places[fact]
                self._held[token] = [layer[row, at].clone() for layer in traced.values]

    def of_layer(self, layer: int) -> Float[Tensor, "token kv_head d_head"]:
        """In the order of ``ids``."""
        return torch.stack([self._held[row][layer] for row in range(len(self.ids))])


def copying_scores(model: FactModel, values: TopicValues, *, k: int) -> Copying:
    """Both copying scores of every head.

    Parameters
    ----------
    model : FactModel
    values : TopicValues
        Filled by a run over the prompts.
    k : int
        How far down a row the token may stand.
    """
    ids = torch.tensor(values.ids, device=model.device)
    table = np.full((4, model.n_layers, model.n_heads), np.nan)
    notes: list[str] = []
    for layer in range(model.n_layers):
        for head in range(model.n_heads):
            tops = _read_tops(model, values.of_layer(layer), layer, head, k)
            table[2:, layer, head] = _shares(ids.cpu().numpy(), tops)
            try:
                tops = mapped(model, layer, head, ids, k)[1].cpu().numpy()
            except FactvizError as error:  # embeddings of another width
                notes = [f"no copying score from the weights alone: {error}"]
                continue
            table[:2, layer, head] = _shares(ids.cpu().numpy(), tops)
    if values.left_out:
        notes.append(
            f"copying scores are of the first {len(values.ids)} topic tokens; {values.left_out} "
            "more were left out"
        )
    return Copying(*table, tokens=len(values.ids), notes=notes)


def _read_tops(
    model: FactModel,
    values: Float[Tensor, "token kv_head d_head"],
    layer: int,
    head: int,
    k: int,
) -> Int[np.ndarray, "token rank"]:
    """The first tokens in what a head would write if it attended to the topic alone."""
    parts = model.geometry.layers[layer]
    weight = linear_weight(parts.output).to(working_dtype(model))
    width = weight.shape[1] // model.n_heads
    own = values[:, head * values.shape[1] // model.n_heads].to(weight)
    written = own @ weight[:, head * width : (head + 1) * width].T
    if parts.attention_post is not None:  # its scale changes no order
        written = model.geometry.norm(parts.attention_post).push(written)
    # Nor does the final norm's; the multiplier's sign does.
    written = written * model.geometry.residual_multiplier
    logits = vocabulary_logits(model, written, written.new_ones(len(written)))
    return logits.topk(min(k, logits.shape[1])).indices.cpu().numpy()


def _shares(
    ids: Int[np.ndarray, " token"], tops: Int[np.ndarray, "token rank"]
) -> tuple[float, float]:
    """How many rows hold their own token, and how many of the others' tokens they hold."""
    own = (tops == ids[:, None]).any(1)
    others = np.isin(tops, ids).sum(1) - own
    control = float(others.mean() / (len(ids) - 1)) if len(ids) > 1 else float("nan")
    return float(own.mean()), control
