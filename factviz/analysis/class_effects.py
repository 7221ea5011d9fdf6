"""What classes of heads do, beside random heads: ablated, patched, and kept alone (P1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np

from factviz.analysis.ablation import ablate
from factviz.analysis.components import Named, component_sets, heads_only
from factviz.analysis.controls import check_draws
from factviz.analysis.counterfactuals import Counterfactuals
from factviz.analysis.outcomes import Target
from factviz.analysis.patching import patch_heads
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.results.causal import Causal
from factviz.results.causal_tables import JOINED
from factviz.results.class_rule import CLASSES
from factviz.results.halves import subject_halves
from factviz.results.head_classes import HeadClasses

MAIN = ("subject", "relation", "mixed")


def ablate_classes(
    model: FactModel,
    facts: Fact | Iterable[Fact],
    classes: HeadClasses,
    *,
    mode: Literal["mean", "zero"] = "mean",
    target: Target = "answer",
    controls: int = 3,
    seed: int = 0,
) -> Causal:
    """Ablate each class of heads at END, and pairs of classes, beside as many random heads.

    `Causal.outcomes` tells P, rank and accuracy; `Causal.interactions` what two classes do together
    beyond what each does alone (DLA adds up for any partition, effects need not).

    Parameters
    ----------
    model : FactModel
    facts : Fact, iterable of Fact or FactSet
        Best others than those the classes were chosen on (`FactSet` of the other half).
    classes : HeadClasses
        Of relation "all".
    mode : {"mean", "zero"}
    target, controls, seed
        As for `ablate`.

    Returns
    -------
    Causal
        One run for each class that has heads, and for each pair of subject, relation and mixed
        heads.

    Raises
    ------
    FactvizError
        If the classes are of another model or hold no heads, or as `ablate` does.

    References
    ----------
    Chughtai, Cooney, Nanda, *Summing Up the Facts*, arXiv 2402.07321.
    """
    sets = class_sets(model, classes)
    pairs = combinations([name for name in sets if name.split()[0] in MAIN], 2)
    joined = {JOINED.join(pair): [*sets[pair[0]], *sets[pair[1]]] for pair in pairs}
    found = ablate(
        model,
        facts,
        sets | joined,
        mode=mode,
        target=target,
        controls=controls,
        seed=seed,
        allow_idle=True,
    )
    return _chosen(found, classes)


def patch_classes(
    model: FactModel,
    facts: Iterable[Fact],
    classes: HeadClasses,
    counterfactuals: Counterfactuals = "other_subject",
    *,
    target: Target = "answer",
    controls: int = 3,
    seed: int = 0,
) -> Causal:
    """Give each class of heads what it writes on another subject's prompt of the same relation.

    Relation heads do not depend on the subject, so the answer hardly moves; subject heads, patched
    the same way, must move it.

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
    classes : HeadClasses
        Of relation "all".
    counterfactuals
        As for `patch_heads`.
    target, controls, seed
        As for `patch_heads`.

    Returns
    -------
    Causal
        One run for each of subject, relation and mixed heads; ``source_probability`` is that of the
        other subject's answer.

    Raises
    ------
    FactvizError
        If the classes are of another model or hold no heads, or as `patch_heads` does.
    """
    sets = {k: v for k, v in class_sets(model, classes).items() if k.split()[0] in MAIN}
    if not sets:
        raise FactvizError("there are no subject, relation or mixed heads to patch")
    every = as_facts(facts)
    kept = every if counterfactuals != "other_subject" else _with_others(every)
    found = patch_heads(
        model,
        kept,
        counterfactuals,
        sets,
        target=target,
        controls=controls,
        seed=seed,
        allow_idle=True,
    )
    if left := len(every) - len(kept):
        found.provenance["notes"].append(
            f"{left} of {len(every)} facts were left out: no other fact of their relation has "
            "another subject and another answer"
        )
    return _chosen(found, classes)


def _with_others(facts: Sequence[Fact]) -> list[Fact]:
    """The facts that have another subject's fact of the same relation to be patched from."""
    kept = [
        fact
        for fact in facts
        if any(
            other.relation == fact.relation
            and other.subject != fact.subject
            and other.answer != fact.answer
            for other in facts
        )
    ]
    if not kept:
        raise FactvizError(
            f"none of the {len(facts)} facts has another of its relation with another subject and "
            "answer: give more facts, or counterfactuals"
        )
    return kept


