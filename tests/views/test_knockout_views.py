"""Figures of knockouts: the heat map of one prompt, curves with bands and controls, and files."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import factviz as fv
from factviz.results.attention_knockout import AttentionKnockout
from factviz.results.sublayer_knockout import SublayerKnockout
from factviz.views import html
from factviz.views.painters import files
from factviz.views.presenter import build
from tests import parsed
from tests.families import tiny_model, tiny_tokenizer
from tests.hostile import HOSTILE

FACTS = [
    fv.Fact("w50 w16 w17 w7 w19", "w16 w17", "w11", relation="r", same_subject=("w12",)),
    fv.Fact("w21 w22 w23", "w21", "w33", relation="r", same_subject=("w34",)),
    fv.Fact("w40 w41 w42", "w40 w41", "w51", relation="q"),
]
KINDS = ("attention", "mlps", "rate")


@cache
def model() -> fv.FactModel:
    return fv.load_model(
        tiny_model("llama"), tokenizer=tiny_tokenizer(), prepend_bos=True, name="tiny"
    )


@cache
def made(kind: str, single: bool = False) -> Any:
    facts = FACTS[0] if single else FACTS
    if kind == "attention":
        return fv.knock_out_attention(model(), facts)
    if kind == "mlps":
        return fv.knock_out_sublayers(model(), facts, tokens=single)
    words = [f"w{i}" for i in range(10, 40)]
    return fv.knock_out_sublayers(
        model(), facts, outcome="attributes_rate", vocabulary=words, block=1, top_k=8
    )


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_shown_saved_and_opened(kind: str, single: bool, tmp_path: Any) -> None:
    result = made(kind, single)
    bundle = result._repr_mimebundle_()
    assert "tiny" in bundle["text/plain"] and "nockout" in bundle["text/html"]
    for suffix in (".html", ".png", ".svg", ".pdf", ".csv", ".parquet"):
        assert result.save(tmp_path / f"one{suffix}").stat().st_size > 100
    again = fv.open_result(tmp_path / "one.html")
    assert type(again) is type(result)
    assert again.dataset.identical(result.dataset) and again.provenance == result.provenance
    assert again.to_frame().equals(result.to_frame()) and repr(again) == repr(result)
    assert again.curves().identical(result.curves())
    assert result.plot().get_title(loc="left")


def test_one_prompt_is_a_heat_map_and_curves() -> None:
    result = made("attention", True)
    figure = build(result)
    matrix, lines = figure.spec["panels"][0]
    assert figure.spec["title"] == "Attention knockout: w50 w16 w17 w7 w19 → w11"
    assert matrix["mark"] == "matrix" and not matrix["totals"] and matrix["top"] is None
    assert matrix["rows"]["labels"] == ["L0", "L1", "L2"] and matrix["order"] == "layer"
    names = [group["name"] for group in matrix["columns"]["groups"]]
    assert names == ["bos", "subject", "relation", "end"]
    left, kept = figure.values(matrix["values"])
    np.testing.assert_allclose(kept, result.tokens.values, rtol=1e-6)
    np.testing.assert_allclose(left, result.tokens.values - float(result.base), atol=1e-7)
    assert [one["label"] for one in lines["series"]] == [
        "subject",
        "non-subject",
        "END itself",
        "control: subject, at random",
        "control: non-subject, at random",
        "control: END itself, at random",
    ]
    assert all(one["low"] is None for one in lines["series"])
    drawn = figure.values(lines["series"][1]["values"])
    np.testing.assert_allclose(drawn, result.change.sel(group="non_subject"), rtol=1e-6)


def test_several_prompts_are_curves_with_bands() -> None:
    for kind, count in (("attention", 3), ("mlps", 2), ("rate", 2)):
        result = made(kind)
        figure = build(result)
        (lines,) = figure.spec["panels"][0]
        assert lines["mark"] == "lines" and lines["unit"] == "percent"
        assert [bool(one["low"]) for one in lines["series"]] == [True] * count + [False] * count
        curves = result.curves()
        np.testing.assert_allclose(
            figure.values(lines["series"][0]["high"]), curves["high"].values[0], rtol=1e-5
        )
        caption = figure.spec["caption"]
        assert "95 % bands: bootstrap by subject" in caption and "random" in caption
        text = "\n".join(parsed.svg_texts(parsed.svg(files.render(figure, "svg"))))
        assert "percent" in text and "at random" in text and "3 facts" in text


def test_one_of_several_facts_can_be_shown() -> None:
    result = fv.knock_out_attention(model(), FACTS, tokens=True)
    assert build(result).spec["title"] == "Attention knockout: 3 facts"
    figure = build(result.view(fact=1))
    matrix, _ = figure.spec["panels"][0]
    assert figure.spec["title"].endswith("w21 w22 w23 → w33")
    assert len(matrix["columns"]["labels"]) == 4  # no padding
    with pytest.raises(fv.FactvizError, match="no fact 3"):
        result.view(fact=3)


def test_widths_are_a_choice() -> None:
    result = fv.knock_out_attention(model(), FACTS[0], window=(1, 3))
    spec = build(result).spec
    assert spec["choose"] == {"label": "window", "options": ["1 wide", "3 wide"]}
    assert len(spec["panels"]) == 2 and len(spec["panels"][1]) == 2
    assert result.probability.dims == ("window", "group", "layer")
    assert set(result.to_frame()["window"]) == {1, 3}
    assert "windows 3 wide" in repr(result)


def test_a_page_of_one_layer_has_bars() -> None:
    one = made("attention")
    shallow = AttentionKnockout(one.dataset.isel(layer=[0]), one.provenance)
    (bars,) = build(shallow).spec["panels"][0]
    assert bars["mark"] == "bars" and len(bars["labels"]) == 6
    assert shallow._repr_mimebundle_()["text/html"]


def test_a_deep_model_shows_some_layers() -> None:
    one = made("attention", True)
    deep = one.dataset.isel(layer=[0, 1, 2] * 12).assign_coords(layer=np.arange(36))
    figure = build(AttentionKnockout(deep, one.provenance))
    matrix, lines = figure.spec["panels"][0]
    labels = matrix["rows"]["labels"]
    assert labels[0] == "L0" and labels[-1] == "L35" and len(labels) == 28
    assert figure.values(lines["x"]["values"]).size == 36
    assert any("28 of 36 layers" in note for note in figure.spec["notes"])


def test_hostile_text_is_text() -> None:
    for text in HOSTILE:
        hostile = np.array([text.encode("utf-8", "replace").decode()] * 3)
        result = made("attention")
        data = result.dataset.assign_coords(
            prompt=("fact", hostile), target_token=("fact", hostile), group=("group", hostile)
        )
        changed = AttentionKnockout(data, result.provenance).view(fact=0)
        page = parsed.Page()
        page.feed(html.fragment(build(changed)))
        tags = [element.tag for element in page.elements]
        assert tags.count("script") == 2 and "iframe" not in tags
        assert "\n".join(repr(changed).splitlines()) == repr(changed) and "\x1b" not in repr(
            changed
        )


def test_a_file_that_holds_something_else_is_refused() -> None:
    one, other = made("attention"), made("mlps")
    with pytest.raises(fv.FactvizError, match="this is no attention knockout"):
        AttentionKnockout(other.dataset, other.provenance)
    with pytest.raises(fv.FactvizError, match="this is no sublayer knockout"):
        SublayerKnockout(one.dataset, one.provenance)
    turned = one.dataset.assign(control=one.dataset["control"].transpose())
    with pytest.raises(fv.FactvizError, match="'control' has dimensions"):
        AttentionKnockout(turned, one.provenance)
