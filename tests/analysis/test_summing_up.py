"""Profiles of heads, boosts of MLPs, and parts that add up, on models small and embedded."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import factviz as fv
from factviz.analysis.writes import constant_logits
from tests.analysis.causal_cases import fact
from tests.families import tiny_model, tiny_tokenizer

HEADS = ("subject heads", "relation heads", "mixed heads", "suppressing heads",
         "unclassified heads")  # fmt: skip


@cache
def tiny(family: str) -> fv.FactModel:
    return fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer(), prepend_bos=True)


def known_fact(model: fv.FactModel, **changed: Any) -> fv.Fact:
    """A fact whose answer is what the random model says."""
    one = fact()
    top = model.top_ids([one], 3)[0]
    return one.replace(
        answer=f"w{max(top[0], 1)}",
        same_subject=(f"w{top[1]}", "w12"),
        same_relation=("w30", "w31", f"w{top[2]}"),
        **changed,
    )


@pytest.fixture(scope="module")
def facts() -> list[fv.Fact]:
    return list(fv.FactSet.builtin())[::40]


@pytest.fixture(scope="module")
def classes(mini: fv.FactModel, facts: list[fv.Fact]) -> fv.HeadClasses:
    return fv.classify_heads(mini, facts, n_blocked=0)


@pytest.fixture(scope="module")
def motif(mini: fv.FactModel, facts: list[fv.Fact], classes: fv.HeadClasses) -> fv.AdditiveMotif:
    return fv.sum_up(mini, facts, classes)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "granite", "neox-parallel"])
def test_parts_by_source_are_those_of_the_attribution(family: str) -> None:
    model = tiny(family)
    one = known_fact(model)
    result = fv.sum_up(model, one, by="source")
    plain = fv.attribute_logits(fv.trace(model, one))
    assert result.residual_error < 2e-4
    words = plain.heads.attribute_token.values.tolist()
    for role, token in zip(("answer", "same_subject", "same_relation"),
                           result.dataset["attribute_token"].values[0], strict=True):  # fmt: skip
        at = {"attribute": words.index(token)}
        groups = plain.by_group().isel(at).sum(["layer", "head"])
        expected = {
            "embedding": plain.embedding.isel(at),
            "heads from subject tokens": groups.sel(group="subject"),
            "heads from relation tokens": groups.sel(group=["relation", "end"]).sum(),
            "heads from other tokens": groups.sel(group=["bos", "prefix"]).sum(),
            "MLPs": plain.mlps.isel(at).sum(),
            "biases": plain.bias.isel(at),
        }
        assert result.parts == list(expected)
        values = result.contribution.sel(fact_role=role).values
        np.testing.assert_allclose(values, [float(v) for v in expected.values()], atol=2e-4)


def test_the_strongest_rival_is_that_of_the_whole_model() -> None:
    model = tiny("llama")
    one = known_fact(model)
    result = fv.sum_up(model, one, by="source")
    plain = fv.attribute_logits(fv.trace(model, one))
    for role in ("same_subject", "same_relation"):
        best = float(plain.logits.values[plain.heads.role.values == role].max())
        assert float(result.logits.sel(fact_role=role)) == pytest.approx(best, abs=1e-4)


def test_alone_is_read_over_the_whole_vocabulary() -> None:
    """Ranks, tops and the rest, from every token's own attribution."""
    model = tiny("gpt2")
    one = known_fact(model)
    result = fv.sum_up(model, one, by="source")
    plain = fv.attribute_logits(fv.trace(model, one), list(range(model.d_vocab)))
    mlps = plain.mlps.sum("layer").values
    subject = plain.by_group().sel(group="subject").sum(["layer", "head"]).values
    answer = int(model.top_ids([one], 1)[0][0])
    frame = result.to_frame().set_index(["part", "role"])
    for part, values in (("MLPs", mlps), ("heads from subject tokens", subject)):
        row = frame.loc[(part, "answer")]
        assert row["rank"] == int((values >= values[answer]).sum())
        assert row["top1"] == (int(values.argmax()) == answer)
        assert row["top_token"] == model.tokenizer.decode([int(values.argmax())])
        left = plain.logits.values - values
        assert row["left_out_rank"] == int((left >= left[answer]).sum())
        assert row["left_out"] == pytest.approx(float(left[answer]), abs=1e-4)
    bias = plain.bias.values
    if (norm := model.geometry.norm(model.geometry.final_norm)).bias is not None:
        assert norm.bias.abs().sum() > 0
    assert constant_logits(model).shape == bias.shape


