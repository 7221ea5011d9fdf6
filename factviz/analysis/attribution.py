"""Direct logit attribution: how much every head wrote from every token (arXiv 2402.07321).

heads at all sources + MLPs + embedding + bias = the centred logit, and that is checked on every
call against the model's own output.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from factviz.analysis import packing
from factviz.analysis.directions import (
    Directions,
    HeadDirections,
    attribute_directions,
    head_directions,
    working_dtype,
)
from factviz.facts.errors import FactvizError
from factviz.facts.tokens import AttributeToken, attribute_tokens
from factviz.models.geometry import refusal
from factviz.models.traced import Trace
from factviz.results.attribution import Attribution

# Worst |sum − logit| over Σ|parts| that rounding alone gives; a wrong formula gives 1e-2 and more.
TOLERANCE = {
    torch.float64: 1e-6,  # some families compute norms and softmax in float32 whatever they are
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}


@dataclass(frozen=True)
class Parts:
    """One fact's parts, in logits; they add up to ``logits``."""

    heads: Float[Tensor, "attribute layer head source"]
    mlps: Float[Tensor, "attribute layer"]
    embedding: Float[Tensor, " attribute"]
    bias: Float[Tensor, " attribute"]
    logits: Float[Tensor, " attribute"]

    def residual(self) -> float:
        """The worst |sum of the parts − centred logit| over attributes, logits."""
        total = self.heads.double().sum((1, 2, 3)) + self.mlps.double().sum(1)
        total = total + self.embedding.double() + self.bias.double()
        return float((total - self.logits.double()).abs().max())

    def size(self) -> float:
        """Σ|parts| of the attribute with the largest, logits: what rounding is relative to."""
        total = self.heads.abs().sum((1, 2, 3)) + self.mlps.abs().sum(1)
        return float((total + self.embedding.abs() + self.bias.abs()).max())


@torch.inference_mode()
def attribute_logits(
    trace: Trace,
    attributes: Iterable[str | int] | None = None,
    *,
    value_bias: Literal["out", "in"] = "out",
) -> Attribution:
    """Split the centred logits of attributes at END into what each part of the model wrote.

    Parameters
    ----------
    trace : Trace
    attributes : iterable of str or int, optional
        Words or token ids, the same for all facts; by default each fact's answer, S and R.
    value_bias : {"out", "in"}
        Whether b_V and the norm's bias through W_V are counted with the biases or in the heads,
        spread over sources by attention.

    Returns
    -------
    Attribution
        heads [attribute, layer, head, source], mlps [attribute, layer], embedding, bias and logits
        [attribute], all in logits; a leading fact dimension for several facts.

    Raises
    ------
    FactvizError
        If the parts do not add up to the model's own logit (the model is then not of a kind that
        this method knows), or the logits are not finite.

    References
    ----------
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321; METHODS.md, P1.
    """
    if value_bias not in ("out", "in"):
        raise FactvizError(f"value_bias={value_bias!r} is unknown: 'out' or 'in'")
    chosen = _chosen(trace, attributes)
    parts = split_logits(trace, [[token.token_id for token in row] for row in chosen], value_bias)
    residuals = [_checked(trace, fact, part) for fact, part in enumerate(parts)]
    return packing.pack(trace, chosen, parts, residuals, value_bias)


def split_logits(
    trace: Trace, token_ids: Sequence[Sequence[int]], value_bias: str = "out"
) -> list[Parts]:
    """The parts of some tokens' centred logits [fact][attribute], unchecked."""
    model = trace.model
    unique = sorted({token for row in token_ids for token in row})
    index = {token: place for place, token in enumerate(unique)}
    rows = [torch.tensor([index[t] for t in row], device=model.device) for row in token_ids]
    with model.lock:  # nobody changes weights meanwhile
        directions = attribute_directions(model, torch.tensor(unique, device=model.device))
        parts = [
            _without_heads(trace, fact, row, directions, torch.tensor(ids, device=row.device))
            for fact, (row, ids) in enumerate(zip(rows, token_ids, strict=True))
        ]
        for layer in range(model.n_layers):
            seen = head_directions(
                model,
                model.geometry.layers[layer],
                directions.residual,
                trace.values[layer].shape[2],
            )
            for fact, row in enumerate(rows):
                _add_heads(trace, fact, layer, row, seen, parts[fact], value_bias)
    return parts


