"""Give heads the output that they have on another prompt (P1 point 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from factviz.analysis.components import (
    SAME,
    Component,
    Named,
    component_sets,
    heads_only,
    names_in,
    output_of,
    random_like,
    replacement,
)
from factviz.analysis.controls import check_draws
from factviz.analysis.counterfactuals import Counterfactuals, check_sizes, sources_of
from factviz.analysis.experiments import Experiment, experiment
from factviz.analysis.outcomes import Target, answer_id, generators, read_prompts
from factviz.analysis.places import Where, listed, positions, told
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.models.factmodel import FactModel
from factviz.models.interventions import Keep, Variant
from factviz.models.runs import prepare
from factviz.results.causal import Causal


def patch_heads(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    counterfactuals: Counterfactuals,
    heads: Named | Iterable[Named] | Mapping[str, Iterable[Named]],
    *,
    at: Where = "end",
    separately: bool = False,
    target: Target = "answer",
    controls: int = 3,
    seed: int = 0,
    allow_idle: bool = False,
) -> Causal:
    """Give heads the output that they have on another prompt.

    Relation heads do not depend on the subject: patched from another subject's prompt, the answer
    hardly moves (P1 point 7). The control patches as many random heads, of the same layers as far
    as there are others, from the same prompt.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
    counterfactuals : Fact, iterable of Fact or "other_subject"
        Where the outputs come from: one prompt for all facts, one for each, or for each a fact of
        the same relation with another subject and another answer, drawn from `facts`.
    heads
        ``(layer, head)`` or ``"L3H4"``, several (patched together), or a mapping from names to
        several (one run each).
    at
        Position set, of as many positions in both prompts; END without it.
    separately : bool
        One run for each head instead of all together.
    target, controls, seed, allow_idle
        As for `block_attention`.

    Returns
    -------
    Causal
        ``source_probability`` is the probability of the counterfactual's answer.

    Raises
    ------
    FactvizError
        If a head does not exist, counterfactuals and facts do not match, a position set is empty
        or differs in size, nothing changed, or logits are NaN.

    References
    ----------
    Chughtai, Cooney, Nanda, arXiv 2402.07321.
    """
    check_draws(controls)
    prompts = read_prompts(model, facts)
    at = listed(at)
    sets = component_sets(model, heads, separately=separately)
    heads_only(sets)
    rngs = generators(len(prompts.facts), seed)
    sources = sources_of(prompts, counterfactuals, at, rngs)
    keep_at = [positions(fact, row, at) for fact, row in sources.each()]

    def make(fact: int) -> Experiment:
        here = positions(prompts.facts[fact], prompts.tokens[fact], at)
        there = sources.tokens[fact]
        check_sizes(here, keep_at[fact], at)
        kept = prepare(model, there.ids, (), keep=[Keep("heads", keep_at[fact])]).clean_kept[0]
        if not allow_idle:
            ids = prompts.tokens[fact].ids
            own = prepare(model, ids, (), keep=[Keep("heads", here)]).clean_kept[0]
            _check_differs(own, kept, sets, model.n_heads)

        def variant(some: Sequence[Component]) -> Variant:
            return [replacement(c, here, output_of(kept[c.layer], c, model.n_heads)) for c in some]

        rng = rngs[fact]
        drawn = [[random_like(model, some, rng) for _ in range(controls)] for some in sets.values()]
        return Experiment(
            [variant(some) for some in sets.values()],
            [[variant(some) for some in each if some] for each in drawn],
            answer_id(model, sources.facts[fact]),
            allow_idle=True,  # that all are alike has been looked at
        )

    return experiment(
        prompts,
        list(sets),
        make,
        verb="patch_heads",
        asked={
            "heads": names_in(sets),
            "at": told(at),
            "counterfactuals": [fact.prompt for fact in sources.facts],
        },
        control="as many random heads of the same layers, from the same prompt",
        target=target,
        draws=controls,
        allow_idle=allow_idle,
    )


def _check_differs(
    own: Tensor, other: Tensor, sets: Mapping[str, Sequence[Component]], n_heads: int
) -> None:
    """Refuse a counterfactual on which every one of the heads writes what it writes here."""
    for component in (c for some in sets.values() for c in some):
        pair = [output_of(kept[component.layer], component, n_heads) for kept in (own, other)]
        if (pair[0] - pair[1]).abs().max() > SAME * pair[0].abs().max():
            return
    raise FactvizError(
        "the heads write the same on the fact's and the counterfactual's prompt, so that nothing "
        "changes: give another counterfactual, or allow_idle=True"
    )
