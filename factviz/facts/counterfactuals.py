"""Counterfactual prompts by named recipes: one thing of each fact's prompt is another.

Path patching takes the senders' other outputs from such prompts (arXiv 2403.19521). What differs
says what is measured: another topic, what depends on the topic; another relation word, what depends
on the relation. Each fact made here says in its ``notes`` what it was made from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from factviz.facts import shots
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.factset import FactSet, as_facts
from factviz.facts.topics import last_span, topic

Pool = Sequence[Fact]


def counterfactuals(
    facts: Fact | Iterable[Fact],
    recipe: str,
    *,
    among: Iterable[Fact] | None = None,
    seed: int = 0,
) -> FactSet:
    """A counterfactual for each fact, made by a recipe.

    Parameters
    ----------
    facts : Fact, iterable of Fact or FactSet
    recipe : str
        - "other topic": another topic of the same relation, with another answer, stands in the
          fact's own prompt. The topic is the subject where a fact names none.
        - "other answer": the shots keep their subjects and get other answers of the relation, drawn
          at random. Prompts without shots hold no answer.
        - "flipped pair": facts of a relation are paired at random, and the two of a pair exchange
          their topics; an odd number of facts closes in a ring. Every topic stands once more, with
          another answer.
        - "relation replaced": the declared relation words become those of another relation; without
          declared words, the same subject stands in the wording of another relation.
        - "prefix dropped": the declared prefix is left out.
        - "shots changed": as many other shots of the same relation.

        Underscores and hyphens count as spaces.
    among : iterable of Fact, optional
        Facts that others are drawn from; these facts without it.
    seed : int
        Of the draws.

    Returns
    -------
    FactSet
        As many facts, in the same order.

    Raises
    ------
    FactvizError
        If the recipe is unknown, or cannot be applied to a fact, which is named.
    """
    found = as_facts(facts)
    name = " ".join(str(recipe).replace("_", " ").replace("-", " ").split())
    if name not in _RECIPES:
        raise FactvizError(
            f"recipe {recipe!r} for counterfactuals is unknown: {', '.join(map(repr, RECIPES))}"
        )
    pool = sorted(found if among is None else as_facts(among), key=_words)
    if name == "flipped pair":
        made = _flipped(found, random.Random(f"{seed} {name}"))
    else:
        # Drawn by a fact's own words: neither the other facts nor their order change its draw.
        draws = [random.Random(f"{seed} {name} {_words(fact)}") for fact in found]
        pairs = zip(found, draws, strict=True)
        made = [_RECIPES[name](fact, pool, draw) for fact, draw in pairs]
    for one, new in zip(found, made, strict=True):
        if new.prompt == one.prompt:
            raise _refused(name, one, "it leaves the prompt as it was")
    return FactSet(
        new.noted(f"made from {one.prompt!r} by the recipe {name!r}")
        for one, new in zip(found, made, strict=True)
    )


def _words(fact: Fact) -> tuple[str, ...]:
    return (fact.prompt, fact.subject, topic(fact), fact.answer, fact.relation)


def _refused(recipe: str, fact: Fact, why: str) -> FactvizError:
    return FactvizError(f"recipe {recipe!r} can't be applied to {fact.prompt[:80]!r}: {why}")


def _with_topic(fact: Fact, other: Fact) -> Fact:
    """Another fact's topic and answer in the fact's own prompt."""
    if not fact.topic or fact.topic == fact.subject:
        start, stop = fact.subject_span
        changed = {"subject": topic(other), "subject_start": start}
        changed |= {"topic": topic(other)} if fact.topic else {}
    else:
        start, stop = last_span(fact.prompt, fact.topic)
        begin = fact.subject_span[0]
        overlap = start < fact.subject_span[1] and stop > begin
        if overlap:
            raise _refused("other topic", fact, f"its topic {fact.topic!r} is within its subject")
        moved = len(topic(other)) - len(fact.topic) if start < begin else 0
        changed = {"topic": topic(other), "subject_start": begin + moved}
    prompt = fact.prompt[:start] + topic(other) + fact.prompt[stop:]
    return fact.replace(
        prompt=prompt,
        answer=other.answer,
        same_subject=other.same_subject,
        same_relation=other.same_relation,
        **changed,
    )


def _other_topic(fact: Fact, pool: Pool, draw: random.Random) -> Fact:
    others = [
        other
        for other in pool
        if other.relation == fact.relation
        and topic(other) != topic(fact)
        and other.answer != fact.answer
    ]
    if not others:
        raise _refused(
            "other topic",
            fact,
            f"no other fact of relation {fact.relation!r} has another topic and answer",
        )
    return _with_topic(fact, draw.choice(others))


def _flipped(facts: Pool, draw: random.Random) -> list[Fact]:
    by_relation: dict[str, list[int]] = {}
    for index, fact in enumerate(facts):
        by_relation.setdefault(fact.relation, []).append(index)
    made: dict[int, Fact] = {}
    for _, members in sorted(by_relation.items()):
        for index, partner in _partners(facts, members, draw).items():
            made[index] = _with_topic(facts[index], facts[partner])
    return [made[index] for index in range(len(facts))]


def _partners(facts: Pool, members: Sequence[int], draw: random.Random) -> dict[int, int]:
    """Half a round further in the order of answers: never one's own, if none is that of most."""
    listed = sorted(members, key=lambda index: _words(facts[index]))
    shuffled = draw.sample(listed, len(listed))
    order = sorted(shuffled, key=lambda index: facts[index].answer)
    half = len(order) // 2
    found = {index: order[(at + half) % len(order)] for at, index in enumerate(order)}
    for index, partner in found.items():
        fact, other = facts[index], facts[partner]
        if topic(fact) == topic(other) or fact.answer == other.answer:
            raise _refused(
                "flipped pair",
                fact,
                f"too few of the {len(members)} facts of relation {fact.relation!r} have another "
                "topic and answer",
            )
    return found


