"""Do head classes survive other wordings and distractors (asked for by the paper's reviewers)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from factviz.analysis.head_classes import classify_heads
from factviz.facts import builtin
from factviz.facts.errors import FactvizError
from factviz.facts.fact import SLOT, Fact
from factviz.facts.factset import as_facts
from factviz.models.factmodel import FactModel
from factviz.results.comparison import Comparison, compare
from factviz.results.head_classes import HeadClasses

Wordings = Mapping[str, Sequence[str]]
"""Templates with ``{subject}`` by relation."""


def check_robustness(
    model: FactModel,
    facts: Iterable[Fact],
    *,
    wordings: Wordings | None = None,
    distractors: Sequence[str] | None = None,
    most: int = 2,
    threshold: float = 10.0,
    seed: int = 0,
) -> Comparison:
    """Classify heads again with other wordings, and with a distracting sentence in front.

    Agreement is Jaccard per class and rank correlation of DLA, beside what two halves of the same
    facts' subjects agree on (the ceiling).

    Parameters
    ----------
    model : FactModel
    facts : iterable of Fact or FactSet
    wordings : mapping from relation to templates, optional
        The built-in ones without it. Relations without another wording are left out throughout.
    distractors : sequence of str, optional
        Texts put in front of every prompt, one run each; by default another fact of the set with
        its answer.
    most : int
        Wordings tried, at most.
    threshold, seed
        As for `classify_heads`.

    Returns
    -------
    Comparison
        Labels "as given", "wording 1", …, "distractor 1", …

    Raises
    ------
    FactvizError
        If no relation has another wording and there are no distractors, or as `classify_heads`
        does.
    """
    found = as_facts(facts)
    made: dict[str, list[Fact]] = {}
    chosen = builtin.wordings() if wordings is None else wordings
    for number in range(most):
        reworded = reword(found, chosen, number)
        if reworded:
            made[f"wording {number + 1}"] = reworded
    texts = [_sentence(found)] if distractors is None else list(distractors)
    for number, text in enumerate(texts):
        made[f"distractor {number + 1}"] = distract(found, text)
    if not made:
        raise FactvizError(
            f"relation {found[0].relation!r} has no other wording: give wordings={{relation: "
            "[templates]}, or distractors=[texts]"
        )
    runs: dict[str, HeadClasses] = {
        label: classify_heads(model, some, threshold=threshold, seed=seed, n_blocked=0)
        for label, some in {"as given": found, **made}.items()
    }
    result = compare(*runs.values(), labels=list(runs))
    for label, some in made.items():
        out = runs[label].provenance["excluded"]
        first = some[0].prompt
        result.provenance["notes"].append(
            f"{label}: {len(some)} facts, {out} of them not known; the first is {first[:100]!r}"
        )
    return result


def reword(facts: Sequence[Fact], wordings: Wordings, number: int) -> list[Fact]:
    """The facts in another wording of their relation; those that have none are left out.

    Parameters
    ----------
    facts : sequence of Fact
    wordings : mapping from relation to templates
    number : int
        Which of the wordings that are not the fact's own, from 0.
    """
    found: list[Fact] = []
    for fact in facts:
        others = [
            template
            for template in wordings.get(fact.relation, ())
            if template.replace(SLOT, fact.subject) != fact.prompt
        ]
        if number < len(others):
            found.append(
                Fact.from_template(
                    others[number],
                    fact.subject,
                    fact.answer,
                    relation=fact.relation,
                    same_subject=fact.same_subject,
                    same_relation=fact.same_relation,
                    prefix=builtin.prefix_of(others[number]),
                )
            )
    return found


def distract(facts: Sequence[Fact], text: str) -> list[Fact]:
    """The facts with a text in front of their prompts, declared as a prefix."""
    if not text.strip():
        raise FactvizError(f"the distractor is empty ({text!r}): give some text")
    found: list[Fact] = []
    for fact in facts:
        before = f"{text.strip()} "
        start = (fact.subject_start or 0) + len(before)
        found.append(
            fact.replace(
                prompt=before + fact.prompt,
                subject_start=start,
                prefix=before.rstrip() if not fact.prefix else before + fact.prefix,
            )
        )
    return found


def _sentence(facts: Sequence[Fact]) -> str:
    """A fact of the set with its answer: another subject and mostly another relation."""
    last = facts[-1]
    return f"{last.prompt} {last.answer}."
