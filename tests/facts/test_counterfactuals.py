"""Counterfactual prompts: what each recipe changes and leaves, and what it refuses by name."""

from __future__ import annotations

import random
from typing import Any

import pytest

import factviz as fv
from factviz.facts.counterfactuals import RECIPES
from factviz.facts.shots import shots_of

IN = "Fact: {subject} is in the country of"


def made(subject: str, answer: str, template: str = IN, **options: Any) -> fv.Fact:
    options = {"relation": "country", "prefix": "Fact:"} | options
    return fv.Fact.from_template(template, subject, answer, **options)


FACTS = fv.FactSet(
    [
        made("Rome", "Italy"),
        made("Milan", "Italy"),
        made("Lyon", "France"),
        made("Nara", "Japan"),
        made("Lima", "Peru"),
        made("Rome", "Europe", "Fact: {subject} is in the continent of", relation="continent"),
    ]
)
CITIES = FACTS[:5]


def test_another_topic_stands_in_the_facts_own_prompt() -> None:
    found = fv.counterfactuals(CITIES, "other topic")
    assert isinstance(found, fv.FactSet) and len(found) == len(CITIES)
    answers = {fact.subject: fact.answer for fact in CITIES}
    for fact, new in zip(CITIES, found, strict=True):
        assert new.prompt == f"Fact: {new.subject} is in the country of" != fact.prompt
        assert new.answer == answers[new.subject] != fact.answer
        assert new.prefix == fact.prefix and new.template == fact.template
        assert new.notes == (f"made from {fact.prompt!r} by the recipe 'other topic'",)


def test_draws_depend_on_the_seed_and_not_on_the_other_facts() -> None:
    whole = fv.counterfactuals(FACTS[:5], "other_topic", seed=3)
    some = fv.counterfactuals(FACTS[:2], "other-topic", among=FACTS[:5], seed=3)
    assert [f.prompt for f in some] == [f.prompt for f in whole][:2]
    seeds = {tuple(f.prompt for f in fv.counterfactuals(CITIES, "other topic", seed=s))
             for s in range(5)}  # fmt: skip
    assert len(seeds) > 1


@pytest.mark.parametrize("recipe", ["other topic", "flipped pair", "relation replaced",
                                    "other answer", "shots changed"])  # fmt: skip
def test_the_order_of_the_facts_changes_no_draw(recipe: str) -> None:
    facts = fv.FactSet.builtin().select(relation=["country_capital", "country_language"])[:40]
    if recipe in ("other answer", "shots changed"):
        facts = facts.with_shots(2)
    whole = fv.FactSet.builtin().select(relation=["country_capital", "country_language"])
    order = random.Random(0).sample(range(len(facts)), len(facts))
    among = None if recipe == "flipped pair" else whole
    made = list(fv.counterfactuals(facts, recipe, among=among))
    mixed = fv.FactSet(facts[i] for i in order)
    back = None if among is None else list(whole)[::-1]
    again = list(fv.counterfactuals(mixed, recipe, among=back))
    assert [fact.prompt for fact in again] == [made[i].prompt for i in order]


def test_a_topic_within_a_longer_word_is_left_alone() -> None:
    facts = [
        fv.Fact("of Rome and Romeo says Ann the land is", "Ann", "a", "r", topic="Rome"),
        fv.Fact("of Lyon and Romeo says Bob the land is", "Bob", "b", "r", topic="Lyon"),
    ]
    assert fv.counterfactuals(facts, "other topic")[0].prompt == facts[1].prompt.replace(
        "Bob", "Ann"
    )


def test_a_topic_that_is_not_the_subject_is_exchanged() -> None:
    facts = [
        fv.Fact("in Rome lives Ann of", "Ann", "a", "r", topic="Rome"),
        fv.Fact("in Ouagadougou lives Bob of", "Bob", "b", "r", topic="Ouagadougou"),
    ]
    one, two = fv.counterfactuals(facts, "other topic")
    assert (one.prompt, one.subject, one.topic) == (
        "in Ouagadougou lives Ann of", "Ann", "Ouagadougou",
    )  # fmt: skip
    assert one.prompt[slice(*one.subject_span)] == "Ann" and one.answer == "b"
    assert two.prompt == "in Rome lives Bob of"


def test_a_shot_keeps_its_place_when_the_topic_is_exchanged() -> None:
    shot = CITIES.with_shots(2)
    for fact, new in zip(shot, fv.counterfactuals(shot, "other topic"), strict=True):
        start = fact.subject_span[0]
        assert new.prompt[:start] == fact.prompt[:start] and new.subject_span[0] == start
        assert new.prompt[slice(*new.subject_span)] == new.subject != fact.subject


