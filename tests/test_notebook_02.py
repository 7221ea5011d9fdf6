"""The notebook on the paper's three steps: what its text says holds, and its exercises judge."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.notebook_runs import drawn, outputs_of, solution

NOTEBOOK = ROOT / "notebooks" / "02_dissecting_recall.ipynb"
FIGURES = {
    *("rate", "cancel-rate", "cancel-answer", "freeze", "tokens", "curves", "span-run"),
    *("span-layers", "events", "hub-map", "hub-head", "follow"),
}
EXERCISES = range(1, 6)
WRONG = {
    1: [{"relation": 6, "subject": 6}, {"relation": 0}, "0", 0],
    2: ["The Louvre", "the same fact", "a fact that the model does not know"],
    3: [" The", "Louvre", 9],
    4: [{"relation": 0.0, "both": 0.0}, "much", -59.0, 1.5],
    5: ["d", [], 1],
}


@pytest.fixture
def solved(notebook: dict[str, Any], cells: dict[str, Any]) -> Callable[[int], Any]:
    """The answer that the written solution of an exercise gives."""

    def solve(number: int) -> Any:
        exec(solution(cells, number), notebook)
        return notebook[f"answer_{number}"]

    return solve


def test_every_figure_is_there_after_a_run(executed: Path):
    outputs = outputs_of(executed / NOTEBOOK.name)
    assert drawn(outputs) == FIGURES
    live = "application/vnd.jupyter.widget-view+json"
    assert live in outputs["picker"][-1].data
    assert "image/png" in outputs["flow"][-1].data
    for number in EXERCISES:
        (output,) = outputs[f"exercise-{number}"]
        assert output.text == f"Exercise {number}: not answered yet.\n"


@pytest.mark.parametrize("number", EXERCISES)
def test_the_written_solution_is_right(solved, capsys, number):
    capsys.readouterr()
    solved(number)
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


def test_answers_near_the_right_ones_are_refused(told, solved):
    one = solved(1)
    for group in one:
        assert "not yet" in told(1, one | {group: (one[group] + 1) % 6})
    share = solved(4)
    for wrong in (share + 0.05, max(share - 0.05, 0.0), 1 - share):
        assert "not yet" in told(4, wrong)
    missing = solved(5)
    for size in range(4):
        for letters in map(set, combinations("abc", size)):
            assert ("right" in told(5, letters)) == (letters == missing)
    assert "right" in told(5, "".join(sorted(missing, reverse=True)))


def test_a_fact_that_depends_little_on_one_layer_is_refused(notebook, told):
    frame = notebook["knockout"].to_frame()
    layer = notebook["strongest"](notebook["knockout"], "subject")
    here = frame[(frame["group"] == "subject") & (frame["layer"] == layer)].sort_values("change")
    # One of ten facts is enough of an example; the next one is not.
    for rank, right in ((0, True), (len(here) // 10 - 1, True), (len(here) // 5, False)):
        said = told(2, notebook["facts"][int(here["fact"].iloc[rank])])
        assert ("right" in said) == right, (rank, said)
    assert "keeps" in said and "%" in said


def test_what_is_printed_is_what_the_results_say(executed: Path, notebook):
    printed = {
        name: "".join(output.get("text", "") for output in some)
        for name, some in outputs_of(executed / NOTEBOOK.name).items()
    }
    rate, richest = notebook["recall"]["mean"], notebook["richest"]
    assert float(rate.sel(layer=richest)) == float(rate.max())
    assert f"after layer {richest}: {float(rate.max()):.0%}" in printed["rate-said"]
    curves = {
        "cancel-rate-said": notebook["cancelled"].curves().rename(sublayer="group"),
        "cancel-answer-said": notebook["answered"].curves().rename(sublayer="group"),
        "curves-said": notebook["knockout"].curves(),
    }
    for cell, data in curves.items():
        lines = [line for line in printed[cell].splitlines() if "most at layer" in line]
        assert len(lines) == data.sizes["group"]
        for line in lines:
            name = line.partition(":")[0].split()[-1].replace("itself", "last")
            one = data.sel(group=name)
            layer, mean, low, high, control, rest = re.fullmatch(
                r".*: most at layer (\d), ([+-]\d+) % \(([+-]\d+) to ([+-]\d+)\), "
                r"control ([+-]\d+) %(.*)",
                line,
            ).groups()
            at = one.sel(layer=int(layer))
            assert float(at["mean"] - at["control"]) == float((one["mean"] - one["control"]).min())
            for text, key in ((mean, "mean"), (low, "low"), (high, "high"), (control, "control")):
                assert int(text) == pytest.approx(float(at[key]), abs=0.51)
            assert rest == ("" if at["high"] < at["control_low"] else ": not apart")
    effects = notebook["kept"]["effect"].tolist()
    enough = notebook["enough"]
    assert min(effects[enough:], default=0) > -5
    assert enough == 0 or effects[enough - 1] <= -5
    assert f"enters layer {enough}," in printed["freeze-said"]


def test_the_steps_are_there_to_be_seen(notebook):
    """What the text takes for granted, whichever way the rest turns out."""
    recall = notebook["recall"]
    assert float(recall["mean"].sel(layer=-1)) < 0.2
    peak = notebook["peak"]
    assert float(peak["low"]) > 3 * float(peak["shuffled_high"])
    # "What depends on the whole name is written by attention in layer 0, or later": it costs most.
    lost = notebook["cancelled"].curves().sel(layer=0, sublayer="attention")
    assert float(lost["high"]) < float(lost["control_low"])
    # "If state 0 costs much, the answer needs an enriched subject"
    state_0 = notebook["kept"].iloc[0]
    assert state_0["high"] < -50 and state_0["high"] < state_0["control_low"]
    # Windows behind the state that is looked at cannot change it.
    behind = notebook["cancelled"].curves().sel(layer=slice(notebook["richest"] + 1, None))
    assert (behind["mean"] == 0).all()


def test_each_set_is_read_where_its_curve_is_lowest(notebook):
    curves, strongest = notebook["curves"], notebook["strongest"]
    layers = {group: strongest(notebook["knockout"], group) for group in ("relation", "subject")}
    for group, layer in layers.items():
        at = curves.sel(group=group, layer=layer)
        assert float(at["high"]) < float(at["control_low"])
    # "the control of the subject falls where the relation is read", and the other way round
    control = curves["control"]
    assert int(control.sel(group="subject").idxmin("layer")) == layers["relation"]
    elsewhere = [layer for layer in curves["layer"].values if layer not in layers.values()]
    hit = control.sel(group="relation", layer=layers["subject"])
    assert float(hit) < float(control.sel(group="relation", layer=elsewhere).min())


def test_windows_hide_what_is_read_in_several_layers(notebook, solved):
    solved(1)  # "What END reads in several layers it misses only when it is hidden in all of them"
    wide, single = notebook["wide"].curves(), notebook["curves"].sel(group=["relation", "subject"])
    depth = {name: curves["mean"].min("layer") for name, curves in (("3", wide), ("1", single))}
    assert float(depth["3"].sel(group="subject")) < float(depth["1"].sel(group="subject")) - 10
    assert (wide["control"].min("layer") < single["control"].min("layer")).all()  # "larger, too"


def test_one_word_of_the_relation_says_what_is_asked(notebook, solved):
    word = solved(3)
    left = dict(zip(notebook["texts"], notebook["left"], strict=True))
    tokens = notebook["model"].tokenize(notebook["fact"])
    relation = [tokens.texts[position] for position in tokens.groups["relation"]]
    subject = [tokens.texts[position] for position in tokens.groups["subject"]]
    assert word in relation and left[word] < 0.5 * min(left[text] for text in subject)
    whole = notebook["fv"].block_attention(
        notebook["model"], notebook["fact"], "end", tokens.groups["subject"], controls=0
    )
    assert float(whole.probability[1]) < 0.2  # "the whole name cannot" be missed


def test_hiding_more_costs_less_for_some_facts(solved):
    assert 0.02 < solved(4) < 0.98


def test_attention_extracts_and_needs_the_subject(notebook):
    rates = notebook["events"].rates().set_index(["variant", "sublayer"])
    clean, hidden = rates.loc["clean"], rates.loc["subject blocked"]
    assert clean.loc["attention", "low"] > 0.3
    assert hidden.loc["attention", "high"] < clean.loc["attention", "low"] / 2
    assert notebook["events"].parallel


def test_the_best_head_is_above_random_tokens_and_mixes(notebook):
    strong = notebook["strong"]
    assert strong["low"] > strong["control"] and strong["above"] == max(
        notebook["hubs"].to_frame()["above"]
    )


def test_the_table_sets_every_effect_beside_its_control(notebook):
    table = notebook["table"]
    assert len(table) == 9
    assert not table[["mean", "low", "high", "control"]].isna().any(axis=None)
    assert table.loc["hide the relation from END", "layer"] == notebook["strongest"](
        notebook["knockout"], "relation"
    )


def test_every_finding_is_judged_by_its_own_numbers(notebook):
    findings = {name: bool(found) for name, found in notebook["findings"].items()}
    rates = notebook["events"].rates().set_index(["variant", "sublayer"])
    attention, mlp = (rates.loc[("clean", kind)] for kind in ("attention", "mlp"))
    hidden = rates.loc[("subject blocked", "attention")]

    def worst(curves: Any) -> Any:
        return curves.isel(layer=int((curves["mean"] - curves["control"]).argmin("layer")))

    layer = {
        group: int(worst(notebook["curves"].sel(group=group))["layer"])
        for group in ("relation", "subject")
    }
    lost = notebook["cancelled"].curves()
    ends = [worst(lost.sel(sublayer=kind)) for kind in ("mlp", "attention")]
    costs = notebook["frozen"].effects("percent")["difference_high"]
    assert list(findings.values()) == [
        bool(notebook["peak"]["low"] > notebook["peak"]["shuffled_high"]),
        bool(ends[0]["high"] < ends[1]["low"]),
        bool(costs[0] < -5),
        bool(costs[1] < -5),
        layer["relation"] < layer["subject"],
        bool(attention["low"] > mlp["high"]),
        bool(hidden["high"] < attention["low"]),
        True,
    ]


def test_links_lead_to_headings(cells):
    text = "\n".join(cell.source for cell in cells.values() if cell.cell_type == "markdown")
    headings = {
        line.lstrip("# ").replace(" ", "-") for line in text.splitlines() if line[:1] == "#"
    }
    targets = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert targets and targets <= headings
