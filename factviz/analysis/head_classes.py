"""Subject, relation and mixed heads, told apart by what they read (arXiv 2402.07321)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from factviz.analysis.grouped import GROUPS, GroupedParts, grouped_parts
from factviz.analysis.known import check_subjects, known_rows, unknown_note
from factviz.analysis.propagation import Propagation, block_propagation, preference
from factviz.analysis.provenance import before_cap, fact_coordinates, provenance
from factviz.analysis.roles import CONTROLS, ROLES, RoleTokens, role_tokens
from factviz.facts.checks import check_counts
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.results.class_rule import RULE, check_threshold
from factviz.results.head_classes import HeadClasses

PROJECTION = "P1: frozen final layer norm, centred W_U"


@torch.inference_mode()
def classify_heads(
    model: FactModel,
    facts: Iterable[Fact],
    *,
    threshold: float = 10.0,
    n_boot: int = 200,
    seed: int = 0,
    n_blocked: int = 32,
) -> HeadClasses:
    """Tell subject, relation and mixed heads apart, by relation and over all relations.

    A head's class rests on its mean DLA on the answer, from subject tokens against from relation
    tokens (END among them). Beside it stand: whether it lifts S over O from subject tokens and R
    over O from relation tokens (O: a seeded control set of attributes in neither), and how much of
    a − mean R from relation tokens is left when these may not attend to the subject (control: as
    many random keys).

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
        Those whose answer is not in the model's top 10 are left out, counted in
        ``provenance["notes"]`` and ``provenance["excluded"]``.
    threshold : float
        τ, above 1. The paper's value is not certain; `HeadClasses.at` tries others for nothing.
    n_boot : int
        Resamples of subjects behind the 95 % intervals.
    seed : int
        Of resamples, O, and random keys.
    n_blocked : int
        Facts, drawn at random, on which RELATION→SUBJECT is blocked; 0 for none.

    Returns
    -------
    HeadClasses

    Raises
    ------
    FactvizError
        If the threshold is not above 1, n_boot is below 2, n_blocked is below 0, the model knows
        none of the facts, they are of one subject, or the parts do not add up to the logits.

    References
    ----------
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321. The exact rule is
    `factviz.results.class_rule.RULE`.
    """
    threshold = check_threshold(threshold)
    check_counts(n_boot=(n_boot, 2), n_blocked=(n_blocked, 0))
    found = as_facts(facts)
    tokens = role_tokens(model, found, seed=seed)
    parts = grouped_parts(model, found, tokens)
    kept = known_rows(found, parts.rank)
    chosen = [found[row] for row in kept]
    check_subjects(chosen, "head classes")
    its = tokens.take(kept)
    parts = parts.take(kept)
    blocked = block_propagation(model, chosen, its, most=n_blocked, seed=seed)
    dataset = _packed(chosen, parts, blocked)
    dataset.attrs = {"threshold": threshold, "n_boot": int(n_boot), "seed": int(seed)}
    notes = [*unknown_note(found, kept), *_missing(chosen, its), *its.notes, *blocked.notes]
    return HeadClasses(dataset, _provenance(model, chosen, its, notes, len(found) - len(kept)))


def _packed(facts: Sequence[Fact], parts: GroupedParts, blocked: Propagation) -> xr.Dataset:
    """One number a fact and head for everything that classes rest on."""
    dims = ("fact", "layer", "head")
    subject, relation, other = (parts.heads[..., GROUPS.index(name)] for name in GROUPS)
    a, s, r, o = (ROLES.index(role) for role in ROLES)
    logits, fraction = {"units": "logits"}, {"units": "fraction"}
    arrays: dict[str, Any] = {
        "subject_dla": (dims, subject[:, a], logits),
        "relation_dla": (dims, relation[:, a], logits),
        "other_dla": (dims, other[:, a], logits),
        "subject_lift": (dims, subject[:, s] - subject[:, o], logits),
        "relation_lift": (dims, relation[:, r] - relation[:, o], logits),
        "subject_attention": (dims, parts.attention[..., 0], fraction),
        "relation_attention": (dims, parts.attention[..., 1], fraction),
        "preference": (dims, preference(parts), logits),
        "preference_blocked": (dims, blocked.blocked, logits),
        "preference_random": (dims, blocked.random, logits),
    }
    coords = fact_coordinates(facts)
    names = [fact.relation or "(no name)" for fact in facts]
    del coords["relation"]
    coords["relation_name"] = ("fact", np.array(names, dtype=object))
    coords |= {"layer": np.arange(subject.shape[2]), "head": np.arange(subject.shape[3])}
    return xr.Dataset(arrays, coords=coords)


def _missing(facts: Sequence[Fact], tokens: RoleTokens) -> list[str]:
    """Where functional evidence is missing for want of S or R, and where for want of subjects."""
    notes: list[str] = []
    for role, what in ((1, "S"), (2, "R")):
        without = [i for i, row in enumerate(tokens.ids) if not row[role]]
        if without:
            names = sorted({facts[i].relation for i in without})
            notes.append(
                f"{len(without)} of {len(facts)} facts have no {what} ({', '.join(names[:4])}"
                + (", …" if len(names) > 4 else "")
                + f"): they say nothing on whether heads lift {what} over O"
            )
    by_relation: dict[str, set[str]] = {}
    for fact in facts:
        by_relation.setdefault(fact.relation, set()).add(fact.subject)
    lone = sorted(name for name, subjects in by_relation.items() if len(subjects) < 2)
    if lone:
        notes.append(
            f"{len(lone)} relations have one subject only ({', '.join(lone[:4])}): their intervals "
            "are missing, and no head of theirs is mixed"
        )
    return notes


def _provenance(
    model: FactModel,
    facts: Sequence[Fact],
    tokens: RoleTokens,
    notes: Sequence[str],
    excluded: int,
) -> dict[str, Any]:
    said = [note for fact in facts for note in fact.notes]
    return provenance(
        model,
        tokens.prompts,
        kind=HeadClasses.kind,
        projection=PROJECTION,
        layer_norm="frozen",
        target="centred logit of the answer at END" + before_cap(model),
        notes=[*notes, *said],
        value_bias="out",
        rule=RULE,
        groups="subject; relation with END; BOS, prefix and the rest",
        control=f"O: {CONTROLS} attributes of other facts, in neither S nor R, for each fact; "
        "RELATION→SUBJECT: as many random keys for each relation token, neither BOS nor itself",
        excluded=excluded,
    )
