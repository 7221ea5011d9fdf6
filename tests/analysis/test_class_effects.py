"""Classes of heads ablated, patched and kept alone; paths cut; DLA beside effects; misfires."""

from __future__ import annotations

import numpy as np
import pytest

import factviz as fv
from factviz.analysis.class_effects import class_sets
from tests.analysis.causal_cases import Case, fact


@pytest.fixture(scope="module")
def halves() -> tuple[list[fv.Fact], list[fv.Fact]]:
    facts = fv.FactSet.builtin().select(relation=["city_country", "city_language"])
    names = sorted({fact.subject for fact in facts})[::3]
    return fv.split_facts(facts.select(subject=names))


@pytest.fixture(scope="module")
def classes(mini: fv.FactModel, halves: tuple[list[fv.Fact], list[fv.Fact]]) -> fv.HeadClasses:
    return fv.classify_heads(mini, halves[0], n_blocked=0)


@pytest.fixture(scope="module")
def judged(halves: tuple[list[fv.Fact], list[fv.Fact]]) -> list[fv.Fact]:
    return halves[1][:16]


def test_halves_share_no_subject(halves: tuple[list[fv.Fact], list[fv.Fact]]) -> None:
    one, two = ({fact.subject for fact in half} for half in halves)
    assert not one & two
    assert len(one) + len(two) == len({f.subject for half in halves for f in half})
    for half in halves:
        assert {fact.relation for fact in half} == {"city_country", "city_language"}


def test_subject_heads_ablated_hurt_more_than_random_ones(
    mini: fv.FactModel, judged: list[fv.Fact], classes: fv.HeadClasses
) -> None:
    result = fv.ablate_classes(mini, judged, classes)
    table = result.outcomes().set_index(["variant", "component"])
    hurt = table.loc[("intervened", "subject heads")]
    control = table.loc[("control", "subject heads")]
    base = table.loc[("base", "")]
    assert base["accuracy"] > 0.9 and base["probability"] > 0.7
    assert hurt["probability_high"] < control["probability_low"]
    assert hurt["logit"] < base["logit"]
    # The heads were chosen on other subjects, so there is nothing to warn of.
    assert not any("classified on facts" in note for note in result.provenance["notes"])
    told = result.interactions().set_index(["first", "second"]).loc[
        ("subject heads", "relation heads")]  # fmt: skip
    change = result.effects("logit").set_index("component")["effect"]
    both = change["subject heads + relation heads"]
    assert told["effect_both"] == pytest.approx(both)
    alone = change["subject heads"] + change["relation heads"]
    assert told["interaction"] == pytest.approx(both - alone)


def test_the_same_subjects_are_said(
    mini: fv.FactModel, halves: tuple[list[fv.Fact], list[fv.Fact]], classes: fv.HeadClasses
) -> None:
    result = fv.ablate_classes(mini, halves[0][:4], classes, controls=0)
    assert any("classified on facts of" in note for note in result.provenance["notes"])


def test_relation_heads_patched_from_another_subject_hardly_matter(
    mini: fv.FactModel, judged: list[fv.Fact], classes: fv.HeadClasses
) -> None:
    result = fv.patch_classes(mini, judged, classes)
    change = result.effects().set_index("component")
    assert abs(change.loc["relation heads", "effect"]) < 0.1
    assert change.loc["subject heads", "effect"] < -0.2
    assert change.loc["subject heads", "high"] < change.loc["subject heads", "control_low"]
    # The other subject's answer comes in their place.
    source = result.dataset["source_probability"].mean("fact")
    run = result.dataset["component"].values.tolist().index("subject heads")
    assert float(source[run]) > 5 * float(source[0])


def test_facts_without_another_subject_are_left_out(
    mini: fv.FactModel, judged: list[fv.Fact], classes: fv.HeadClasses
) -> None:
    lone = next(iter(fv.FactSet.builtin().select(relation="animal_class")))
    result = fv.patch_classes(mini, [*judged, lone], classes, controls=0)
    assert any("1 of 17 facts were left out" in note for note in result.provenance["notes"])
    with pytest.raises(fv.FactvizError, match="none of the 1 facts"):
        fv.patch_classes(mini, [lone], classes)


def test_a_narrow_circuit_is_what_is_kept(
    mini: fv.FactModel, judged: list[fv.Fact], classes: fv.HeadClasses
) -> None:
    some = judged[:6]
    result = fv.keep_heads(mini, some, {"two": [(2, 7), (1, 0)]}, mode="zero", draws=2)
    assert result.components == ["only two", "only 2 random heads (1)", "only 2 random heads (2)",
                                 "no heads"]  # fmt: skip
    every = [(layer, head) for layer in range(6) for head in range(8)]
    others = [head for head in every if head not in ((2, 7), (1, 0))]
    plain = fv.ablate(mini, some, others, mode="zero", controls=0)
    np.testing.assert_allclose(
        result.dataset["logit"].values[:, 1], plain.dataset["logit"].values[:, 1], atol=1e-5
    )
    by_class = fv.keep_heads(mini, judged, classes).outcomes()
    kept = by_class.set_index("component")["probability"]
    random = kept[[name for name in kept.index if "random" in name]]
    assert kept["only classified heads"] > kept["no heads"]
    assert kept["only classified heads"] > random.iloc[:3].mean()
    with pytest.raises(fv.FactvizError, match="holds all 48 heads"):
        fv.keep_heads(mini, some, every)
    with pytest.raises(fv.FactvizError, match="is no head"):
        fv.keep_heads(mini, some, ["mlp 2"])