def _chosen(trace: Trace, attributes: Iterable[str | int] | None) -> list[list[AttributeToken]]:
    if attributes is not None and not isinstance(attributes, (str, int)):
        attributes = list(attributes)
    tokenizer, size = trace.model.tokenizer, trace.model.d_vocab
    chosen = [attribute_tokens(tokenizer, fact, attributes) for fact in trace.facts]
    for row in chosen:
        for token in row:
            if token.token_id >= size:
                raise FactvizError(
                    f"attribute {token.word!r} has token {token.token_id}, but the model has "
                    f"logits 0 to {size - 1}: is this its tokenizer?"
                )
    return chosen


def _without_heads(
    trace: Trace,
    fact: int,
    row: Int[Tensor, " attribute"],
    directions: Directions,
    ids: Int[Tensor, " attribute"],
) -> Parts:
    """Everything but the heads, whose array is made here and filled layer by layer."""
    dtype = working_dtype(trace.model)
    seen = directions.residual[row] / trace.final_scale[fact].to(dtype)
    logits = trace.logits[fact].to(dtype)
    layers, heads = trace.pattern.shape[1:3]
    return Parts(
        heads=seen.new_zeros(len(row), layers, heads, len(trace.tokens[fact])),
        mlps=seen @ trace.mlps[fact].to(dtype).T,
        embedding=seen @ trace.embedding[fact].to(dtype),
        bias=directions.constant[row],
        logits=logits[ids] - logits.mean(),
    )


def _add_heads(
    trace: Trace,
    fact: int,
    layer: int,
    row: Int[Tensor, " attribute"],
    seen: HeadDirections,
    parts: Parts,
    value_bias: str,
) -> None:
    """One layer's heads, and the biases that go with them, into a fact's parts (in place)."""
    dtype, length = seen.values.dtype, len(trace.tokens[fact])
    pattern = trace.pattern[fact, layer, :, :length].to(dtype)
    values = trace.values[layer][fact, :length].to(dtype)
    reads, final = seen.values[row], trace.final_scale[fact].to(dtype)
    scale = final * trace.attention_scale[fact, layer].to(dtype)
    parts.bias.add_(seen.constant[row] / scale + seen.shift[row] / final)
    if seen.common is not None and value_bias == "out":
        values = values - seen.common
        common = torch.einsum("akrd,kd->akr", reads, seen.common).flatten(1)
        parts.bias.add_((common * pattern.sum(-1)).sum(-1) / scale)
    # [attribute, kv, repeat, d_head] · [source, kv, d_head]: small, d_model is gone already.
    extracted = torch.einsum("akrd,skd->akrs", reads, values).flatten(1, 2)
    parts.heads[:, layer] = extracted * (pattern / scale)


def _checked(trace: Trace, fact: int, parts: Parts) -> float:
    """The residual error of one fact; refuse it where the parts do not add up."""
    model = trace.model
    if not bool(trace.logits[fact].isfinite().all()):
        raise FactvizError(
            f"{model.name} gives logits that are not finite (NaN or infinity) for "
            f"{trace.facts[fact].prompt[:60]!r}: load it with dtype='float32'"
        )
    residual, size = parts.residual(), parts.size()
    tolerance = TOLERANCE.get(model.dtype, 1e-4) * max(size, 1.0)
    if not residual <= tolerance:
        raise refusal(
            f"{model.name} ({model.architecture})",
            f"the parts miss the centred logit by {residual:.3g} logits, the tolerance is "
            f"{tolerance:.2g} (Σ|parts| {size:.3g}, {str(model.dtype).split('.')[-1]})",
        )
    return residual