@pytest.mark.parametrize("count", [4, 5])
def test_flipped_pairs_exchange_their_topics(count: int) -> None:
    facts = FACTS[1:count] if count == 4 else CITIES  # 3 and 5 facts close in a ring
    facts = FACTS[1:5] if count == 4 else facts
    found = fv.counterfactuals(facts, "flipped pair")
    assert sorted(f.subject for f in found) == sorted(f.subject for f in facts)
    partner = dict(zip([f.subject for f in facts], [f.subject for f in found], strict=True))
    assert all(a.answer != b.answer for a, b in zip(facts, found, strict=True))
    if count == 4:
        assert all(partner[partner[name]] == name != partner[name] for name in partner)


def test_the_relation_is_replaced_by_its_words_or_by_a_wording() -> None:
    words = [
        fv.Fact("The country of Rome is", "Rome", "Italy", "country", relation_words="country"),
        fv.Fact("The currency of Rome is", "Rome", "euro", "money", relation_words="currency"),
    ]
    one, two = fv.counterfactuals(words, "relation replaced")
    assert (one.prompt, one.relation_words) == ("The currency of Rome is", "currency")
    assert one.prompt[slice(*one.subject_span)] == "Rome"
    assert two.prompt == "The country of Rome is"
    (found,) = fv.counterfactuals(FACTS[0], "relation replaced", among=FACTS)
    assert found.prompt == "Fact: Rome is in the continent of" and found.relation == "continent"


def test_the_prefix_is_dropped() -> None:
    (found,) = fv.counterfactuals(CITIES[0], "prefix dropped")
    assert (found.prompt, found.prefix) == ("Rome is in the country of", "")
    assert found.prompt[slice(*found.subject_span)] == "Rome" and found.answer == "Italy"
    assert found.template == "{subject} is in the country of"


def test_shots_are_read_and_changed() -> None:
    shot = CITIES.with_shots(2)
    pairs = {(f.subject, f.answer) for f in CITIES}
    for fact in shot:
        assert len(shots_of(fact)) == 2 and set(shots_of(fact)) < pairs
    answers = fv.counterfactuals(shot, "other answer")
    changed = fv.counterfactuals(shot, "shots changed")
    for fact, other, new in zip(shot, answers, changed, strict=True):
        before, after, drawn = shots_of(fact), shots_of(other), shots_of(new)
        assert [s for s, _ in before] == [s for s, _ in after]
        assert all(a != b for (_, a), (_, b) in zip(before, after, strict=True))
        assert not {s for s, _ in drawn} & {s for s, _ in before} and len(drawn) == 2
        for one in (other, new):
            assert one.answer == fact.answer and one.prompt.endswith(fact.prompt[-20:])
            assert one.prompt[slice(*one.subject_span)] == fact.subject
    assert shots_of(CITIES[0]) == []


@pytest.mark.parametrize(
    ("facts", "recipe", "said"),
    [
        (FACTS[5], "other topic", "'Fact: Rome is in the continent of': no other fact of relation"),
        (FACTS[:2], "other topic", "'Fact: Rome is in the country of': no other fact"),
        (FACTS[:3], "flipped pair", "too few of the 3 facts of relation 'country'"),
        (FACTS[5], "flipped pair", "too few of the 1 facts"),
        (CITIES, "relation replaced", "declares no relation_words, and no fact asks for another"),
        (CITIES, "other answer", "'Fact: Rome is in the country of': it has no shots"),
        (CITIES, "shots changed", "it has no shots in its own template"),
        (CITIES.with_shots(3), "shots changed", "has 1 subjects for 3 other shots"),
        (fv.Fact("Rome is in", "Rome", "Italy"), "prefix dropped", "it declares no prefix"),
        (CITIES, "swapped", "recipe 'swapped' for counterfactuals is unknown: 'other topic'"),
        ([], "other topic", "no facts were given"),
    ],
)
def test_what_cannot_be_made_is_refused(facts: Any, recipe: str, said: str) -> None:
    with pytest.raises(fv.FactvizError, match=said):
        fv.counterfactuals(facts, recipe)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_works_on_built_in_facts(recipe: str) -> None:
    whole = fv.FactSet.builtin().select(relation=["country_capital", "country_currency"])
    shown = recipe in ("other answer", "shots changed")
    # A country whose currency is shared by most can't be flipped among few: take a spread of them.
    facts = whole.select(relation="country_capital")[:20]
    facts = facts.with_shots(2) if shown else facts
    found = fv.counterfactuals(facts, recipe, among=whole)
    assert len(found) == 20
    for fact, new in zip(facts, found, strict=True):
        assert new.prompt != fact.prompt and fact.prompt in new.notes[-1]
