from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from factviz.facts.errors import FactvizError
from factviz.results.attribution import Attribution
from tests import factories


def test_one_fact_has_no_fact_dimension():
    result = factories.attribution()
    assert result.heads.dims == ("attribute", "layer", "head", "source")
    assert result.mlps.dims == ("attribute", "layer")
    assert result.embedding.dims == result.bias.dims == result.logits.dims == ("attribute",)
    row = result.heads.sel(layer=3, head=4, attribute="Italy")
    assert row.dims == ("source",)
    assert list(row.coords["token"].values[:3]) == ["<|endoftext|>", "Fact", ":"]
    assert float(row.sel(source=5)) == pytest.approx(2.31)


def test_a_list_of_one_fact_keeps_the_fact_dimension():
    assert factories.attribution(single=False).heads.dims[0] == "fact"


def test_several_facts_are_padded():
    result = factories.several()
    assert result.heads.dims[0] == "fact"
    assert result.heads.coords["token"].dims == ("fact", "source")
    assert np.isnan(result.heads.sel(fact=2).isel(source=-1)).all()
    assert np.isnan(result.logits.sel(fact=1).isel(attribute=2))


@pytest.mark.parametrize("make", [factories.attribution, factories.several])
def test_parts_add_up_to_the_logit(make):
    result = make(dtype=np.float64)
    parts = result.heads.sum(["layer", "head", "source"]) + result.mlps.sum("layer")
    total = (parts + result.embedding + result.bias).values
    there = ~np.isnan(result.logits.values)
    assert there.any()
    np.testing.assert_allclose(total[there], result.logits.values[there], atol=1e-12)


@pytest.mark.parametrize("make", [factories.attribution, factories.several])
def test_groups_add_up_to_all_sources(make):
    result = make(dtype=np.float64)
    groups = result.by_group()
    assert groups.dims[-1] == "group"
    assert list(groups["group"].values) == ["bos", "prefix", "subject", "relation", "end"]
    summed = groups.sum("group").transpose(*result.heads.sum("source").dims)
    xr.testing.assert_allclose(
        summed.drop_vars(set(summed.coords) - set(summed.dims)),
        result.heads.sum("source").drop_vars(set(summed.coords) - set(summed.dims)),
    )


def test_a_group_is_the_sum_over_its_positions():
    result = factories.attribution(dtype=np.float64)
    expected = result.heads.isel(source=slice(3, 7)).sum("source")
    found = result.by_group().sel(group="subject")
    np.testing.assert_allclose(found.values, expected.values)


def test_own_groups_leave_the_rest_to_other():
    result = factories.attribution(dtype=np.float64)
    found = result.by_group({"name": [4, 5, 6], "first": [0]})
    assert list(found["group"].values) == ["name", "first", "other"]
    np.testing.assert_allclose(
        found.sum("group").values, result.heads.sum("source").values, atol=1e-12
    )


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"a": [0, 12]}, "position 12"),
        ({"a": [-1]}, "position -1"),
        ({"a": [1], "b": [1]}, "two groups"),
        ([{"a": [0]}, {"a": [0]}], "2 groupings"),
    ],
)
def test_groups_that_make_no_sense_are_refused(groups, words):
    with pytest.raises(FactvizError, match=words):
        factories.attribution().by_group(groups)


def test_roles_are_means_over_their_attributes():
    result = factories.attribution(dtype=np.float64)
    roles = result.by_role()
    assert list(roles["role"].values) == ["answer", "same_subject", "same_relation"]
    np.testing.assert_allclose(
        roles["heads"].sel(role="same_relation").values,
        result.heads.sel(attribute=["France", "Japan"]).mean("attribute").values,
    )
    total = roles["heads"].sum(["layer", "head", "source"]) + roles["mlps"].sum("layer")
    np.testing.assert_allclose(total + roles["embedding"] + roles["bias"], roles["logits"])


def test_a_role_that_a_fact_lacks_is_nan():
    roles = factories.several().by_role()
    assert np.isnan(roles["logits"].sel(fact=1, role="same_relation"))
    assert np.isfinite(roles["logits"].sel(fact=0, role="same_relation"))


