"""What a Fact accepts, refuses and decides."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from factviz.facts.errors import FactvizError, FactvizWarning
from factviz.facts.fact import Fact
from tests.hostile import HOSTILE

PROMPT = "Fact: The Colosseum is in the country of"


def test_the_subject_is_located_by_characters() -> None:
    fact = Fact(PROMPT, "The Colosseum", "Italy")
    start, stop = fact.subject_span
    assert (start, PROMPT[start:stop]) == (6, "The Colosseum")


def test_a_fact_is_frozen_and_equal_by_value() -> None:
    fact = Fact(PROMPT, "The Colosseum", "Italy", same_relation=["France"])  # type: ignore[arg-type]
    assert fact == Fact(PROMPT, "The Colosseum", "Italy", same_relation=("France",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        fact.answer = "France"  # type: ignore[misc]


def test_the_answer_is_in_neither_set() -> None:
    fact = Fact(PROMPT, "The Colosseum", "Italy", "r", ("Rome", "Italy"), ("Italy", "Peru", "Peru"))
    assert (fact.same_subject, fact.same_relation) == (("Rome",), ("Peru",))


def test_of_two_mentions_the_last_is_taken_with_a_warning() -> None:
    prompt = "Paris, Texas is not Paris in"
    with pytest.warns(FactvizWarning, match="more than once.*subject_start"):
        assert Fact(prompt, "Paris", "France").subject_span == (20, 25)
    assert Fact(prompt, "Paris", "France", subject_start=0).subject_span == (0, 5)


def test_a_trailing_space_is_trimmed_with_a_warning_or_kept() -> None:
    with pytest.warns(FactvizWarning, match="ends with a space"):
        assert Fact(PROMPT + "  ", "The Colosseum", "Italy").prompt == PROMPT
    kept = Fact(PROMPT + " ", "The Colosseum", "Italy", keep_trailing_space=True)
    assert kept.prompt == PROMPT + " "


def test_from_template_remembers_where_the_subject_went() -> None:
    template = "Fact: Rome and {subject} are in the country of"
    fact = Fact.from_template(template, "Rome", "Italy", relation="x", prefix="Fact:")
    assert (fact.subject_start, fact.template, fact.relation) == (15, template, "x")


def test_replace_looks_for_the_subject_again() -> None:
    fact = Fact(PROMPT, "The Colosseum", "Italy")
    moved = fact.replace(prompt="Yes, The Colosseum is in the country of")
    assert moved.subject_span == (5, 18)
    assert fact.replace(answer="Peru").subject_span == fact.subject_span


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("", "x", "y"), {}, "prompt is empty"),
        (("   ", "x", "y"), {}, "prompt is empty"),
        ((PROMPT, "", "Italy"), {}, "subject is empty"),
        ((PROMPT, "The Colosseum", ""), {}, "answer is empty"),
        ((PROMPT, "The Colosseum", " \t"), {}, "answer is empty"),
        ((PROMPT, "The Louvre", "Paris"), {}, "'The Louvre' not found in prompt 'Fact: The Colos"),
        ((PROMPT, "The Colosseum", "Italy"), {"subject_start": 3}, "does not begin at character 3"),
        ((PROMPT, "The Colosseum", "Italy"), {"subject_start": -34}, "does not begin at"),
        ((PROMPT, "The Colosseum", "Italy"), {"prefix": "Q:"}, "does not begin with its prefix"),
        ((PROMPT, "The Colosseum", "Italy"), {"topic": "Rome"}, "topic 'Rome' not found"),
        ((PROMPT, 7, "Italy"), {}, "subject must be text, not int"),
        ((PROMPT, "The Colosseum", "Italy", "", (), ("\ud83d",)), {}, "same_relation: .*surrogate"),
        ((PROMPT, "The Colosseum", "Italy", "", (1,)), {}, "must hold words, not int"),
        ((PROMPT, "The Colosseum", "Italy", "", None), {}, "must be a list of words, not None"),
        ((PROMPT, "The Colosseum", "Italy", None), {}, "relation must be text"),
        (("About \ud83d is", "\ud83d", "Italy"), {}, "half a surrogate pair"),
        ((PROMPT, "The Colosseum", "Italy", "", "Rome"), {}, "must be a list of words"),
    ],
)
def test_bad_input_is_named(arguments: tuple, options: dict, said: str) -> None:
    with pytest.raises(FactvizError, match=said):
        Fact(*arguments, **options)


@pytest.mark.parametrize("template", ["no slot", "{subject} and {subject}"])
def test_a_template_has_one_slot(template: str) -> None:
    with pytest.raises(FactvizError, match="exactly once"):
        Fact.from_template(template, "x", "y")


@pytest.mark.parametrize("text", [t for t in HOSTILE if t.strip() and "\ud83d" not in t])
def test_hostile_text_is_only_text(text: str) -> None:
    fact = Fact(f"About {text} is", text, "yes")
    start, stop = fact.subject_span
    assert fact.prompt[start:stop] == text


def test_what_was_decided_stays_with_the_fact() -> None:
    with pytest.warns(FactvizWarning):
        trimmed = Fact(PROMPT + " ", "The Colosseum", "Italy")
    assert len(trimmed.notes) == 1 and "trimmed" in trimmed.notes[0]
    plain = Fact(PROMPT, "The Colosseum", "Italy")
    assert plain.notes == () and plain == trimmed


@pytest.mark.parametrize("make", [Fact, lambda *given: Fact.from_template("{subject} is ", *given)])
def test_a_warning_names_the_users_line(make: Any) -> None:
    arguments = ("Ayr is ", "Ayr", "x") if make is Fact else ("Ayr", "x")
    with pytest.warns(FactvizWarning) as caught:
        make(*arguments)
    assert caught[0].filename == __file__