def _relation_replaced(fact: Fact, pool: Pool, draw: random.Random) -> Fact:
    name = "relation replaced"
    if fact.relation_words:
        words = sorted({o.relation_words for o in pool} - {"", fact.relation_words})
        if not words:
            raise _refused(name, fact, "no other fact declares other relation_words")
        return _with_words(fact, draw.choice(words))
    others = [o for o in pool if o.subject == fact.subject and o.relation != fact.relation]
    if not others:
        raise _refused(
            name,
            fact,
            f"it declares no relation_words, and no fact asks for another relation of "
            f"{fact.subject!r} (among= may bring some)",
        )
    return draw.choice(others)


def _with_words(fact: Fact, words: str) -> Fact:
    start, stop = last_span(fact.prompt, fact.relation_words)
    begin = fact.subject_span[0]
    if start < fact.subject_span[1] and stop > begin:
        raise _refused("relation replaced", fact, "its relation words are within its subject")
    moved = len(words) - len(fact.relation_words) if start < begin else 0
    return fact.replace(
        prompt=fact.prompt[:start] + words + fact.prompt[stop:],
        relation_words=words,
        template="",
        subject_start=begin + moved,
    )


def _prefix_dropped(fact: Fact, _pool: Pool, _draw: random.Random) -> Fact:
    if not fact.prefix:
        raise _refused("prefix dropped", fact, "it declares no prefix")
    rest = fact.prompt[len(fact.prefix) :].lstrip()
    gone = len(fact.prompt) - len(rest)
    begin = fact.subject_span[0] - gone
    if begin < 0:
        raise _refused("prefix dropped", fact, "its subject is within the prefix")
    template = fact.template.removeprefix(fact.prefix).lstrip()
    return fact.replace(prompt=rest, prefix="", template=template, subject_start=begin)


def _shots(recipe: str, fact: Fact) -> list[tuple[str, str]]:
    found = shots.shots_of(fact)
    if not found:
        raise _refused(recipe, fact, "it has no shots in its own template (FactSet.with_shots)")
    return found


def _other_answer(fact: Fact, pool: Pool, draw: random.Random) -> Fact:
    own = _shots("other answer", fact)
    there = {o.answer for o in pool if o.relation == fact.relation} | {answer for _, answer in own}
    made: list[tuple[str, str]] = []
    for subject, answer in own:
        others = sorted(there - {answer})
        if not others:
            raise _refused("other answer", fact, f"{answer!r} is the relation's only answer")
        made.append((subject, draw.choice(others)))
    return shots.behind(fact, made)


def _shots_changed(fact: Fact, pool: Pool, draw: random.Random) -> Fact:
    own = _shots("shots changed", fact)
    taken = {fact.subject, *(subject for subject, _ in own)}
    others = sorted({(o.subject, o.answer) for o in pool if o.relation == fact.relation} - set(own))
    others = [pair for pair in others if pair[0] not in taken]
    if len(others) < len(own):
        raise _refused(
            "shots changed",
            fact,
            f"relation {fact.relation!r} has {len(others)} subjects for {len(own)} other shots",
        )
    return shots.behind(fact, draw.sample(others, len(own)))


_RECIPES: dict[str, Callable[[Fact, Pool, random.Random], Fact]] = {
    "other topic": _other_topic,
    "other answer": _other_answer,
    "flipped pair": _other_topic,  # made for all facts at once, by `_flipped`
    "relation replaced": _relation_replaced,
    "prefix dropped": _prefix_dropped,
    "shots changed": _shots_changed,
}
RECIPES = tuple(_RECIPES)
