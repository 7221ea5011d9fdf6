"""END→SUBJECT, RELATION→SUBJECT and both: is there a second path for the subject (P1 point 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from factviz.analysis.blocking import random_edges
from factviz.analysis.controls import check_draws
from factviz.analysis.experiments import Experiment, experiment
from factviz.analysis.outcomes import Prompts, Target, generators, read_prompts
from factviz.analysis.places import layers_of
from factviz.analysis.positions import subject_positions
from factviz.analysis.propagation import subject_edges
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens
from factviz.models.factmodel import FactModel
from factviz.models.interventions import BlockAttention
from factviz.results.causal import Causal

PATHS = ("END→SUBJECT", "RELATION→SUBJECT", "END→SUBJECT + RELATION→SUBJECT")


def knock_out_paths(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    layers: int | Iterable[int] | None = None,
    *,
    target: Target = "answer",
    controls: int = 3,
    seed: int = 0,
) -> Causal:
    """Block END→SUBJECT, RELATION→SUBJECT, and both.

    Where relation tokens carry the subject to END, END→SUBJECT alone hurts little and both hurt
    much; where they carry nothing, both hurt as END→SUBJECT alone does.

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        Those without a relation token behind the subject (END aside) are left out, and counted.
    layers : int or iterable of int, optional
        Where; in all layers without it.
    target : {"answer", "top1"} or int
    controls : int
        Draws of as many random keys for each query, neither BOS nor itself; 0 for none.
    seed : int

    Returns
    -------
    Causal
        `Causal.outcomes` gives P, rank and accuracy of the three and of their controls with
        intervals, `Causal.interactions` what both do beyond the sum.

    Raises
    ------
    FactvizError
        If no fact has a relation token behind its subject, a layer does not exist, or logits are
        NaN.

    References
    ----------
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321.
    """
    check_draws(controls)
    at_layers, every = layers_of(model, layers), read_prompts(model, facts)
    kept = [i for i, row in enumerate(every.tokens) if subject_edges(row)]
    if not kept:
        raise FactvizError(
            f"no relation token but END stands behind the subject in {every.facts[0].prompt[:80]!r}"
            + (f" and {len(every.facts) - 1} others" if len(every.facts) > 1 else "")
            + ": RELATION→SUBJECT cannot be blocked"
        )
    prompts = Prompts(
        model, [every.facts[i] for i in kept], [every.tokens[i] for i in kept], every.single
    )
    rngs = generators(len(kept), seed)

    def make(fact: int) -> Experiment:
        one, row = prompts.facts[fact], prompts.tokens[fact]
        subject = subject_positions(one, row)
        sets = _queries(row)
        effects = [[BlockAttention(queries, subject, at_layers)] for queries in sets]
        drawn = [
            [random_edges(row, queries, subject, at_layers, rngs[fact]) for _ in range(controls)]
            for queries in sets
        ]
        return Experiment(effects, [[draw for draw in some if draw] for some in drawn])

    left = len(every.facts) - len(kept)
    note = f"{left} of {len(every.facts)} facts have no relation token behind the subject: left out"
    return experiment(
        prompts,
        list(PATHS),
        make,
        verb="knock_out_paths",
        asked={"layers": list(at_layers)},
        control="as many random keys for each query",
        target=target,
        draws=controls,
        allow_idle=False,
        notes=[note] if left else [],
    )


def _queries(row: PromptTokens) -> Sequence[list[int]]:
    end = [len(row) - 1]
    relation = sorted({query for query, _ in subject_edges(row)})
    return end, relation, [*relation, *end]
