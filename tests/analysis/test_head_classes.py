"""Head classes on the embedded model: what they rest on, whom they leave out, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import factviz as fv
from factviz.analysis.grouped import grouped_parts, read_trace
from factviz.analysis.propagation import block_propagation, subject_edges
from factviz.analysis.roles import ROLES, role_tokens
from factviz.models.interventions import BlockAttention
from factviz.models.runs import run
from tests.analysis.causal_cases import FAMILIES, Case, fact
from tests.families import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def facts() -> list[fv.Fact]:
    return list(fv.FactSet.builtin())[::40]


@pytest.fixture(scope="module")
def classes(mini: fv.FactModel, facts: list[fv.Fact]) -> fv.HeadClasses:
    return fv.classify_heads(mini, facts)


def test_means_over_roles_and_groups_are_those_of_the_attribution(mini: fv.FactModel) -> None:
    """The batched sums against the attribution of every token and attribute."""
    some = list(fv.FactSet.builtin())[::700]
    tokens = role_tokens(mini, some)
    parts = grouped_parts(mini, some, tokens)
    for row, one in enumerate(some):
        ids = tokens.ids[row]
        plain = fv.attribute_logits(fv.trace(mini, one), [i for role in ids for i in role])
        by_group = plain.by_group()
        start = 0
        for role, of_role in enumerate(ids):
            own = slice(start, start + len(of_role))
            start += len(of_role)
            heads = by_group.isel(attribute=own).mean("attribute")
            relation = heads.sel(group=["relation", "end"]).sum("group")
            np.testing.assert_allclose(
                parts.heads[row, role, ..., 0], heads.sel(group="subject"), atol=2e-5
            )
            np.testing.assert_allclose(parts.heads[row, role, ..., 1], relation, atol=2e-5)
            mlps = plain.mlps.isel(attribute=own).mean("attribute")
            np.testing.assert_allclose(parts.mlps[row, role], mlps, atol=2e-5)
            logits = float(plain.logits.isel(attribute=own).mean())
            assert parts.logits[row, role] == pytest.approx(logits, abs=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "granite", "olmo2", "opt"])
def test_the_sum_holds_in_other_families(family: str) -> None:
    """Biases, grouped keys, post-norms, multipliers: refused unless the parts add up."""
    model = fv.load_model(tiny_model(family), tokenizer=tiny_tokenizer(), prepend_bos=True)
    some = [
        fact().replace(same_subject=("w11", "w12"), same_relation=("w30",)),
        fact([0, 4, 9, 33, 7], (2, 4)).replace(same_relation=("w31", "w32")),
    ]
    parts = read_trace(fv.trace(model, some), role_tokens(model, some, controls=3))
    beside = parts.embedding + parts.bias + parts.mlps.sum(2)
    total = parts.heads.sum((2, 3, 4)) + beside
    known = ~np.isnan(parts.logits)
    assert known.sum() == 7
    np.testing.assert_allclose(total[known], parts.logits[known], atol=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocked_edges_in_a_batch_are_those_of_the_engine(family: str) -> None:
    case = Case(family)
    some = [fact(), fact([0, 4, 9, 33, 7], (2, 4))]
    edges = [[(8, 6), (8, 7)], [(3, 1), (3, 2)]]
    traced = fv.trace(case.model, some, blocked=edges)
    for row, one in enumerate(some):
        ((query, first), (_, second)) = edges[row]
        variant = [BlockAttention([query], [first, second], range(case.layers))]
        wanted = run(case.model, one, [variant]).logits[0]
        logits = traced.logits[row]
        if cap := case.model.geometry.soft_cap:
            logits = cap * (logits / cap).tanh()
        np.testing.assert_allclose(logits, wanted, atol=1e-4)
        assert float((wanted - run(case.model, one, []).clean_logits).abs().max()) > 1e-3


def test_the_embedded_model_has_subject_and_relation_heads(
    classes: fv.HeadClasses, facts: list[fv.Fact]
) -> None:
    assert len(classes.heads("subject")) >= 3 and classes.heads("relation")
    bands = classes.bands().sel(relation="all")
    for name, other in (("subject", "relation"), ("relation", "subject")):
        best = classes.heads(name)[0]
        value = {
            kind: bands[kind].values[best] for kind in map(str, bands.data_vars) if bands[kind].ndim
        }
        assert value[f"{name}_dla"] > 10 * abs(value[f"{other}_dla"])
        assert value[f"{name}_dla_low"] > 0
        # What it lifts tells what it reads: S against O from the subject, R from the relation.
        assert value[f"{name}_lift_low"] > 0
        assert value[f"{name}_attention"] > 0.5 > value[f"{other}_attention"]
    # Relation tokens of this model carry nothing of the subject.
    assert float(np.abs(bands["preference_change"].values).max()) < 0.1
    assert classes.dataset.sizes["fact"] <= len(facts)


def test_columns_and_low_and_high(classes: fv.HeadClasses) -> None:
    frame = classes.to_frame()
    first = ["relation", "layer", "head", "class", "subject_dla", "relation_dla", "low", "high"]
    assert list(frame.columns[:8]) == first
    assert len(frame) == len(classes.relations) * 6 * 8
    subject = frame[frame["class"] == "subject"]
    assert (subject["low"] <= subject["subject_dla"]).all()
    assert (subject["subject_dla"] <= subject["high"]).all()
    text = repr(classes)
    assert "subject heads" in text and "mini" in text


def test_the_order_of_facts_changes_no_class(
    mini: fv.FactModel, facts: list[fv.Fact], classes: fv.HeadClasses
) -> None:
    turned = fv.classify_heads(mini, facts[::-1])
    assert (turned.classes.values == classes.classes.values).all()
    for name in ("subject_dla", "subject_lift_low", "relation_lift", "preference_control_high"):
        np.testing.assert_allclose(turned.bands()[name], classes.bands()[name], atol=1e-5)


def test_unknown_facts_are_excluded_and_counted(
    mini: fv.FactModel, facts: list[fv.Fact], classes: fv.HeadClasses
) -> None:
    wrong = [one.replace(answer="Zambia", same_relation=()) for one in facts[:3]]
    both = fv.classify_heads(mini, [*facts, *wrong])
    out = both.provenance["excluded"] - classes.provenance["excluded"]
    assert out == 3
    assert both.dataset.sizes["fact"] == classes.dataset.sizes["fact"]
    assert any("3 of" in note and "top 10" in note for note in both.provenance["notes"])
    with pytest.raises(fv.FactvizError, match=r"knows none of the 3 facts .* 'Zambia'"):
        fv.classify_heads(mini, wrong)


def test_without_s_or_r_there_are_classes_and_a_note(mini: fv.FactModel) -> None:
    some = [
        fv.Fact(one.prompt, one.subject, one.answer, one.relation)
        for one in fv.FactSet.builtin().select(relation="landmark_country")[:12]
    ]
    result = fv.classify_heads(mini, some)
    assert result.heads("subject")
    notes = " ".join(result.provenance["notes"])
    assert "12 of 12 facts have no S" in notes and "have no R" in notes
    assert "none has R" in notes
    assert np.isnan(result.bands()["subject_lift"].values).all()
    assert result.save  # and it can be shown
    assert "text/html" in result._repr_mimebundle_()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 1}, "number above 1"),
        ({"threshold": -2}, "number above 1"),
        ({"n_boot": 1}, "n_boot=1 is too few"),
        ({"n_blocked": -1}, "n_blocked=-1 is too few"),
    ],
)
def test_bad_options(
    mini: fv.FactModel, facts: list[fv.Fact], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(fv.FactvizError, match=said):
        fv.classify_heads(mini, facts, **options)


def test_one_fact_gives_no_mean_with_an_interval(mini: fv.FactModel, facts: list[fv.Fact]) -> None:
    with pytest.raises(fv.FactvizError, match=r"two subjects or more .* there is 1"):
        fv.classify_heads(mini, facts[:1])


def test_roles_are_disjoint_and_do_not_hang_on_the_order(mini: fv.FactModel) -> None:
    some = list(fv.FactSet.builtin())[::100]
    some[0] = some[0].replace(
        same_subject=("Paris", "Rome"), same_relation=("Rome", "Madrid", "Madrid Unheard")
    )
    tokens = role_tokens(mini, some)
    for row in tokens.ids:
        assert len({i for role in row for i in role}) == sum(map(len, row))
        assert len(row[0]) == 1 and 0 < len(row[3]) <= 32
    assert [len(role) for role in tokens.ids[0][:3]] == [1, 1, 1]  # Rome is in both
    assert any("1 attributes in S and in R" in note for note in tokens.notes)
    assert any("share their first token" in note for note in tokens.notes)
    assert role_tokens(mini, some[::-1]).ids == tokens.ids[::-1]
    assert role_tokens(mini, some, seed=1).ids != tokens.ids
    assert ROLES[0] == "answer"


def test_random_keys_are_as_many_as_the_subjects(mini: fv.FactModel, facts: list[fv.Fact]) -> None:
    some = facts[:5]
    tokens = role_tokens(mini, some)
    edges = [subject_edges(row) for row in tokens.prompts]
    assert all(key in row.groups["subject"] and query not in row.groups["end"]
               for row, its in zip(tokens.prompts, edges, strict=True)
               for query, key in its)  # fmt: skip
    found = block_propagation(mini, some, tokens, most=3, seed=0)
    tested = ~np.isnan(found.blocked).any((1, 2))
    assert tested.sum() == 3 and any("3 of 5" in note for note in found.notes)
    off = block_propagation(mini, some, tokens, most=0, seed=0)
    assert np.isnan(off.blocked).all() and "not asked for" in off.notes[0]
