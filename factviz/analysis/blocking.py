"""Block attention edges, beside a control that blocks as many others (P1 point 8, P3 point 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from factviz.analysis.controls import check_draws
from factviz.analysis.experiments import Experiment, experiment
from factviz.analysis.outcomes import (
    Target,
    generators,
    read_prompts,
)
from factviz.analysis.places import Where, layers_of, listed, positions, told
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel
from factviz.models.interventions import BlockAttention
from factviz.results.causal import Causal


def block_attention(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    queries: Where,
    keys: Where,
    layers: int | Iterable[int] | None = None,
    *,
    target: Target = "answer",
    controls: int = 3,
    seed: int = 0,
    allow_idle: bool = False,
) -> Causal:
    """Forbid some positions to attend to others, and see what becomes of the answer.

    The rest of an attention row is renormalised; a query with nothing left to attend to gets a
    zero update. The control forbids each query as many other positions, drawn at random (never
    BOS or itself, the same ones for all queries as far as they see them).

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    queries, keys
        Names of position sets ("end", "subject", "relation", "non_subject", "subject_last", …),
        positions, or several of both.
    layers : int or iterable of int, optional
        Where; in all layers without it.
    target : {"answer", "top1"} or int
        The token to follow: the fact's answer, the clean run's most probable, or a token id.
    controls : int
        Random draws of the control for each fact; 0 for none.
    seed : int
    allow_idle : bool
        Let pass what can have no effect (only edges into the future); otherwise it is an error.

    Returns
    -------
    Causal
        Probability, centred logit and rank of the target for "base", "intervened", "control".

    Raises
    ------
    FactvizError
        If a set is unknown, empty or not in the prompt, a layer does not exist, nothing could
        change, or logits are NaN.

    References
    ----------
    Geva et al., arXiv 2304.14767, section 5; Chughtai et al., arXiv 2402.07321.
    """
    check_draws(controls)
    prompts, at_layers = read_prompts(model, facts), layers_of(model, layers)
    queries, keys = listed(queries), listed(keys)
    rngs = generators(len(prompts.facts), seed)

    def make(fact: int) -> Experiment:
        one, row = prompts.facts[fact], prompts.tokens[fact]
        asking = positions(one, row, queries)
        read = positions(one, row, keys)
        effect = [BlockAttention(asking, read, at_layers)]
        drawn = [random_edges(row, asking, read, at_layers, rngs[fact]) for _ in range(controls)]
        return Experiment([effect], [[variant for variant in drawn if variant]])

    name = f"{told(queries)} → {told(keys)}"
    return experiment(
        prompts,
        [name],
        make,
        verb="block_attention",
        asked={"queries": told(queries), "keys": told(keys), "layers": list(at_layers)},
        control="as many random keys for each query",
        target=target,
        draws=controls,
        allow_idle=allow_idle,
    )


def random_edges(
    row: PromptTokens,
    queries: Sequence[int],
    keys: Sequence[int],
    layers: Sequence[int],
    rng: np.random.Generator,
) -> list[BlockAttention]:
    """As many other edges for each query, from one random order of the positions.

    Never BOS or the query itself; a query that has no other position to see keeps all its edges.
    """
    bos = row.groups["bos"]
    others = [p for p in range(len(row)) if p not in keys and p not in bos]
    order = [others[i] for i in rng.permutation(len(others))]
    found: list[BlockAttention] = []
    for query in queries:
        count = sum(key <= query for key in keys)
        drawn = [p for p in order if p < query][:count]
        if drawn:
            found.append(BlockAttention([query], drawn, layers))
    return found