def test_the_table_adds_up_and_drops_padding():
    result = factories.several(dtype=np.float64)
    frame = result.to_frame()
    assert list(frame.columns[:9]) == [
        "fact",
        "component",
        "layer",
        "head",
        "source",
        "token",
        "attribute",
        "role",
        "contribution",
    ]
    assert set(frame["component"]) == {"head", "mlp", "embedding", "bias"}
    assert not frame["contribution"].isna().any()
    assert (frame["role"] != "").all()
    sums = frame.groupby(["fact", "attribute_id"])["contribution"].sum()
    for fact in range(3):
        for i, logit in enumerate(result.logits.sel(fact=fact).values):
            if np.isfinite(logit):
                assert sums[fact, 7 + i] == pytest.approx(logit, abs=1e-12)
    assert len(sums) == 4 + 2 + 3


def test_the_table_says_where_each_number_comes_from():
    frame = factories.attribution().to_frame()
    row = frame[(frame.layer == 3) & (frame["head"] == 4) & (frame.source == 5)].iloc[0]
    assert (row.token, row.attribute, row.role, row.group) == ("osse", "Italy", "answer", "subject")
    mlp = frame[frame.component == "mlp"].iloc[0]
    assert mlp["layer"] == 0 and mlp.isna()["head"] and mlp.isna()["source"]


def test_the_plain_text_tells_the_five_largest_heads_and_the_error():
    text = repr(factories.attribution())
    assert "'Italy'" in text and "on mini" in text
    assert text.count("L") >= 5 and "L3H4 +2.25" in text
    assert "P1: frozen final layer norm, centred W_U" in text
    assert "3e-07 logits" in text
    assert "3 facts" in repr(factories.several())


@pytest.mark.parametrize(
    ("words", "roles", "said"),
    [
        (("Italy", "Kenya"), ("answer", "answer"), "mean over their answers, on"),
        (("Rome", "Rome"), ("given", "same_subject"), "mean of 'Rome', on"),
        (("Rome", "Kenya"), ("given", "answer"), "mean over their first attributes, on"),
    ],
)
def test_the_plain_text_says_what_was_averaged(words, roles, said):
    result = factories.attribution(
        [factories.TOKENS] * 2,
        [factories.GROUPS] * 2,
        [(word,) for word in words],
        [(role,) for role in roles],
    )
    assert f"Attribution of 2 facts, {said} mini" in repr(result)


def test_residual_error_is_the_worst():
    result = factories.several()
    result.dataset["residual"].values[:] = [1e-7, 5e-6, 2e-7]
    assert isinstance(result.residual_error, float)
    assert result.residual_error == pytest.approx(5e-6)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"fact": 3}, "facts 0 to 2"),
        ({"attribute": "Atlantis"}, "Atlantis"),
        ({"attribute": 9}, "attributes 0 to 3"),
        ({"order": "size"}, "size"),
        ({"top": -1}, "top=-1"),
        ({"limit": 0.0}, "limit=0.0"),
        ({"limit": float("nan")}, "limit=nan"),
        ({"limit": float("inf")}, "limit=inf"),
        ({"limit": "x"}, "limit='x' must be a number"),
        ({"fact": "a"}, "fact='a' must be a whole number"),
        ({"fact": True}, "fact=True must be a whole number"),
        ({"top": "x"}, "top='x' must be a whole number"),
        ({"top": 1.5}, "top=1.5 must be a whole number"),
        ({"attribute": 1.5}, "attribute=1.5 must be a word or a whole number"),
    ],
)
def test_views_of_what_is_not_there_are_refused(choice, words):
    with pytest.raises(FactvizError, match=words):
        factories.several().view(**choice)


def test_a_view_leaves_the_result_alone():
    result = factories.attribution()
    seen = result.view(top=5).view(order="layer")
    assert seen.view_options == {"top": 5, "order": "layer"}
    assert result.view_options == {}
    assert seen.dataset is result.dataset


@pytest.mark.parametrize("name", ["heads", "residual", "token", "role"])
def test_a_dataset_without_a_part_is_refused(name):
    result = factories.attribution()
    with pytest.raises(FactvizError, match=name):
        Attribution(result.dataset.drop_vars(name), result.provenance)


def test_a_dataset_with_other_dimensions_is_refused():
    result = factories.attribution()
    with pytest.raises(FactvizError, match="heads"):
        Attribution(
            result.dataset.transpose("source", "fact", "attribute", "layer", "head"),
            result.provenance,
        )


def test_a_group_without_a_name_is_refused():
    with pytest.raises(FactvizError, match="a group needs a name"):
        factories.attribution().by_group({"": [1, 2]})