def test_no_part_alone_says_it_and_the_sum_does(motif: fv.AdditiveMotif) -> None:
    assert motif.residual_error < 1e-4
    assert motif.parts == ["embedding", *HEADS, "MLPs", "biases"]
    table = motif.table().set_index("part")
    assert table.loc["together", "top1"] > 0.9
    assert (table.drop("together")["top1"] < 0.8).all()
    assert table.loc["subject heads", "in_own_set"] > 0.6
    assert table.loc["MLPs", "in_own_set"] > 0.6
    # Subject heads lift a and S alike, MLPs a and R.
    subject, mlps = table.loc["subject heads"], table.loc["MLPs"]
    assert subject["same_subject"] > 2 * subject["same_relation"]
    assert mlps["same_relation"] > 2 * mlps["same_subject"]
    # Subject heads give the answer more than as many heads at random.
    assert subject["place"] > 0.95 and subject["contribution"] > subject["random"]
    parts = table.drop("together")["contribution"].sum()
    assert parts == pytest.approx(table.loc["together", "contribution"], abs=1e-3)
    for name in ("contribution", "top1"):
        assert (table[f"{name}_low"] <= table[name] + 1e-9).all()
    columns = ["part", "role", "contribution", "rank", "top1", "left_out"]
    assert list(motif.to_frame().columns[:6]) == columns


def test_every_heads_part_is_a_sum_over_its_heads(
    mini: fv.FactModel, facts: list[fv.Fact], classes: fv.HeadClasses, motif: fv.AdditiveMotif
) -> None:
    one = facts[0]
    plain = fv.attribute_logits(fv.trace(mini, one)).heads.isel(attribute=0).sum("source")
    for name in ("subject", "relation", "unclassified"):
        own = sum(float(plain[layer, head]) for layer, head in classes.heads(name))
        part = motif.dataset["contribution"].sel(part=f"{name} heads").values[0, 0]
        assert part == pytest.approx(own, abs=1e-4)


def test_a_part_without_heads_says_nothing(mini: fv.FactModel, motif: fv.AdditiveMotif) -> None:
    empty = motif.dataset.sel(part="suppressing heads")
    if not bool((empty["contribution"] == 0).all()):
        pytest.skip("the model has suppressing heads")
    assert (empty["rank"].values == mini.d_vocab).all() and (empty["rank_among"] > 1).all()


def test_without_classes_heads_are_chosen_on_the_other_half(
    mini: fv.FactModel, facts: list[fv.Fact]
) -> None:
    result = fv.sum_up(mini, facts)
    assert any("judged on the other" in note for note in result.provenance["notes"])
    assert result.residual_error < 1e-4
    own = fv.classify_heads(mini, facts, n_blocked=0)
    half = own.halves()[1]
    subject = str(own.halves()[0].dataset["subject"].values[0])
    one = next(fact for fact in facts if fact.subject == subject)
    plain = fv.attribute_logits(fv.trace(mini, one)).heads.isel(attribute=0).sum("source")
    chosen = sum(float(plain[i, j]) for i, j in half.heads("subject"))
    names = [str(n) for n in result.dataset["prompt"].values]
    row = names.index(one.prompt)
    part = result.dataset["contribution"].sel(part="subject heads").values[row, 0]
    assert part == pytest.approx(chosen, abs=1e-4)


def test_what_sum_up_refuses(
    mini: fv.FactModel, facts: list[fv.Fact], classes: fv.HeadClasses
) -> None:
    with pytest.raises(fv.FactvizError, match="from one subject"):
        fv.sum_up(mini, facts[0])
    with pytest.raises(fv.FactvizError, match="by='head' is unknown"):
        fv.sum_up(mini, facts, by="head")  # type: ignore[arg-type]
    with pytest.raises(fv.FactvizError, match="classes must be what classify_heads gives"):
        fv.sum_up(mini, facts, {"subject": [(0, 0)]})  # type: ignore[arg-type]
    model = tiny("llama")
    with pytest.raises(fv.FactvizError, match=r"6 layers × 8 heads, .* has 3 × 4"):
        fv.sum_up(model, known_fact(model), classes)
    wrong = facts[0].replace(answer="Zambia")
    with pytest.raises(fv.FactvizError, match="knows none of the 1 facts"):
        fv.sum_up(mini, wrong, classes)
    assert fv.sum_up(mini, [*facts[:3], wrong], classes).provenance["excluded"] == 1


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "granite"])
def test_a_profile_is_one_head_of_the_attribution(family: str) -> None:
    model = tiny(family)
    one = known_fact(model)
    profile = fv.profile_head(model, one, 1, 2, k=4)
    plain = fv.attribute_logits(fv.trace(model, one)).by_group().sel(layer=1, head=2)
    words = profile.dataset["attribute_word"].values[0].tolist()
    for row, word in enumerate(plain.attribute_word.values):
        seen = profile.contribution.sel(group="subject").values[words.index(word)]
        assert seen == pytest.approx(float(plain.sel(group="subject")[row]), abs=1e-4)
    every = fv.attribute_logits(fv.trace(model, one), list(range(model.d_vocab))).by_group()
    subject = every.sel(layer=1, head=2, group="subject").values
    tokens = profile.tokens().query("group == 'subject'")
    order = np.argsort(-subject, kind="stable")
    assert tokens["promoted"].tolist() == [model.tokenizer.decode([i]) for i in order[:4]]
    assert tokens["suppressed"].tolist() == [model.tokenizer.decode([i]) for i in order[::-1][:4]]
    assert float(profile.attention.sum()) == pytest.approx(1, abs=1e-5)


