from __future__ import annotations

import numpy as np
import pytest

from factviz.views import attribution as view
from factviz.views.presenter import build, figure
from tests import factories


def test_the_figure_of_one_fact():
    result = factories.attribution()
    found = build(result)
    spec = found.spec
    assert spec["title"] == "Fact: The Colosseum is in the country of → Italy"
    assert "centred logit of ·Italy 10.82" in spec["subtitle"] and "3e-07" in spec["subtitle"]
    assert "P1: frozen final layer norm, centred W_U" in spec["caption"]
    assert spec["choose"] is None and len(spec["panels"]) == 1
    matrix, bars = spec["panels"][0]
    assert matrix["pages"]["options"] == [
        "Italy (answer)",
        "Rome (same subject)",
        "France (same relation)",
        "Japan (same relation)",
    ]
    values = found.values(matrix["values"])
    assert values.shape == (4, 48, 12)
    assert matrix["rows"]["labels"][28] == "L3H4"
    assert matrix["rows"]["keys"][28] == {"layer": 3, "head": 4}
    np.testing.assert_array_equal(values[0, 28], result.heads.sel(layer=3, head=4)[0].values)
    groups = {g["name"]: g["positions"] for g in matrix["columns"]["groups"]}
    assert groups["subject"] == [3, 4, 5, 6]
    assert sorted(p for positions in groups.values() for p in positions) == list(range(12))
    parts = found.values(bars["values"])
    assert bars["labels"][-1] == "= centred logit" and bars["total"]
    assert parts[:-1].sum() == pytest.approx(parts[-1], abs=1e-5)
    assert parts[-1] == pytest.approx(float(result.logits[0]), abs=1e-5)


def test_the_title_names_the_attribute_that_is_shown():
    spec = build(factories.attribution().view(attribute="Rome")).spec
    assert spec["title"] == "Fact: The Colosseum is in the country of → Rome"
    result = factories.several()
    result.dataset["attribute_word"].values[1, 0] = "Kyoto"
    labels = build(result).spec["choose"]["options"]
    assert [label.split(" → ")[1] for label in labels] == ["Italy", "Kyoto", "Kenya"]


def test_a_contrast_is_told_in_words():
    spec = build(factories.attribution().contrast()).spec
    assert spec["title"].endswith("country of → Italy − mean of 2 same_relation")
    assert "centred logit of Italy − mean of 2 same_relation " in spec["subtitle"]


def test_several_facts_are_a_choice_without_padding():
    spec = build(factories.several()).spec
    assert spec["choose"]["label"] == "fact"
    assert len(spec["choose"]["options"]) == len(spec["panels"]) == 3
    assert [len(p[0]["columns"]["labels"]) for p in spec["panels"]] == [12, 10, 6]
    assert [len(p[0]["pages"]["options"]) for p in spec["panels"]] == [4, 2, 3]


def test_what_is_left_out_is_said():
    many = factories.attribution(
        [factories.TOKENS] * 14,
        [factories.GROUPS] * 14,
        [factories.WORDS] * 14,
        [factories.WORD_ROLES] * 14,
        layers=1,
        heads=1,
    )
    spec = build(many).spec
    assert spec["title"] == "12 of 14 facts" and len(spec["panels"]) == 12
    assert "12 of 14 facts are drawn; .view(fact=…) draws any." in spec["notes"]
    words = tuple(f"w{i}" for i in range(30))
    roles = ("answer", *["same_relation"] * 29)
    pages = build(factories.attribution(words=(words,), roles=(roles,), layers=1, heads=1)).spec
    assert len(pages["panels"][0][0]["pages"]["options"]) == 24
    assert "24 of 30 attributes are drawn; .heads holds all." in pages["notes"]


def test_a_large_model_draws_fewer_pages(monkeypatch):
    monkeypatch.setattr(view, "MAX_VALUES", 48 * 12 * 2)
    spec = build(factories.attribution()).spec
    assert len(spec["panels"][0][0]["pages"]["options"]) == 2
    assert "2 of 4 attributes are drawn; .heads holds all." in spec["notes"]


def test_many_layers_are_one_bar():
    spec = build(factories.attribution(layers=13, heads=2)).spec
    assert "13 MLPs" in spec["panels"][0][1]["labels"]


def test_choices_of_the_view():
    result = factories.several().view(fact=2, attribute="Nairobi", order="layer", top=0, limit=3.0)
    spec = build(result).spec
    assert spec["choose"] is None
    matrix, bars = spec["panels"][0]
    assert matrix["pages"]["options"] == ["Nairobi (same subject)"]
    assert (matrix["order"], matrix["top"], matrix["limit"]) == ("layer", None, 3.0)
    assert "Nairobi" in bars["title"] and "·Nairobi" in spec["subtitle"]


def test_notes_of_attributes_and_of_the_analysis_are_said():
    result = factories.attribution(notes=["the prompt lost a trailing space"])
    result.dataset["attribute_note"].values[0, 1] = "first new token of 2"
    assert build(result).spec["notes"] == [
        "Rome: first new token of 2",
        "the prompt lost a trailing space",
    ]


def test_the_widget_gets_the_same_figure():
    transport, buffer = figure(factories.attribution())
    assert set(transport) == {"spec", "arrays"}
    assert isinstance(buffer, bytes)
    last = transport["arrays"][-1]
    assert len(buffer) == last["offset"] + 4 * int(np.prod(last["shape"]))
