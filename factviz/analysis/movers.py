"""Mover heads: what reads the topic at END and writes it there (arXiv 2403.19521)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from factviz.analysis.copying import Copying, TopicValues, copying_scores
from factviz.analysis.grouped import GroupedParts, grouped_parts
from factviz.analysis.head_reads import PROJECTION, SOURCES
from factviz.analysis.known import TOP
from factviz.analysis.mover_reads import TopicReads, direction_tokens
from factviz.analysis.mover_rule import Rule, judge, measure_samples
from factviz.analysis.provenance import fact_coordinates, provenance
from factviz.analysis.roles import RoleTokens, role_tokens
from factviz.analysis.topics import Topics, read_topics
from factviz.facts.checks import check_counts
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.facts.topics import topic
from factviz.models.factmodel import FactModel, check_model
from factviz.results.halves import sample_rows
from factviz.results.movers import DIRECTIONS, MoverHeads, rule_in_words

MOST_COPIED = 64
"""Topic tokens behind the copying scores."""


@torch.inference_mode()
def find_movers(
    model: FactModel,
    facts: Iterable[Fact],
    *,
    written: Literal["topic", "answer"] = "topic",
    min_attention: float = 0.1,
    alpha: float = 0.05,
    min_copying: float = 0.0,
    k: int = 5,
    n_boot: int = 200,
    n_shuffles: int = 1000,
    seed: int = 0,
) -> MoverHeads:
    """Find heads whose attention from END to the topic goes with how much of it they write.

    For every head: END's attention to the topic X, also weighted by ‖v W_O‖; what its output holds
    of X, of other topics, of the answer Y and of other answers; Pearson's r of attention with the
    write of X and of Y, within relations, beside a permutation null (attention shuffled between
    subjects of a relation); copying scores of W_OV (`factviz.analysis.copying`).

    A head is a *mover* by four conditions, on facts of one half of the subjects and again on the
    other (cross-fit, in at least one of the two directions): the interval of its attention to the
    topic lies above ``min_attention``; r with the write of X is above 0 with its interval, and
    beyond chance at ``alpha``; it writes more of its own topic than of the others' (interval above
    0). Chance is corrected for the number of heads by the largest r among them in each shuffle
    (Westfall and Young): all heads while choosing, the chosen ones while judging. "None" is an
    answer.

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
        The topic is `Fact.topic`, or else the subject. Of several tokens X is the last, and
        attention is summed.
    written : {"topic", "answer"}
        What a mover has to write: the topic (the paper's), or the answer (its control: R).
    min_attention : float
        Share of END's attention, 0 to 1.
    alpha : float
        Of the corrected chance, 0 to 1.
    min_copying : float
        Least copying score ("read"), 0 to 1; 0 leaves it out of the rule.
    k : int
        How far down its row a copied token may stand.
    n_boot, n_shuffles : int
        Resamples of subjects behind the 95 % intervals, and shuffles behind the null.
    seed : int

    Returns
    -------
    MoverHeads
        Its ``directions`` say whether a mover was confirmed both ways or in one alone: one alone
        may hang on how the subjects were halved (``seed``).

    Raises
    ------
    FactvizError
        If a parameter is out of its range, facts are of one subject, a topic has no token of its
        own, or the model's parts do not add up to its logits or are not finite.

    References
    ----------
    Lv et al., *Interpreting Key Mechanisms of Factual Recall*, arXiv 2403.19521. The decision rule
    is this project's own (METHODS.md, P2 point 3).
    """
    check_model(model)
    rule = Rule(min_attention, alpha, min_copying, written)
    check_counts(k=(k, 1), n_boot=(n_boot, 2), n_shuffles=(n_shuffles, 1))
    found = as_facts(facts)
    rows = sample_rows([f.subject for f in found], [f.relation for f in found], seed=seed)
    topics = read_topics(model, found)
    tokens, notes = _tokens(model, found, topics)
    values = TopicValues(topics.ids, [at[-1] for at in topics.positions], MOST_COPIED)
    seen = TopicReads(topics, direction_tokens(found, topics.ids, tokens), tokens, values)
    parts = grouped_parts(model, found, tokens, look=seen.look)
    copying = copying_scores(model, values, k=k)
    dataset = _packed(model, found, topics, reads=seen.joined(), parts=parts, copying=copying)
    measured = measure_samples(dataset, rows, n_boot=n_boot, n_shuffles=n_shuffles, seed=seed)
    dataset = dataset.merge(measured.tables).merge(judge(measured, rule, copying.read))
    dataset.attrs = {"n_boot": n_boot, "n_shuffles": n_shuffles, "seed": seed, "k": k}
    unknown = int((parts.rank > TOP).sum())
    if unknown:
        notes.append(f"{unknown} of {len(found)} facts are not in the model's top {TOP}; they are "
                     "counted all the same: facts.known(model) leaves them out")  # fmt: skip
    origin = provenance(
        model,
        topics.prompts,
        kind=MoverHeads.kind,
        projection=PROJECTION,
        layer_norm="none after the heads (post-norms frozen); P1 columns: frozen",
        target="topic X and answer Y at END",
        notes=[*topics.notes, *notes, *tokens.notes, *copying.notes],
        value_bias="in",
        rule=rule_in_words(written, min_attention, alpha, min_copying),
        parameters=vars(rule),
        control=(
            "write of X: the mean over other topics; r: attention shuffled between subjects of a "
            "relation; copying: other topics' tokens"
        ),
        copying_tokens=copying.tokens,
    )
    return MoverHeads(dataset, origin)


def _tokens(
    model: FactModel, facts: Sequence[Fact], topics: Topics
) -> tuple[RoleTokens, list[str]]:
    """Answers and R as tokens, for prompts whose subject is the topic; and what is missing."""
    tokens = replace(role_tokens(model, facts, controls=0), prompts=topics.prompts)
    notes: list[str] = []
    if len(set(topics.ids)) == 1:
        notes.append(
            f"the topic token is {model.tokenizer.decode(topics.ids[:1])!r} in all "
            f"{len(facts)} facts: whether attention goes with the topic is undefined, and no head "
            "can be a mover"
        )
    if any(len(at) > 1 for at in topics.positions):
        notes.append("attention to a topic of several tokens is summed over them")
    if bare := sum(not row[2] for row in tokens.ids):
        notes.append(f"{bare} of {len(facts)} facts have no R: there is no control for the answer")
    return tokens, notes


def _packed(
    model: FactModel,
    facts: Sequence[Fact],
    topics: Topics,
    *,
    reads: Sequence[np.ndarray],
    parts: GroupedParts,
    copying: Copying,
) -> xr.Dataset:
    """One number a fact, head and source group or direction."""
    attention, weighted, written = reads
    grid = ("layer", "head")
    arrays: dict[str, Any] = {
        "attention": (("fact", "group", *grid), attention, {"units": "fraction"}),
        "weighted": (("fact", "group", *grid), weighted, {"units": "length of the write"}),
        "write": (("fact", "direction", *grid), written, {"units": "logits × final scale"}),
        "answer_dla": (("fact", *grid), parts.heads[:, 0, :, :, 0], {"units": "logits"}),
    }
    for name in ("weights", "read"):
        label = "copying" if name == "weights" else "copying_read"
        arrays[label] = (grid, getattr(copying, name), {"units": "fraction of topic tokens"})
        arrays[f"{label}_control"] = (grid, getattr(copying, f"{name}_control"))
    named = [model.tokenizer.decode([token]) for token in topics.ids]
    coords = fact_coordinates(facts) | {
        "topic": ("fact", np.array([topic(fact) for fact in facts], object)),
        "topic_token": ("fact", np.array(named, object)),
        "topic_tokens": ("fact", np.array([len(at) for at in topics.positions])),
        "group": np.array(SOURCES, dtype=object),
        "direction": np.array(DIRECTIONS, dtype=object),
        "layer": np.arange(written.shape[2]),
        "head": np.arange(written.shape[3]),
    }
    return xr.Dataset(arrays, coords=coords)