def test_profiles_tell_the_classes_apart(
    mini: fv.FactModel, facts: list[fv.Fact], classes: fv.HeadClasses
) -> None:
    for name, lifted, other in (
        ("subject", "same_subject", "same_relation"),
        ("relation", "same_relation", "same_subject"),
    ):
        profile = fv.profile_head(mini, facts, *classes.heads(name)[0])
        means = profile.bands()["mean"].sel(group=name)
        assert means.sel(role=lifted) > 2 * abs(means.sel(role=other))
        assert means.sel(role=lifted) > 2 * abs(means.sel(role="control"))
        assert profile.attention.sel(group=name).mean() > 0.5
        assert f"from {name} tokens" in repr(profile)
    columns = ["group", "attribute", "role", "contribution"]
    assert list(profile.to_frame().columns[:4]) == columns


@pytest.mark.parametrize(("layer", "head"), [(6, 0), (0, 8), (-1, 0), (0, "1"), (True, 0)])
def test_a_head_that_does_not_exist(
    mini: fv.FactModel, facts: list[fv.Fact], layer: Any, head: Any
) -> None:
    with pytest.raises(fv.FactvizError, match=r"does not exist|is no number"):
        fv.profile_head(mini, facts, layer, head)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "granite", "neox-parallel"])
def test_neurons_add_up_to_their_mlp(family: str) -> None:
    """All but the output bias, which gives every role what no neuron gives."""
    model = tiny(family)
    one = known_fact(model)
    result = fv.mlp_boosts(model, one, neurons=True)
    plain = fv.attribute_logits(fv.trace(model, one)).mlps
    np.testing.assert_allclose(
        result.contribution.sel(role="answer"), plain.isel(attribute=0), atol=2e-4
    )
    own = plain.values[plain.role.values == "same_relation"].astype(np.float64)
    np.testing.assert_allclose(result.dataset["spread"].values[0], own.std(0), atol=2e-4)
    below = (own < plain.values[0]).mean(0)
    np.testing.assert_allclose(result.dataset["share_below"].values[0], below)
    bias = result.contribution.values - result.dataset["neurons"].values.sum(-1)
    if family in ("llama", "gemma2", "granite"):  # these have none
        np.testing.assert_allclose(bias, 0, atol=3e-4)
    else:
        assert np.abs(bias).max() > 1e-3


def test_mlps_lift_the_relation_evenly(mini: fv.FactModel, facts: list[fv.Fact]) -> None:
    result = fv.mlp_boosts(mini, facts, neurons=True)
    bands = result.bands()
    assert float(bands["lift_low"]) > 1  # R above O
    assert abs(float(bands["single"])) < 0.3 * float(bands["lift"])  # a hardly above R
    top = result.top_neurons(5)
    assert (top["lift"].diff().dropna() <= 0).all() and top["lift"].iloc[0] > 0
    columns = ["layer", "role", "attribute", "contribution"]
    assert list(result.to_frame().columns[:4]) == columns
    with pytest.raises(fv.FactvizError, match="neurons=True"):
        fv.mlp_boosts(mini, facts[:2]).top_neurons()
    with pytest.raises(fv.FactvizError, match="k=0"):
        fv.mlp_boosts(mini, facts[:2], k=0)


def test_the_most_lifted_tokens_are_those_of_the_mean(
    mini: fv.FactModel, facts: list[fv.Fact]
) -> None:
    some = facts[:4]
    result = fv.mlp_boosts(mini, some, k=3)
    every = [
        fv.attribute_logits(fv.trace(mini, one), list(range(mini.d_vocab))).mlps.sum("layer")
        for one in some
    ]
    mean = np.mean([one.values for one in every], 0)
    best = np.argsort(-mean, kind="stable")[:3]
    np.testing.assert_allclose(result.dataset["lifted"], mean[best], atol=1e-4)
    assert result.dataset["lifted_token"].values.tolist() == [
        mini.tokenizer.decode([i]) for i in best
    ]
