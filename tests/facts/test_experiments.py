"""The built-in experiments: their facts are what their names say, and follow from the tables."""

from __future__ import annotations

import pytest

import factviz as fv
from factviz.facts import builtin, experiments
from factviz.facts.draws import fraction
from factviz.facts.errors import FactvizError

PARTS = experiments.parts()


def test_fractions_depend_on_the_words_alone() -> None:
    assert fraction("a", "b") == fraction("a", "b") != fraction("b", "a")
    values = [fraction("x", str(i)) for i in range(2000)]
    assert min(values) >= 0 and max(values) < 1
    assert abs(sum(values) / len(values) - 0.5) < 0.02


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_part_is_a_fact_set(name: str) -> None:
    facts = fv.FactSet.builtin(name)
    assert len(facts) == len(PARTS[name]) >= 20
    assert all(fact.same_relation for fact in facts)


def test_an_unknown_part_is_refused_with_the_parts_there_are() -> None:
    with pytest.raises(
        FactvizError, match=r"no built-in facts 'rumours'.*'facts', 'reversal/both'"
    ):
        fv.FactSet.builtin("rumours")


def test_the_facts_leave_out_subjects_that_are_only_listed() -> None:
    only = {row.subject for row in PARTS["lists"]}
    assert len(only) >= 40
    assert only.isdisjoint(fact.subject for fact in fv.FactSet.builtin())
    assert {row.kind for row in PARTS["lists"]}.isdisjoint({"country"})


def test_backward_facts_are_forward_facts_turned_round() -> None:
    forward = {(row.answer, row.relation): row.subject for row in builtin.rows()}
    turned = {"symbol_element": "element_symbol", "town_state": "state_capital"}
    both, one_way = PARTS["reversal/both"], PARTS["reversal/forward only"]
    assert {row.subject for row in both}.isdisjoint(row.subject for row in one_way)
    for row in (*both, *one_way):
        assert row.answer.lower() in forward[row.subject, turned[row.relation]].lower()
    assert abs(len(both) - len(one_way)) < 0.35 * (len(both) + len(one_way))


def test_two_hop_facts_follow_from_two_facts() -> None:
    facts = {(row.subject, row.relation): row.answer for row in builtin.rows()}
    countries: dict[str, set[str]] = {}
    for condition in ("trained", "new subject", "new country"):
        for row in PARTS[f"two-hop/{condition}"]:
            _, kind, what = row.relation.split("_")
            country = facts[row.subject, f"{kind}_country"]
            assert facts[country, f"country_{what}"] == row.answer
            countries.setdefault(condition, set()).add(country)
    assert countries["new country"].isdisjoint(countries["trained"] | countries["new subject"])


def test_made_up_people_have_independent_attributes() -> None:
    rows = experiments.fiction()
    of: dict[str, dict[str, str]] = {}
    for row in rows:
        of.setdefault(row.subject, {})[row.relation] = row.answer
    assert len(of) == 120
    assert all(len(attributes) == 5 for attributes in of.values())
    assert set(of).isdisjoint(row.subject for row in builtin.rows())
    for first, second in (
        ("fiction_color", "fiction_pet"),
        ("fiction_trade", "fiction_instrument"),
    ):
        pairs = [(attributes[first], attributes[second]) for attributes in of.values()]
        assert max(pairs.count(pair) for pair in set(pairs)) <= 6


def test_a_rival_is_another_answer_of_the_relation() -> None:
    drinks = {row.answer for row in experiments.fiction() if row.relation == experiments.CONFLICT}
    for name in ("conflict/0.9", "conflict/0.7"):
        for row in PARTS[name]:
            assert experiments.rival(row) in drinks - {row.answer}
            assert f"conflict/{experiments.stated_share(row):g}" == name


def test_numeric_answers_are_years() -> None:
    assert all(1000 <= int(row.answer) <= 2026 for row in PARTS["numeric"])


class TestShots:
    facts = fv.FactSet.builtin("fiction")

    def test_shots_stand_in_front_in_the_same_wording(self) -> None:
        few = self.facts[:30].with_shots(2)
        for fact, plain in zip(few, self.facts, strict=False):
            assert fact.prompt.endswith(plain.prompt)
            assert fact.prompt.count(". ") == 2
            assert fact.prompt[slice(*fact.subject_span)] == fact.subject == plain.subject
            assert fact.subject_span[0] > fact.prompt.rindex(". ")
            assert fact.answer == plain.answer

    def test_they_are_drawn_from_a_seed(self) -> None:
        assert self.facts.with_shots(2, seed=1) == self.facts.with_shots(2, seed=1)
        assert self.facts.with_shots(2, seed=1) != self.facts.with_shots(2, seed=2)

    def test_a_fact_is_no_shot_of_itself(self) -> None:
        for fact in self.facts[:40].with_shots(3):
            assert fact.prompt.count(fact.subject) == 1

    def test_no_shots_change_nothing(self) -> None:
        assert self.facts.with_shots(0) == self.facts

    def test_bad_input(self) -> None:
        with pytest.raises(FactvizError, match="-1 shots"):
            self.facts.with_shots(-1)
        with pytest.raises(FactvizError, match="200 shots asked for, but relation 'fiction_color'"):
            self.facts.select(relation="fiction_color").with_shots(200)
        bare = fv.FactSet([fv.Fact("Rome is in", "Rome", "Italy", relation="r")])
        with pytest.raises(FactvizError, match="has no template"):
            bare.with_shots(1)