def keep_heads(
    model: FactModel,
    facts: Iterable[Fact],
    heads: HeadClasses | Named | Iterable[Named] | Mapping[str, Iterable[Named]],
    *,
    mode: Literal["mean", "zero"] = "mean",
    target: Target = "answer",
    draws: int = 3,
    seed: int = 0,
) -> Causal:
    """Keep some heads at END and ablate all others: the narrow circuit against the whole model.

    MLPs, embeddings and what happens before END stay. Beside each set, runs that keep as many
    random heads, and one that keeps none.

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
    heads
        Head classes (each class, and subject, relation and mixed heads together), heads as `ablate`
        takes them, or a mapping from names to several.
    mode : {"mean", "zero"}
    target
        As for `ablate`.
    draws : int
        Random sets of the same size.
    seed : int

    Returns
    -------
    Causal
        Components "only …", "only N random heads (1)" … and "no heads".

    Raises
    ------
    FactvizError
        If a head does not exist, a set holds all heads, or as `ablate` does.
    """
    check_draws(draws)
    if isinstance(heads, HeadClasses):
        sets: Any = class_sets(model, heads)
        core = [head for name in sets if name.split()[0] in MAIN for head in sets[name]]
        sets = {"classified heads": core} | {k: v for k, v in sets.items() if k.split()[0] in MAIN}
    else:
        sets = heads
    chosen = component_sets(model, sets)
    heads_only(chosen)
    every = [(layer, head) for layer in range(model.n_layers) for head in range(model.n_heads)]
    rng = np.random.default_rng(seed)
    runs: dict[str, list[tuple[int, int]]] = {}
    for name, some in chosen.items():
        kept = {(one.layer, one.head) for one in some}
        if len(kept) == len(every):
            raise FactvizError(f"{name!r} holds all {len(every)} heads: nothing is left to ablate")
        runs[f"only {name}"] = [head for head in every if head not in kept]
        for draw in range(draws):
            order = [every[i] for i in rng.permutation(len(every))]
            label = f"only {len(kept)} random heads ({draw + 1})"
            if label not in runs:
                runs[label] = sorted(order[len(kept) :])
    runs["no heads"] = every
    return ablate(model, facts, runs, mode=mode, target=target, controls=0, allow_idle=True)


def check_classes(model: FactModel, classes: HeadClasses) -> None:
    """Refuse classes of another model's heads.

    Raises
    ------
    FactvizError
        If they are no classes, or of another number of heads.
    """
    if not isinstance(classes, HeadClasses):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise FactvizError(f"classes must be what classify_heads gives, not {classes!r}")
    shape = classes.classes.shape[1:]
    if shape != (model.n_layers, model.n_heads):
        raise FactvizError(
            f"the classes are of {shape[0]} layers × {shape[1]} heads, {model.name} has "
            f"{model.n_layers} × {model.n_heads}: classify this model's heads"
        )


def class_sets(model: FactModel, classes: HeadClasses) -> dict[str, list[tuple[int, int]]]:
    """The heads of each class that has any, but the unclassified: "subject heads" and so on.

    Raises
    ------
    FactvizError
        If the classes are of another model, or no head has one.
    """
    check_classes(model, classes)
    found = {f"{name} heads": classes.heads(name) for name in CLASSES[:-1]}
    found = {name: heads for name, heads in found.items() if heads}
    if not found:
        raise FactvizError(
            f"no head has a class at threshold {classes.threshold:g}: try classes.at(3), or more "
            "facts"
        )
    return found


def _chosen(found: Causal, classes: HeadClasses) -> Causal:
    """Say where the heads come from, and whether they are judged on what they were chosen on."""
    found.provenance["threshold"] = classes.threshold
    own = {str(name) for name in found.dataset["subject"].values}
    shared = own & {str(name) for name in classes.dataset["subject"].values}
    if shared:
        found.provenance["notes"].append(
            f"the heads were classified on facts of {len(shared)} of these {len(own)} subjects: "
            "for a clean test, classify on one half and ablate on the other (split_facts)"
        )
    return found


def split_facts(facts: Iterable[Fact], *, seed: int = 0) -> tuple[list[Fact], list[Fact]]:
    """Two halves of the facts that share no subject: choose heads on one, judge on the other.

    Parameters
    ----------
    facts : iterable of Fact or FactSet
    seed : int

    Returns
    -------
    chosen, judged : list of Fact
        S and R stay those of the whole set; both halves hold every relation as far as it has two
        subjects.

    Raises
    ------
    FactvizError
        If there are fewer than two subjects.
    """
    found = as_facts(facts)
    halves = subject_halves(
        [fact.subject for fact in found], [fact.relation for fact in found], seed=seed
    )
    one, two = ([found[row] for row in half] for half in halves)
    return one, two