def test_the_embedded_model_has_one_path_from_the_subject(
    mini: fv.FactModel, judged: list[fv.Fact]
) -> None:
    result = fv.knock_out_paths(mini, judged)
    change = result.effects().set_index("component")
    end, relation, both = result.components
    assert change.loc[end, "effect"] < -0.3
    assert change.loc[end, "high"] < change.loc[end, "control_low"]
    assert abs(change.loc[relation, "effect"]) < 0.1
    assert abs(change.loc[both, "effect"] - change.loc[end, "effect"]) < 0.1
    assert result.interactions()["second"].tolist() == [relation]
    assert len(result.outcomes()) == 7


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_paths_are_those_of_block_attention(family: str) -> None:
    case = Case(family)
    one = fact()
    result = fv.knock_out_paths(case.model, one, controls=0)
    words = ("end", "relation", ["end", "relation"])
    for run, queries in enumerate(words, 1):
        plain = fv.block_attention(case.model, one, queries, "subject", controls=0)
        assert float(result.logit[run]) == pytest.approx(float(plain.logit[1]), abs=1e-5)


def test_no_relation_token_behind_the_subject(mini: fv.FactModel) -> None:
    bare = fv.Fact("The capital of France is", "France", "Paris")
    with pytest.raises(fv.FactvizError, match="no relation token but END stands behind"):
        fv.knock_out_paths(mini, bare)


def test_dla_and_effect_of_every_head(mini: fv.FactModel, judged: list[fv.Fact]) -> None:
    some = judged[:5]
    result = fv.compare_effects(mini, some)
    plain = fv.attribute_logits(fv.trace(mini, some)).heads.isel(attribute=0)
    np.testing.assert_allclose(result.dla, np.nansum(plain.values, -1), atol=1e-4)
    one = fv.ablate(mini, some, (2, 7), mode="zero", controls=0)
    fall = -one.change("logit").values[:, 1]
    np.testing.assert_allclose(result.effect.sel(layer=2, head=7), fall, atol=1e-5)
    assert result.correlation > 0.3
    assert result.bands()["gap"].values[2, 7] == pytest.approx(
        float((result.dla - result.effect).mean("fact").sel(layer=2, head=7)), abs=0.2
    )
    assert list(result.to_frame().columns[:5]) == ["layer", "head", "dla", "effect", "gap"]
    single = fv.compare_effects(mini, some[0])
    assert single.dla.dims == ("layer", "head")


def test_subject_heads_extract_what_nobody_asked_for(
    mini: fv.FactModel, classes: fv.HeadClasses, judged: list[fv.Fact]
) -> None:
    names = sorted({fact.subject for fact in judged})[:12]
    facts = fv.FactSet.builtin().select(subject=names)
    result = fv.find_misfires(mini, facts, classes)
    rates = result.rates().set_index("asked")
    assert rates.loc[True, "low"] > 0
    assert rates.loc[False, "low"] > 0 and rates.loc[False, "positive"] > 0.6
    # Relation heads, read from the subject, extract nothing of it.
    none = fv.find_misfires(mini, facts, classes.heads("relation"))
    assert abs(none.rates().set_index("asked").loc[False, "lift"]) < 0.2 * rates.loc[False, "lift"]
    frame = result.to_frame()
    one = frame.iloc[0]
    whole = facts[int(one["fact"])]
    seen = fv.attribute_logits(fv.trace(mini, whole), [one["attribute"]]).by_group()
    heads = [seen.sel(layer=i, head=j, group="subject") for i, j in classes.heads("subject")]
    assert one["own"] == pytest.approx(float(sum(heads).item()), abs=1e-4)
    table = result.table()
    assert set(table["asked"]) == {True, False}
    relations = {fact.relation for fact in facts}
    assert result.matrix().shape == (len(relations), len(relations))


def test_what_class_effects_refuse(
    mini: fv.FactModel, judged: list[fv.Fact], classes: fv.HeadClasses
) -> None:
    with pytest.raises(fv.FactvizError, match="must be what classify_heads gives"):
        fv.ablate_classes(mini, judged, [(2, 7)])  # type: ignore[arg-type]
    case = Case("llama")
    with pytest.raises(fv.FactvizError, match="classify this model's heads"):
        fv.ablate_classes(case.model, fact(), classes)
    with pytest.raises(fv.FactvizError, match="no subject has facts of two relations"):
        fv.find_misfires(mini, [f for f in judged if f.relation == "city_country"], classes)
    assert next(iter(class_sets(mini, classes))) == "subject heads"
    with pytest.raises(fv.FactvizError, match="no run changes two of the others"):
        fv.ablate(mini, judged[:2], (2, 7), mode="zero").interactions()
