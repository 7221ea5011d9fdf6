"""Figures of the lens, gradients, vocabulary maps and attributes rates, and their files."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import factviz
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.views import common, html
from factviz.views.presenter import build
from tests.families import tiny_model, tiny_tokenizer

FACTS = [
    Fact("w50 w16 w17 w7 w19", "w16 w17", "w11", relation="r", same_subject=("w12",)),
    Fact("w21 w22 w23", "w21", "w33", relation="r", same_subject=("w34",)),
    Fact("w40 w41 w42", "w40 w41", "w51", relation="q"),
]
KINDS = ("lens", "gradients", "head_vocabulary", "hub_map", "attributes_rate", "neurons")


@cache
def model():
    return factviz.load_model(
        tiny_model("llama"), tokenizer=tiny_tokenizer(), prepend_bos=True, name="tiny"
    )


@cache
def made(kind: str, single: bool = False):
    facts = FACTS[0] if single else FACTS
    return {
        "lens": lambda: factviz.lens(factviz.trace(model(), facts), ["w11", "w12"]),
        "gradients": lambda: factviz.gradients(model(), facts),
        "head_vocabulary": lambda: factviz.head_vocabulary(
            model(), 1, 2, "w5" if single else ["w5", "w6"]
        ),
        "hub_map": lambda: factviz.map_hubs(model(), facts),
        "attributes_rate": lambda: factviz.attributes_rate(model(), facts, top_k=5),
        "neurons": lambda: factviz.find_enriching_neurons(model(), facts),
    }[kind]()


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_shown_saved_and_opened(kind, single, tmp_path):
    result = made(kind, single)
    bundle = result._repr_mimebundle_()
    assert "tiny" in bundle["text/plain"] and "P" in bundle["text/html"]
    for suffix in (".html", ".png", ".svg", ".pdf", ".csv", ".parquet"):
        assert result.save(tmp_path / f"one{suffix}").stat().st_size > 100
    again = factviz.open_result(tmp_path / "one.html")
    assert type(again) is type(result)
    assert again.dataset.identical(result.dataset) and again.provenance == result.provenance
    assert again.to_frame().equals(result.to_frame())
    assert result.plot().get_title(loc="left")


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_without_a_part_is_refused(kind):
    result = made(kind)
    for name in (*type(result).variables, *type(result).coords):
        with pytest.raises(FactvizError, match="this is no"):
            type(result)(result.dataset.drop_vars(name), result.provenance)


@pytest.mark.parametrize("kind", ["lens", "gradients", "attributes_rate", "neurons"])
def test_one_of_several_facts_is_drawn(kind):
    result = made(kind).view(fact=2)
    assert "w40 w41 w42" in build(result).spec["title"]
    with pytest.raises(FactvizError, match="facts 0 to 2"):
        result.view(fact=3)


def test_lens_figure():
    result = made("lens")
    found = build(result)
    spec = found.spec
    assert spec["choose"]["label"] == "fact" and len(spec["panels"]) == 3
    matrix, ranks = spec["panels"][0]
    values = found.values(matrix["values"])
    assert values.shape == (2, 4, 6) and matrix["order"] == "layer" and matrix["top"] is None
    np.testing.assert_allclose(values[1], result.logits.values[0, 1], rtol=1e-6)
    top = result.top.values[0, 0, 5]
    assert matrix["rows"]["labels"][0] == f"embedding → {top}"
    assert matrix["rows"]["labels"][3].startswith("L2 → ")
    assert matrix["rows"]["keys"][3] == {"layer": 2}
    assert [s["label"] for s in ranks["series"]] == ["END", "last subject token"]
    end = found.values(ranks["series"][0]["values"])
    np.testing.assert_allclose(10**end, result.ranks.values[0, 0, :, 5], rtol=1e-5)
    # The second fact is shorter: no padding is drawn.
    assert len(spec["panels"][1][0]["columns"]["labels"]) == 4


def test_gradients_figure():
    found = build(made("gradients", single=True))
    (matrix,) = found.spec["panels"][0]
    np.testing.assert_allclose(
        found.values(matrix["values"])[0], made("gradients", single=True).values, rtol=1e-6
    )
    assert found.spec["choose"] is None and matrix["unit"] == "logits"


def test_deep_models_show_some_layers():
    picked = common.picked_layers(96)
    assert len(picked) <= 28 and picked[0] == 0 and picked[-1] == 95
    assert common.picked_layers(28) == list(range(28))


def test_head_vocabulary_figure():
    result = made("head_vocabulary")
    found = build(result)
    assert found.spec["choose"] == {"label": "token", "options": ["w5", "w6"]}
    bars = found.spec["panels"][1][0]
    assert bars["labels"] == result.dataset["mapped"].values[1].tolist()
    np.testing.assert_allclose(found.values(bars["values"]), result.scores.values[1])


def test_hub_map_figure():
    result = made("hub_map")
    found = build(result)
    matrix, lines = found.spec["panels"][0]
    pages = found.values(matrix["values"])
    np.testing.assert_allclose(pages[1], result.share, atol=1e-6)
    np.testing.assert_allclose(pages[0], result.share - result.control, atol=1e-6)
    assert matrix["columns"]["labels"] == ["H0", "H1", "H2", "H3"]
    assert [s["label"] for s in lines["series"]] == ["subjects' tokens", "random tokens"]
    assert lines["series"][0]["low"] is not None


def test_attributes_rate_figure_has_its_controls():
    result = made("attributes_rate")
    found = build(result)
    assert found.spec["choose"] == {"label": "metric", "options": ["recall", "precision", "lift"]}
    (lines,) = found.spec["panels"][0]
    labels = [series["label"] for series in lines["series"]]
    assert labels == [
        "last subject token",
        "first subject token",
        "after the subject",
        "END",
        "last subject token, shuffled subject",
        "mean subject embedding",
    ]
    bands = result.bands("recall")
    np.testing.assert_allclose(
        found.values(lines["series"][3]["high"]), bands["high"].sel(position="end"), atol=1e-6
    )
    first = build(result.view(metric="lift")).spec["choose"]["options"][0]
    assert first == "lift"
    alone = build(made("attributes_rate", single=True)).spec["panels"][0][0]["series"]
    assert len(alone) == 5 and all(series["low"] is None for series in alone)


def test_neurons_figure():
    result = made("neurons")
    lines, bars = build(result).spec["panels"][0]
    assert [s["label"] for s in lines["series"]] == [
        "own attributes",
        "other subjects' attributes",
    ]
    assert bars["labels"][0] == f"L{bars['keys'][0]['layer']}N{bars['keys'][0]['neuron']}"


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_never_markup(kind):
    evil = "<img src=x onerror=alert(1)>"
    result = made(kind)
    provenance = result.provenance | {"model": evil, "notes": [evil]}
    page = html.page(build(type(result)(result.dataset, provenance)), {})
    assert evil not in page
