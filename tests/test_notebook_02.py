"""The notebook on the paper's three steps: what its text says holds, and its exercises judge."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "notebooks" / "02_dissecting_recall.ipynb"
FIGURES = {
    *("rate", "cancel-rate", "cancel-answer", "freeze", "tokens", "curves", "span-run"),
    *("span-layers", "events", "hub-map", "hub-head", "follow"),
}
EXERCISES = range(1, 6)
WRONG = {
    1: [{"relation": 3, "subject": 3}, {"relation": 0}, "0", 0],
    2: ["The Louvre", "the same fact", "a fact that the model does not know"],
    3: ["eum", "Louvre", 9],
    4: [{"relation": 0.0, "both": 0.0}, {"relation": "much", "both": -28}, -59.0],
    5: ["a", "c", "d", []],
}


@pytest.fixture(scope="module")
def cells() -> dict[str, Any]:
    return {cell.id: cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells}


@pytest.fixture(scope="module")
def notebook(cells: dict[str, Any]) -> dict[str, Any]:
    """The names that the notebook's cells define, run here: no figure is drawn for that."""
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in cells.values():
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), names)
    return names


@pytest.fixture
def told(notebook: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `check` prints about an answer."""

    def check(number: int, answer: object) -> str:
        capsys.readouterr()
        notebook["check"](number, answer)
        return capsys.readouterr().out

    return check


def test_every_figure_is_there_after_a_run(executed: Path):
    done = nbformat.read(executed / NOTEBOOK.name, as_version=4)
    drawn = {
        cell.id: output.data["text/html"]
        for cell in done.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data-bundle" in output.get("data", {}).get("text/html", "")
    }
    assert set(drawn) == FIGURES
    outputs = {cell.id: cell.outputs for cell in done.cells if cell.cell_type == "code"}
    live = "application/vnd.jupyter.widget-view+json"
    assert live in outputs["picker"][-1].data
    assert "image/png" in outputs["flow"][-1].data
    for number in EXERCISES:
        (output,) = outputs[f"exercise-{number}"]
        assert output.text == f"Exercise {number}: not answered yet.\n"


@pytest.mark.parametrize("number", EXERCISES)
def test_the_written_solution_is_right(notebook, cells, capsys, number):
    text = cells[f"solution-{number}"].source
    assert text.startswith("<details><summary>") and text.endswith("</details>")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(code, f"solution-{number}", "exec"), notebook)
    assert capsys.readouterr().out == f"Exercise {number}: right!\n"


@pytest.mark.parametrize("number", EXERCISES)
def test_wrong_answers_are_refused_with_a_hint(notebook, told, number):
    fv, fact = notebook["fv"], notebook["fact"]
    special = {
        "the same fact": fact,
        "a fact that the model does not know": fv.Fact(
            "Fact: The Louvre is in the country of", subject="The Louvre", answer="Peru"
        ),
    }
    for wrong in WRONG[number]:
        answer = special.get(wrong, wrong) if isinstance(wrong, str) else wrong
        said = told(number, answer)
        assert said.startswith(f"Exercise {number}: not yet. "), (answer, said)
        assert len(said) > 40, said  # a hint, not only a verdict


def test_a_fact_that_depends_little_on_one_layer_is_refused(notebook, told):
    frame = notebook["knockout"].to_frame()
    losses = frame[(frame["group"] == "subject") & (frame["layer"] == 2)].sort_values("change")
    said = told(2, notebook["facts"][int(losses["fact"].iloc[-1])])
    assert "keeps" in said and "%" in said


def test_enrichment_is_what_the_text_says(notebook):
    recall = notebook["recall"]
    assert float(recall["mean"].sel(layer=-1)) < 0.2
    assert float(recall["low"].sel(layer=1)) > 3 * float(recall["shuffled_high"].sel(layer=1))
    best = float(recall["mean"].max())
    assert float(recall["mean"].sel(layer=1)) > best - 0.1  # the rise takes one or two layers
    rate = notebook["cancelled"].curves()
    early = rate.sel(layer=0)
    mlp, attention = early.sel(sublayer="mlp"), early.sel(sublayer="attention")
    assert float(mlp["high"]) < float(mlp["control_low"]) and float(mlp["mean"]) < -25
    assert float(attention["low"]) < float(attention["control"]) < float(attention["high"])
    assert float(rate["low"].sel(sublayer="attention", layer=1)) > 0


def test_the_remark_on_windows_of_one_layer_holds(notebook):
    fv, model, facts = (notebook[name] for name in ("fv", "model", "facts"))
    single = fv.knock_out_sublayers(
        model, facts, window=1, outcome="attributes_rate", controls=0
    ).curves()["mean"]
    assert float(single.sel(sublayer="attention", layer=0)) < float(
        single.sel(sublayer="mlp").min()
    )


def test_only_layer_0_matters_to_the_answer(notebook):
    answered = notebook["answered"].curves()
    assert (answered["high"].sel(layer=0) < -10).all()
    assert (abs(answered["mean"].isel(layer=slice(1, None))) < 5).all()
    first, second = notebook["frozen"].effects("percent").itertuples()
    assert first.high < -50 and first.high < first.control_low
    assert abs(second.effect) < 5


def test_relation_comes_before_subject_in_one_layer_each(notebook):
    curves, strongest = notebook["knockout"].curves(), notebook["strongest"]
    layers = {group: strongest(notebook["knockout"], group) for group in ("relation", "subject")}
    assert layers["relation"] < layers["subject"]
    for group, layer in layers.items():
        means = curves["mean"].sel(group=group)
        assert float(means.sel(layer=layer)) < 3 * float(means.drop_sel(layer=layer).min())
        at = curves.sel(group=group, layer=layer)
        assert float(at["high"]) < float(at["control_low"])
    # "the control of the relation falls where the subject is read"
    control = curves["control"].sel(group="relation")
    assert int(control.idxmin("layer")) == layers["subject"]
    heat = notebook["heat"].tokens
    token = {name: heat.token.values.tolist().index(name) for name in (" country", "eum")}
    first = {
        name: int((heat.isel(position=at) < 0.3).values.argmax()) for name, at in token.items()
    }
    assert first[" country"] < first["eum"]


def test_attention_extracts_more_and_needs_the_subject(notebook):
    rates = notebook["events"].rates().set_index(["variant", "sublayer"])
    clean, hidden = rates.loc["clean"], rates.loc["subject blocked"]
    assert clean.loc["attention", "low"] > 0.5
    assert clean.loc["attention", "low"] > clean.loc["mlp", "high"]
    assert hidden.loc["attention", "high"] < 0.25
    assert notebook["events"].parallel
    assert notebook["events"].order()["prompts"].iloc[0] < 15  # "few have both"


def test_single_heads_store_few_attributes(notebook):
    best = notebook["hubs"].to_frame().sort_values("above").iloc[-1]
    assert best["low"] > best["control"] and best["share"] < 0.5


def test_hiding_more_costs_less(notebook, cells):
    (code,) = re.findall(r"```python\n(.*?)```", cells["solution-4"].source, flags=re.DOTALL)
    exec(compile(code, "solution-4", "exec"), notebook)
    changes = notebook["answer_4"]
    assert changes["relation"] < changes["both"] - 10 < 0


def test_the_table_sets_every_effect_beside_its_control(notebook):
    table = notebook["table"]
    assert len(table) == 9
    assert not table[["mean", "low", "high", "control"]].isna().any(axis=None)
    beyond = ~table["control"].between(table["low"], table["high"])
    inside = table.index[~beyond].tolist()
    assert inside == [
        "cancel attention at the last subject token, three layers",
        "keep the subject as it enters layer 1",
    ]


def test_links_lead_to_headings(cells):
    text = "\n".join(cell.source for cell in cells.values() if cell.cell_type == "markdown")
    headings = {
        line.lstrip("# ").replace(" ", "-") for line in text.splitlines() if line[:1] == "#"
    }
    targets = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert targets and targets <= headings
