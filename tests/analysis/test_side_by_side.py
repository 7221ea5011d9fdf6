"""Results compared, classes under other wordings, and facts asked backwards."""

from __future__ import annotations

import numpy as np
import pytest

import factviz as fv
from factviz.analysis.reversal import bare
from factviz.analysis.robustness import distract, reword
from factviz.results.comparison import jaccard, rank_correlation
from tests.results.test_head_classes import table

BACK = "Fact: {subject} is the capital of the country of"


@pytest.fixture(scope="module")
def facts() -> list[fv.Fact]:
    return list(fv.FactSet.builtin())[::40]


@pytest.fixture(scope="module")
def robust(mini: fv.FactModel, facts: list[fv.Fact]) -> fv.Comparison:
    return fv.check_robustness(mini, facts, most=1)


def test_agreement_by_hand() -> None:
    a = np.array([True, True, False, False])
    b = np.array([True, False, True, False])
    assert jaccard(a, b) == pytest.approx(1 / 3)
    assert np.isnan(jaccard(~a & a, b & ~b))
    x = np.array([1.0, 2.0, 3.0, 50.0])
    assert rank_correlation(x, x**3) == pytest.approx(1)
    assert rank_correlation(x, -x) == pytest.approx(-1)
    assert np.isnan(rank_correlation(x, np.ones(4)))


def test_two_tables_of_classes_by_hand() -> None:
    one = table([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.0, 0.0), (0.3, 0.2, 0.0)])
    two = table([(0.9, 0.0, 0.0), (0.0, 0.8, 0.0), (0.0, 0.5, 0.0), (0.3, 0.2, 0.0)])
    result = fv.compare(one, two, labels=["one", "two"])
    told = result.agreement().set_index("measure")
    assert told.loc["subject heads", "jaccard"] == pytest.approx(1 / 2)
    assert told.loc["relation heads", "jaccard"] == pytest.approx(1 / 2)
    assert told.loc["mixed heads", "jaccard"] == 1
    assert told.loc["subject heads", "ceiling"] == 1  # all facts are alike
    assert told.loc["subject_dla", "entries"] == 4
    frame = result.to_frame().set_index(["measure", "name"])
    assert frame.loc[("subject_dla", "L0H2"), "one"] == pytest.approx(0.5)
    assert frame.loc[("subject_dla", "L0H2"), "two class"] == "relation"


def test_what_cannot_be_compared(mini: fv.FactModel, facts: list[fv.Fact]) -> None:
    one = fv.mlp_boosts(mini, facts[:2])
    with pytest.raises(fv.FactvizError, match="1 results can't be compared"):
        fv.compare(one)
    with pytest.raises(fv.FactvizError, match="MLPBoosts can't be compared with a HeadProfile"):
        fv.compare(one, fv.profile_head(mini, facts[:2], 0, 0))
    lens = fv.lens(fv.trace(mini, facts[0]))
    with pytest.raises(fv.FactvizError, match="a LogitLens can't be compared"):
        fv.compare(lens, lens)
    with pytest.raises(fv.FactvizError, match="labels"):
        fv.compare(one, one, labels=["a", "a"])
    same = fv.compare(one, one)
    assert same.labels == ["mini (1)", "mini (2)"]
    assert same.agreement()["pearson"].iloc[0] == pytest.approx(1)


def test_every_kind_is_compared(mini: fv.FactModel, facts: list[fv.Fact]) -> None:
    some = facts[:3]
    results = [
        fv.attribute_logits(fv.trace(mini, some)),
        fv.sum_up(mini, some, by="source"),
        fv.profile_head(mini, some, 2, 7),
        fv.compare_effects(mini, some),
        fv.knock_out_paths(mini, some, controls=0),
    ]
    for result in results:
        both = fv.compare(result, result)
        values = both.dataset["value"].values
        np.testing.assert_array_equal(values[:, 0], values[:, 1])
        assert len(both.to_frame()) > 2


def test_classes_survive_other_words(robust: fv.Comparison) -> None:
    assert robust.labels == ["as given", "wording 1", "distractor 1"]
    told = robust.agreement().set_index(["first", "second", "measure"])
    pair = ("as given", "wording 1")
    assert told.loc[(*pair, "subject_dla"), "spearman"] > 0.6
    assert told.loc[(*pair, "subject heads"), "jaccard"] > 0.4
    assert told.loc[(*pair, "subject heads"), "ceiling"] > 0.3
    notes = " ".join(robust.provenance["notes"])
    assert "wording 1: " in notes and "distractor 1: " in notes


