"""Figures of causal effects and extraction events, and their files."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import factviz
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.results.causal import Causal
from factviz.results.extraction import Extraction
from factviz.views.presenter import build
from tests.families import tiny_model, tiny_tokenizer
from tests.hostile import HOSTILE

FACTS = [
    Fact("w50 w16 w17 w7 w19", "w16 w17", "w11", relation="r"),
    Fact("w51 w21 w22 w23", "w21", "w33", relation="r"),
    Fact("w40 w41 w42 w43", "w41", "w51", relation="q"),
]
KINDS = ("block", "ablate", "sweep", "heads", "states", "early", "extraction")


@cache
def model():
    return factviz.load_model(
        tiny_model("llama"), tokenizer=tiny_tokenizer(), prepend_bos=True, name="tiny"
    )


@cache
def made(kind: str, single: bool = False) -> Any:
    facts, m = (FACTS[0] if single else FACTS), model()
    every = [(layer, head) for layer in range(3) for head in range(4)]
    return {
        "block": lambda: factviz.block_attention(m, facts, "end", "subject"),
        "ablate": lambda: factviz.ablate(m, facts, ["L0H1", "mlp 1"], mode="zero"),
        "sweep": lambda: factviz.ablate(m, facts, every, mode="zero", separately=True, controls=1),
        "heads": lambda: factviz.patch_heads(m, facts, FACTS[1], {"both": every[:2]}),
        "states": lambda: factviz.patch_states(m, facts, Fact("w9 w8 w7", "w8", "w6")),
        "early": lambda: factviz.patch_states(m, facts, depths=[0, 1]),
        "extraction": lambda: factviz.extraction_events(m, facts, blocked=["subject", "last"]),
    }[kind]()


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_shown_saved_and_opened(kind, single, tmp_path):
    result = made(kind, single or kind == "heads")
    bundle = result._repr_mimebundle_()
    assert "tiny" in bundle["text/plain"] and "weights" in bundle["text/html"]
    for suffix in (".html", ".png", ".svg", ".pdf", ".csv", ".parquet"):
        assert result.save(tmp_path / f"one{suffix}").stat().st_size > 100
    again = factviz.open_result(tmp_path / "one.html")
    assert type(again) is type(result)
    assert again.dataset.identical(result.dataset) and again.provenance == result.provenance
    assert build(again).transport() == build(result).transport()
    assert result.plot().get_title(loc="left")


def test_an_effect_stands_beside_its_control():
    result = made("block")
    figure = build(result)
    effects, chances = figure.spec["panels"][0]
    row = result.effects().iloc[0]
    assert effects["labels"] == ["END → subject", "↳ control"]
    np.testing.assert_allclose(figure.values(effects["values"]), [row["effect"], row["control"]])
    np.testing.assert_allclose(figure.values(effects["low"]), [row["low"], row["control_low"]])
    assert chances["labels"] == ["clean", "END → subject", "↳ control"]
    clean, changed, _ = figure.values(chances["values"])
    assert changed - clean == pytest.approx(float(result.change().isel(run=1).mean()), abs=1e-6)
    assert "control: as many random keys for each query" in figure.spec["notes"]
    assert any("bootstrap by subject" in note for note in figure.spec["notes"])


def test_one_facts_control_has_the_range_of_its_draws():
    result = made("block", single=True)
    figure = build(result)
    panel = figure.spec["panels"][0][0]
    drawn = result.to_frame().query("variant == 'control'")["probability"]
    base = float(result.probability[0])
    low, high = (figure.values(panel[name])[1] for name in ("low", "high"))
    assert (low, high) == pytest.approx((drawn.min() - base, drawn.max() - base), abs=1e-6)
    assert np.isnan(figure.values(panel["low"])[0])
    assert any("range of its draws" in note for note in figure.spec["notes"])


def test_a_sweep_over_heads_is_a_map_and_its_strongest():
    result = made("sweep").view(top=3, measure="logit")
    figure = build(result)
    matrix, bars = figure.spec["panels"][0]
    values = figure.values(matrix["values"])
    assert values.shape == (2, 3, 4) and matrix["unit"] == "logits"
    effects = result.effects("logit")
    np.testing.assert_allclose(values[0].ravel(), effects["effect"], rtol=1e-6)
    np.testing.assert_allclose(values[1].ravel(), effects["control"], rtol=1e-6)
    strongest = effects["component"][effects["effect"].abs().argmax()]
    assert bars["labels"][0] == strongest and len(bars["labels"]) == 6
    assert any("3 strongest of 12" in note for note in figure.spec["notes"])


def test_choices_of_a_causal_view():
    result = made("block")
    one = build(result.view(fact=1, measure="percent"))
    assert "w51 w21 w22 w23" in one.spec["title"]
    assert one.spec["panels"][0][0]["unit"] == "percent of P"
    for wrong, said in (({"fact": 3}, "no fact 3"), ({"measure": "odds"}, "'odds' is unknown"),
                        ({"top": 0}, "top=0")):  # fmt: skip
        with pytest.raises(FactvizError, match=said):
            result.view(**wrong)


def test_extraction_of_prompts_links_each_row_to_its_fact():
    result = made("extraction")
    figure = build(result)
    table, curves, rates = figure.spec["panels"][0]
    assert table["rows"]["keys"] == [{"fact": 0}, {"fact": 1}, {"fact": 2}]
    assert table["pages"]["options"][:3] == [
        "attention, clean", "MLP, clean", "attention, subject blocked",
    ]  # fmt: skip
    values = figure.values(table["values"])  # [run × sublayer, fact, layer]
    expected = 1 / result.ranks.transpose("run", "sublayer", "fact", "layer").values
    np.testing.assert_allclose(values.reshape(expected.shape), expected, rtol=1e-6)
    np.testing.assert_array_equal(
        values.reshape(expected.shape) == 1,
        result.events.transpose("run", "sublayer", "fact", "layer"),
    )
    assert len(curves["series"]) == 6
    assert rates["labels"][:2] == ["clean: attention", "clean: MLP"]
    np.testing.assert_allclose(
        figure.values(rates["values"]), 100 * result.rates()["rate"], rtol=1e-5
    )


def test_the_menu_of_a_table_leads_to_the_trace_of_each_prompt():
    result = made("extraction")
    figure = build(result)
    prompts = [str(prompt) for prompt in result.dataset["prompt"].values]
    assert figure.spec["choose"]["options"] == ["all 3 prompts", *prompts]
    for fact in range(3):
        alone = build(result.view(fact=fact))
        linked, direct = figure.spec["panels"][1 + fact], alone.spec["panels"][0]
        assert [panel["mark"] for panel in linked] == ["matrix", "lines"]
        assert linked[0]["rows"] == direct[0]["rows"]
        np.testing.assert_array_equal(
            figure.values(linked[0]["values"]), alone.values(direct[0]["values"])
        )


def test_extraction_of_one_prompt_names_the_tokens():
    result = made("extraction")
    figure = build(result.view(fact=2))
    table, scores = figure.spec["panels"][0]
    tokens = result.dataset["token"].values[2, 0]
    assert table["rows"]["labels"][:3] == [
        f"L0 attention → {tokens[0, 0]}", f"L0 MLP → {tokens[1, 0]}",
        f"L1 attention → {tokens[0, 1]}",
    ]  # fmt: skip
    assert table["rows"]["keys"][2] == {"layer": 1, "sublayer": "attention"}
    assert table["columns"]["labels"] == ["clean", "subject blocked", "END blocked"]
    values = figure.values(table["values"])[0].reshape(3, 2, 3)  # [layer, sublayer, run]
    np.testing.assert_allclose(
        values, 1 / result.ranks.isel(fact=2).transpose("layer", "sublayer", "run"), rtol=1e-6
    )
    assert [one["label"] for one in scores["series"]] == ["attention", "MLP"]


def test_a_deep_model_and_many_prompts_are_cut_and_it_is_said():
    small = made("extraction").dataset
    wide = small.isel(layer=[0, 1, 2] * 20, fact=[0, 1, 2] * 80, state=[0, *[1, 2, 3] * 20])
    wide = wide.assign_coords(layer=np.arange(60), fact=np.arange(240), state=np.arange(61))
    figure = build(Extraction(wide.assign_attrs(single=False), made("extraction").provenance))
    table = figure.spec["panels"][0][0]
    assert len(table["columns"]["labels"]) <= 28 and len(table["rows"]["labels"]) == 200
    assert any("200 of 240 prompts" in note for note in figure.spec["notes"])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts(text, tmp_path):
    text = text.encode("utf-8", "replace").decode()
    for kind, made_by in (("block", Causal), ("extraction", Extraction)):
        data = made(kind).dataset.copy()
        for name in ("prompt", "subject", "answer", "target_token", "variant"):
            if name != "variant" or kind == "extraction":
                values = data[name].values.astype(object)
                values[...] = text
                data = data.assign_coords({name: (data[name].dims, values)})
        if kind == "extraction":
            tokens = np.full(data["token"].shape, text, dtype=object)
            data = data.assign_coords(token=(data["token"].dims, tokens))
        result = made_by(data, made(kind).provenance | {"model": text})
        for one in (result, result.view(fact=0)):
            html = one._repr_mimebundle_()["text/html"]
            assert "<script>alert" not in html and "<img src=x" not in html
            assert "\u202e" not in repr(one)
            one.save(tmp_path / "one.svg")


def test_what_does_not_fit_is_refused():
    causal, events = made("ablate"), made("extraction")
    forged = causal.dataset.assign_coords(
        variant=("run", causal.dataset["variant"].values[::-1].copy())
    )
    for made_by, data, said in (
        (Causal, forged, "no causal effect: its runs are"),
        (Causal, causal.dataset.isel(run=[0]), "no causal effect"),
        (Extraction, events.dataset.isel(sublayer=[1, 0]), "sublayers"),
        (Extraction, events.dataset.isel(state=[0, 1]), "2 states for 3 layers"),
        (Extraction, events.dataset.drop_vars("rank"), "'rank' is missing"),
    ):
        with pytest.raises(FactvizError, match=said):
            made_by(data, {})
