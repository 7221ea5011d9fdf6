"""The notebook on key mechanisms: what its text says holds, its guesses and its exercises judge.

No test names a head or a value of its own: they hold for any model of the recipe. What a table says
is worked out once more from the results, and what the text takes for granted must be there.
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.notebook_runs import drawn, outputs_of, run_cells, solution

NOTEBOOK = ROOT / "notebooks" / "03_key_mechanisms.ipynb"
FIGURES = {
    *("paths-map", "way", "movers-run", "decompose", "intercept", "trace", "shots-run"),
    *("suppressors", "mitigate", "edits"),
}
GUESSES = 9
EXERCISES = range(1, 6)
WRONG: dict[int, list[Any]] = {
    1: [-50, 900, "much", True, None],
    2: [(0, 99), (0,), "L0H1", 7, (0.0, 1.0)],
    3: [200, "1000", 60_000],
    4: ["all", {99}, 3],
    5: ["e", [], 1],
}
# Numbers that the text may hold: they are of the method or of the paper, and not of the weights.
SAID = {"0", "1", "2", "3", "25", "95", "97.5", "99", "0.05", "100", "300", "1000", "3000"} | {
    "60,000"
}


def prose(cells: dict[str, Any]) -> str:
    return "\n".join(cell.source for cell in cells.values() if cell.cell_type == "markdown")


def test_every_figure_is_there_after_a_run(executed: Path):
    outputs = outputs_of(executed / NOTEBOOK.name)
    assert drawn(outputs) == FIGURES
    assert "application/vnd.jupyter.widget-view+json" in outputs["explorer"][-1].data
    for number in EXERCISES:
        (output,) = outputs[f"exercise-{number}"]
        assert output.text == f"Exercise {number}: not answered yet.\n"
    answers = [out.text for some in outputs.values() for out in some if "text" in out]
    assert sum(text.startswith("Measured: ") for text in answers) == GUESSES  # nobody guessed


def test_each_guess_has_its_cell_and_is_revealed_in_the_next(cells):
    names = list(cells)
    for number in range(1, GUESSES + 1):
        at = names.index(f"guess-{number}")
        assert cells[names[at]].source.startswith(f"guess_{number} = ...  # ")
        assert f"reveal(guess_{number}, " in cells[names[at + 1]].source
        assert "**Question.**" in cells[names[at - 1]].source


@pytest.mark.parametrize("number", EXERCISES)
def test_the_written_solution_is_right(notebook, cells, capsys, number):
    capsys.readouterr()
    exec(solution(cells, number), notebook)
    assert capsys.readouterr().out == f"Exercise {number}: right!\n"


@pytest.mark.parametrize("number", EXERCISES)
def test_wrong_answers_are_refused_with_a_hint(told, number):
    for wrong in WRONG[number]:
        said = told(number, wrong)
        assert said.startswith(f"Exercise {number}: not yet. "), (wrong, said)
        assert len(said) > 40, said  # a hint, not only a verdict


def test_only_the_right_answers_pass(notebook, cells, told):
    right = {}
    for number in (1, 2, 3, 5):
        exec(solution(cells, number), notebook)
        right[number] = notebook[f"answer_{number}"]
    assert "not yet" in told(1, right[1] + 5) and "not yet" in told(1, right[1] - 5)
    model = notebook["model"]
    heads = [(one, two) for one in range(model.n_layers) for two in range(model.n_heads)]
    assert [head for head in heads if "right!" in told(2, head)] == [right[2]]
    for steps in {*notebook["STEPS"], None} - {right[3]}:
        assert "not yet" in told(3, steps)
    for size in range(5):
        for letters in map(set, combinations("abcd", size)):
            assert ("right!" in told(5, letters)) == (letters == right[5])


def test_halves_share_no_country_and_heads_are_chosen_on_one(notebook):
    choose, judge = (
        {fact.subject for fact in notebook[half]} for half in ("choose_on", "judge_on")
    )
    assert choose and judge and not choose & judge
    assert {fact.subject for fact in notebook["choose_few"]} <= choose
    assert {fact.subject for fact in notebook["judge_few"]} <= judge
    chosen = notebook["chosen"]
    strong = notebook["names_of"](notebook["strong"])
    eligible = chosen[chosen["beyond_control"] & (chosen["delta"] < 0)].index
    assert strong == list(eligible[:4]) and len(strong) == 4
    # What is scaled was looked for on the choosing half, which is that of the mitigation, too.
    data = notebook["mitigation"].dataset
    scaled_on = set(data["subject"].values[data["half"].values == "choosing"])
    assert choose <= scaled_on and not judge & scaled_on
    asked = {str(name) for name in notebook["suppressors"].dataset["subject"].values}
    assert asked <= choose


def test_means_over_counterfactuals_are_alike_and_single_ones_are_not(notebook):
    """“Whatever the recipe, the topic is averaged away”; “only prompt by prompt …”."""
    delta = notebook["recipes"]["delta"].unstack()
    spread = delta.max() - delta.min()
    assert spread["mean of all"] < 0.2 * spread["its own"]
    own = delta["its own"]
    assert own["other topic"] < 2 * max(own["relation replaced"], own["prefix dropped"]) < 0


def test_the_strongest_head_stands_the_tests_that_the_text_builds_on(notebook):
    strongest = notebook["strongest"]
    assert notebook["judged"].loc[strongest, "beyond_control"]
    assert notebook["losses"].loc["top1", "difference_high"] < -0.1
    compared = notebook["compared"].loc[strongest]
    assert compared["path"] < compared["direct path"] < 0
    assert compared["mean ablation"] < compared["random heads, mean"] - 0.5


def test_conditions_of_movers_are_counted_as_the_rule_has_them(notebook):
    heads, found = notebook["criteria"]["heads"], notebook["movers"]
    assert heads.iloc[-1] == len(found.movers) == len(notebook["found"])
    assert heads.iloc[3] <= heads.iloc[2]  # corrected for many heads
    p = found.dataset["p"].sel(sample="all", written="topic").values
    assert heads.iloc[2] == int((p < 0.05).sum())


def test_the_centred_fit_is_the_smaller_one_and_the_layer_holds_a_strong_head(notebook):
    decomposed, layer = notebook["decomposed"], notebook["layer"]
    assert layer == max(one for one, _ in notebook["strong"])
    zero = float(decomposed.dataset["r2_zero"].sel(layer=layer).mean())
    shuffled = float(decomposed.dataset["control_r2"].sel(layer=layer).mean())
    assert shuffled + 0.01 < notebook["explained"] < zero - 0.1
    assert f"R² {notebook['explained']:.2f} held out" in decomposed.said_of(layer)
    fate = notebook["fate"]
    for name, row in fate.iterrows():
        sure = row["low"] > 0 or row["high"] < 0
        assert not notebook["clear"][name] or sure
        assert row["left"] == pytest.approx(1 + row["g"])


def test_what_sublayers_add_to_the_lead_adds_up(notebook):
    logit = notebook["trace"].dataset["logit"]
    lead = (logit.sel(token="Y") - logit.sel(token="X")).mean("fact")
    grown = lead.sel(place="r_post").values[-1] - lead.sel(place="r_pre").values[0]
    own = notebook["own"].sum(-1).mean(-1)
    assert own.sum() == pytest.approx(grown, abs=1e-4)
    assert notebook["climb"].loc["all", "MLP: own pair"] == pytest.approx(own[1], abs=1e-4)
    mean, low, high = notebook["interval"](np.array([1.0, 2.0, 3.0, np.nan]))
    assert low < mean == 2 < high


def test_mlps_lift_the_own_answer_beyond_the_linear_map(notebook):
    """“If MLPs add much more for the own pair …”: what the paragraph reads, whichever way."""
    own, wrong = (np.nanmean(notebook[name].sum(-1), -1) for name in ("own", "wrong"))
    assert own[1] > wrong[1] + 1


def test_temperature_keeps_the_first_answer(notebook):
    methods = notebook["methods"]
    assert methods.loc["temperature", "accuracy"] == methods.loc["unmitigated", "accuracy"]
    assert set(notebook["held_back"]) == set(notebook["mitigation"].components)


def test_as_many_topics_as_dimensions_are_an_edit_of_everything(notebook):
    fv, model, head = notebook["fv"], notebook["model"], notebook["strong"][0]
    before = model.predict(notebook["fact"].prompt, k=3)
    shares = []
    for topics in (notebook["erased"], notebook["facts"]):
        with fv.edit_head(model, *head, remove=topics) as edit:
            shares.append(edit.share)
    assert shares[0] < 0.9 and shares[1] > 0.999
    assert model.predict(notebook["fact"].prompt, k=3).equals(before)
    erased, spared = ({one.subject for one in notebook[name]} for name in ("erased", "spared"))
    assert not erased & spared and len(erased) == notebook["n"]


def test_every_claim_stands_beside_its_control(notebook):
    claims = notebook["claims"]
    assert claims.index.is_unique and len(claims) > 20
    assert not claims.isna().any(axis=None)
    assert (claims["low"] <= claims["mean"]).all() and (claims["mean"] <= claims["high"]).all()


def test_every_finding_is_judged_by_its_own_numbers(notebook):
    findings = {name: bool(found) for name, found in notebook["findings"].items()}
    strongest, layer = notebook["strongest"], notebook["layer"]
    frame = notebook["movers"].to_frame()
    names = notebook["names_of"](frame[["layer", "head"]].values)
    row = frame[[name == strongest for name in names]]
    x, y = float(row["difference"].iloc[0]), float(row["answer_contrast"].iloc[0])
    geometry = notebook["decomposed"].geometry().query("vector == 'b' and layer == @layer")
    b = geometry.set_index("direction")
    nll = notebook["mitigation"].table().query("measure == 'nll'").set_index("method")
    gains = notebook["shots"].table().set_index("shots")
    own, wrong = (notebook[name].sum(-1) for name in ("own", "wrong"))
    beyond = own - wrong
    some = bool(notebook["suppressors"].components)
    words = notebook["decomposed"].words
    strong = [str(words.sel(layer=one).isel(head=two).item()) for one, two in notebook["strong"]]
    topics = notebook["topics"]
    assert list(findings.values()) == [
        bool(notebook["judged"].loc[strongest, "beyond_control"]),
        bool(notebook["movers"].movers),
        x > 2 * y,
        any(word != "unclear" for word in strong),
        float(notebook["decomposed"].r2.sel(layer=layer)) > 0.5,
        bool(b.loc["Y − X over shuffled", "low"] > 0),
        bool(b.loc["Y − X", "low"] > b.loc["answer type", "high"]),
        bool(notebook["interval"](beyond[1])[1] > 0),
        bool(notebook["interval"](beyond[1] - beyond[0])[1] > 0),
        bool(notebook["shown"].loc[strongest, "beyond_control"]),
        bool(gains.loc[2, "probability_gain_low"] > 0),
        some,
        some and notebook["mitigation"].helps,
        bool(nll.loc["mitigated", "change_high"] < nll.loc["temperature", "change_low"]),
        bool(notebook["edits"].losses().set_index("measure").loc["top1", "difference_high"] < 0),
        bool(topics["high"].iloc[0] < topics["low"].iloc[1]),
    ]
    assert max(map(len, findings)) <= 50  # pandas cuts longer ones off


def test_the_papers_parts_stand_beside_ones_own(notebook):
    parts = notebook["parts"]
    assert parts["GPT-2 small"].tolist() == ["L9H8 L10H0", "", "MLP 10", "layer 11"]
    own = parts.iloc[:, 1]
    assert own["strong heads, by paths"].split() == notebook["names_of"](notebook["strong"])
    if not notebook["found"]:
        assert own["mover heads"] == "none found"
    if not notebook["suppressors"].components:
        assert own["suppression"] == "none found"


def test_text_names_no_heads_and_no_numbers_of_one_set_of_weights(cells):
    """The weights may be trained again; what they hold is for the cells to say."""
    text = prose(cells)
    assert set(re.findall(r"\bL\d+H\d+", text)) == {"L2H7"}  # how to name a receiver
    text = re.sub(r"```python.*?```|\]\([^)]*\)|`[^`]*`", "", text, flags=re.DOTALL)
    text = re.sub(r"GPT-2|Llama-2|L2H7|mlp 2|^\d\.|\*\*\d\.", "", text, flags=re.MULTILINE)
    found = set(re.findall(r"\d[\d.,]*\d|\d", text))
    assert found <= SAID, found - SAID


def test_another_model_takes_one_line(cells, capsys):
    """All cells run, and all solutions are right, in parallel blocks and on fewer facts."""
    fewer = ('select(relation="country_capital")', 'select(relation="country_capital")[::2]')
    names = run_cells(cells, ('name = "mini-gpt2"', 'name = "mini"'), fewer)
    assert names["model"].name == "mini" and names["parallel"]
    assert "nothing in between" in capsys.readouterr().out
    assert list(names["findings"].values()).count(None) == 2
    for number in EXERCISES:
        capsys.readouterr()
        exec(solution(cells, number), names)
        assert capsys.readouterr().out == f"Exercise {number}: right!\n"


def test_links_lead_to_headings(cells):
    text = prose(cells)
    headings = {
        line.lstrip("# ").replace(" ", "-") for line in text.splitlines() if line[:1] == "#"
    }
    targets = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert targets and targets <= headings
    for name in re.findall(r"\]\(([\w]+\.ipynb)\)", text):
        assert (NOTEBOOK.parent / name).is_file()