def test_facts_in_other_words(mini: fv.FactModel) -> None:
    one = fv.FactSet.builtin().select(relation="city_country")[0]
    templates = {"city_country": [one.template, "In the land of {subject} is", "{subject} of"]}
    (other,) = reword([one], templates, 0)
    assert other.prompt == "In the land of Paris is" and other.prefix == ""
    assert (other.same_subject, other.same_relation) == (one.same_subject, one.same_relation)
    assert reword([one], templates, 1)[0].prompt == "Paris of"
    assert reword([one], templates, 2) == [] and reword([one], {}, 0) == []
    (far,) = distract([one], "Fact: Rome is in Italy.")
    assert far.prompt == f"Fact: Rome is in Italy. {one.prompt}"
    row = mini.tokenize(far)
    plain = mini.tokenize(one)
    assert [row.texts[i] for i in row.groups["subject"]] == [" Paris"]
    assert len(row.groups["relation"]) == len(plain.groups["relation"])
    assert len(row.groups["prefix"]) > len(plain.groups["prefix"])
    with pytest.raises(fv.FactvizError, match="distractor is empty"):
        distract([one], "  ")
    with pytest.raises(fv.FactvizError, match="has no other wording"):
        fv.check_robustness(mini, [one], wordings={}, distractors=[])


def test_forward_and_backward_recall(mini: fv.FactModel) -> None:
    facts = fv.FactSet.builtin().select(relation="country_capital")[:12]
    result = fv.reversal(mini, facts, {"country_capital": BACK})
    rows = result.table().set_index("direction")
    assert rows.loc["forward", "recall"] > 0.8
    frame = result.to_frame()
    first = frame.iloc[0]
    assert frame["direction"].tolist()[:2] == ["forward", "backward"]
    chance = mini.predict(facts[0]).set_index("token_id")["probability"]
    assert first["probability"] == pytest.approx(float(chance.max()), abs=1e-4)
    parts = result.contribution.sum("part")
    np.testing.assert_allclose(parts, result.dataset["logit"], atol=1e-3)
    back = frame.iloc[1]
    assert back["prompt"] == BACK.replace("{subject}", facts[0].answer)
    assert back["answer"] == facts[0].subject
    plain = fv.attribute_logits(fv.trace(mini, fv.Fact(back["prompt"], facts[0].answer,
                                                       back["answer"])))  # fmt: skip
    assert back["logit"] == pytest.approx(float(plain.logits[0]), abs=1e-3)


def test_pairs_are_found_among_the_facts(mini: fv.FactModel) -> None:
    one, other = fv.FactSet.builtin().select(relation="country_capital")[:2]
    back = fv.Fact.from_template(BACK, one.answer, one.subject, relation="capital_country")
    result = fv.reversal(mini, [one, other, back])
    assert result.dataset.sizes["fact"] == 1
    assert any("1 of 3 facts have no backward one" in n for n in result.provenance["notes"])
    assert result.to_frame()["prompt"].tolist() == [one.prompt, back.prompt]
    given = fv.reversal(mini, one, [back])
    np.testing.assert_allclose(given.probability, result.probability.values[0], atol=1e-5)
    assert bare("The  Colosseum ") == bare("the  colosseum")
    with pytest.raises(fv.FactvizError, match="no fact asks for the subject"):
        fv.reversal(mini, [one, other])
    with pytest.raises(fv.FactvizError, match="must contain"):
        fv.reversal(mini, one, "no slot")


def test_they_are_drawn_and_opened(
    mini: fv.FactModel, robust: fv.Comparison, tmp_path: pytest.TempPathFactory
) -> None:
    facts = fv.FactSet.builtin().select(relation="country_capital")[:4]
    for number, result in enumerate(
        (robust, fv.reversal(mini, facts, BACK), fv.reversal(mini, facts[0], BACK))
    ):
        path = result.save(f"{tmp_path}/{number}.html")
        again = fv.open_result(path)
        assert again.dataset.identical(result.dataset)
        assert again.provenance == result.provenance
        assert "mini" in result._repr_mimebundle_()["text/html"]
        assert result.save(f"{tmp_path}/{number}.png").stat().st_size > 1000
