"""Direct logit attribution: how much every head wrote from every token (arXiv 2402.07321).

heads at all sources + MLPs + embedding + bias = the centred logit, and that is checked on every
call against the model's own output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch

from factviz.analysis import packing
from factviz.analysis.decomposition import Parts, split_logits
from factviz.facts.errors import FactvizError
from factviz.facts.tokens import AttributeToken, attribute_tokens
from factviz.models.factmodel import FactModel
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
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321.
    """
    if value_bias not in ("out", "in"):
        raise FactvizError(f"value_bias={value_bias!r} is unknown: 'out' or 'in'")
    chosen = _chosen(trace, attributes)
    ids = [[token.token_id for token in row] for row in chosen]
    parts = split_logits(trace, ids, fold_values=value_bias == "out")
    residuals = [_checked(trace, fact, part) for fact, part in enumerate(parts)]
    return packing.pack(trace, chosen, parts, residuals, value_bias)


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


def _checked(trace: Trace, fact: int, parts: Parts) -> float:
    """The residual error of one fact; refuse it where the parts do not add up."""
    check_finite(trace, fact)
    return checked_sum(trace.model, parts.residual(), parts.size())


def check_finite(trace: Trace, fact: int) -> None:
    """Refuse logits that are NaN or infinite."""
    if not bool(trace.logits[fact].isfinite().all()):
        model = trace.model
        raise FactvizError(
            f"{model.name} gives logits that are not finite (NaN or infinity) for "
            f"{trace.facts[fact].prompt[:60]!r}: load it with dtype='float32'"
        )


def checked_sum(model: FactModel, residual: float, size: float) -> float:
    """The residual error; refuse it where the parts do not add up.

    Parameters
    ----------
    model : FactModel
    residual, size : float
        |sum of the parts − centred logit| and Σ|parts|, logits.
    """
    tolerance = TOLERANCE.get(model.dtype, 1e-4) * max(size, 1.0)
    if not residual <= tolerance:
        raise refusal(
            model.architecture
            if model.name == model.architecture
            else f"{model.name} ({model.architecture})",
            f"the parts miss the centred logit by {residual:.3g} logits, the tolerance is "
            f"{tolerance:.2g} (Σ|parts| {size:.3g}, {str(model.dtype).split('.')[-1]})",
        )
    return residual
