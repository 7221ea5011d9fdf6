"""The built-in tables hold no plain errors."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest

from factviz.facts import builtin, experiments

CONTINENTS = {"Europe", "Asia", "Africa", "Oceania", "North America", "South America"}


def _column(relation: str) -> dict[str, str]:
    return {row.subject: row.answer for row in builtin.rows() if row.relation == relation}


def test_every_subject_has_every_relation_of_its_kind_once() -> None:
    seen: dict[str, list[str]] = defaultdict(list)
    for row in builtin.rows():
        seen[row.relation].append(row.subject)
    for relation, subjects in seen.items():
        kind = relation.partition("_")[0]
        assert len(subjects) == len(set(subjects)), f"{relation} has a subject twice"
        for other in seen:
            if other.startswith(f"{kind}_"):
                assert seen[other] == subjects


def test_no_cell_is_empty_or_padded() -> None:
    for row in builtin.rows():
        for cell in (row.subject, row.answer):
            assert cell, row
            assert cell == " ".join(cell.split()), row


def test_a_subject_is_of_one_kind_only() -> None:
    kinds: dict[str, set[str]] = defaultdict(set)
    for row in builtin.rows():
        kinds[row.subject].add(row.relation.partition("_")[0])
    assert {subject: k for subject, k in kinds.items() if len(k) > 1} == {}


def test_one_capital_a_country_and_one_country_a_capital() -> None:
    capitals = _column("country_capital")
    assert len(capitals) > 90
    assert len(set(capitals.values())) == len(capitals)


@pytest.mark.parametrize(
    "relation",
    sorted(name for name in builtin.wordings() if name.endswith("_country")),
)
def test_every_country_answered_is_a_country(relation: str) -> None:
    countries = _column("country_capital")
    assert {a for a in _column(relation).values() if a not in countries} == set()


def test_continents_agree_with_countries() -> None:
    continent = _column("country_continent")
    assert set(continent.values()) == CONTINENTS
    for kind in ("athlete", "city", "company", "food", "landmark", "person", "product"):
        countries, continents = _column(f"{kind}_country"), _column(f"{kind}_continent")
        for subject, country in countries.items():
            assert continents[subject] == continent[country], subject
    rivers, ends = _column("river_continent"), _column("river_country")
    for river, country in ends.items():
        assert rivers[river] == continent[country], river


def test_a_city_lies_in_one_country() -> None:
    country = _column("city_country")
    country |= {capital: name for name, capital in _column("country_capital").items()}
    for kind in ("company", "landmark"):
        cities, countries = _column(f"{kind}_city"), _column(f"{kind}_country")
        for subject, city in cities.items():
            assert country.setdefault(city, countries[subject]) == countries[subject], subject


def test_languages_and_countries_do_not_swap() -> None:
    countries = set(_column("country_capital"))
    for relation in builtin.wordings():
        if relation.endswith("_language"):
            assert countries.isdisjoint(_column(relation).values()), relation


def test_currencies_and_languages_agree_with_countries() -> None:
    for what in ("currency", "language"):
        of_country, countries = _column(f"country_{what}"), _column("city_country")
        for city, found in _column(f"city_{what}").items():
            assert found == of_country[countries[city]], city


def test_products_and_works_of_a_maker_share_its_country() -> None:
    for kind, maker in (("product", "maker"), ("work", "creator")):
        seen: dict[str, str] = {}
        countries = _column(f"{kind}_country")
        for subject, name in _column(f"{kind}_{maker}").items():
            assert seen.setdefault(name, countries[subject]) == countries[subject], subject


def test_symbols_and_state_capitals_lead_back() -> None:
    for relation in ("element_symbol", "state_capital"):
        answers = list(_column(relation).values())
        assert len(set(answers)) == len(answers), relation
    assert len(_column("state_year")) == 50


def test_there_are_enough_facts_of_enough_kinds() -> None:
    rows = builtin.rows()
    assert len({row.subject for row in rows}) >= 1500
    assert len({row.kind for row in rows}) >= 5
    assert len({row.relation for row in rows}) >= 12
    attributes: dict[str, set[str]] = defaultdict(set)
    answers: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        attributes[row.subject].add(row.answer)
        answers[row.relation].add(row.answer)
    # S is the others of the subject's attributes, R the others of the relation's.
    assert sum(len(own) > 3 for own in attributes.values()) > 0.5 * len(attributes)
    assert sum(len(found) > 8 for found in answers.values()) > 0.5 * len(answers)


def test_every_relation_has_wordings_that_take_one_subject() -> None:
    wordings = builtin.wordings()
    assert set(wordings) == {row.relation for row in builtin.rows()}
    for relation, templates in wordings.items():
        assert len(templates) >= 28, relation
        assert len(set(templates)) == len(templates), relation
        assert templates[0].startswith("Fact: "), relation
        for template in templates:
            assert template.count("{subject}") == 1, template
            assert template == template.strip(), template


def test_no_wording_is_the_beginning_of_another() -> None:
    templates = sorted({t for some in experiments.every_wording().values() for t in some})
    # Sorted, a beginning stands directly before what it begins.
    for shorter, longer in pairwise(templates):
        assert not longer.startswith(shorter), (shorter, longer)


def test_an_ending_does_not_go_on_elsewhere() -> None:
    """After the last three words of a wording comes the answer, in every wording that has them."""
    inside: dict[tuple[str, ...], str] = {}
    templates = {t for some in experiments.every_wording().values() for t in some}
    for template in templates:
        words = ["", *template.split()]
        for i in range(len(words) - 3):
            if not words[i + 3].startswith("{subject}"):
                inside[tuple(words[i : i + 3])] = template
    wrong = [(t, inside[key]) for t in templates if (key := tuple(["", *t.split()][-3:])) in inside]
    assert wrong == []
