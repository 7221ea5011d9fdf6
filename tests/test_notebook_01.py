"""The notebook on summing up: what its text says holds, its guesses and its exercises judge.

No test names a head or a value of its own: they hold for any model of the recipe.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.notebook_runs import drawn, outputs_of, run_cells, solution

NOTEBOOK = ROOT / "notebooks" / "01_summing_up_the_facts.ipynb"
FIGURES = {
    *("heatmap", "classes", "profile", "profile-relation", "misfires-run", "boosts", "motif"),
    *("waterfall", "patch", "ablate", "repair", "paths", "paths-second", "mixed"),
    *("checkpoints-compare", "reversal-figure"),
}
EXERCISES = range(1, 6)
WRONG: dict[int, list[Any]] = {
    1: [-1, 1000, "3", True, [2]],
    2: [(0, 99), (0,), "L0H1", 7, (0.0, 1.0)],
    3: [{"even": 0.0, "odd": 0.0, "rest": 0.0}, {"even": 1.0}, "everything", 3.0],
    4: ["The Colosseum", 0],
    5: [(99, 0), (0,), "L0H1", None],
}


def test_every_figure_is_there_after_a_run(executed: Path):
    outputs = outputs_of(executed / NOTEBOOK.name)
    assert drawn(outputs) == FIGURES
    assert "application/vnd.jupyter.widget-view+json" in outputs["picker"][-1].data
    for number in EXERCISES:
        (output,) = outputs[f"exercise-{number}"]
        assert output.text == f"Exercise {number}: not answered yet.\n"
    answers = [out.text for some in outputs.values() for out in some if "text" in out]
    assert sum(text.startswith("Measured: ") for text in answers) == 7  # nobody guessed


def test_a_guess_is_set_beside_what_was_measured(notebook, capsys):
    reveal = notebook["reveal"]
    for guess, measured, said in (
        (..., 36.4, "Measured: 36.\n"),
        (40, 36.4, "You said 40, measured: 36. Close!\n"),
        (90, 36.4, "You said 90, measured: 36. A surprise?\n"),
        ("mixed", "mixed", "You said mixed, measured: mixed. Right!\n"),
    ):
        reveal(guess, measured)
        assert capsys.readouterr().out == said
    reveal("mixed", "subject")
    assert "measured: subject" in capsys.readouterr().out


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


def test_every_head_but_the_right_one_is_refused(notebook, told):
    model, bands = notebook["model"], notebook["effects"].bands()
    lift = notebook["classes"].bands()["relation_lift"].sel(relation="all")
    for number, values in ((2, lift), (5, bands["gap"])):
        right = [
            (layer, head)
            for layer in range(model.n_layers)
            for head in range(model.n_heads)
            if told(number, (layer, head)).endswith("right!\n")
        ]
        assert right == [
            tuple(int(i) for i in np.argwhere(values.values == values.values.max())[0])
        ]


def test_a_fact_that_one_part_tells_is_refused(notebook, told):
    frame = notebook["motif"].to_frame()
    able = frame[(frame["role"] == "answer") & frame["top1"]]
    said = told(4, notebook["facts"][int(able["fact"].iloc[0])])
    assert "would do alone" in said and able["part"].iloc[0] in said


def test_the_parts_of_one_fact_add_up_and_read_as_the_text_asks(notebook):
    fv, fact, split = (notebook[name] for name in ("fv", "fact", "split"))
    table = split(fv.attribute_logits(fv.trace(notebook["model"], fact), notebook["words"]))
    assert np.allclose(table.loc["= sum"], table.loc["the model's logit"], atol=0.011)
    of_a, of_s, of_r = (
        table.iloc[:, 0],
        table.iloc[:, 1:3].mean(axis=1),
        table.iloc[:, 3:].mean(axis=1),
    )
    reading = "heads reading the subject"
    assert min(of_a[reading], of_s[reading]) > of_r[reading] + 1
    for relation in ("heads reading the relation", "MLPs"):
        assert min(of_a[relation], of_r[relation]) > of_s[relation] + 1


def test_classes_are_about_s_and_about_r(notebook):
    shares, judged = notebook["shares"], notebook["judged"]
    for kind in ("subject", "relation"):
        assert shares.loc[kind, "heads"] >= 2
        assert shares.loc[kind, f"{kind}_attention"] > 0.6
        assert judged.loc[kind, "same class again (%)"] > 60
    assert shares.loc[["subject", "relation"], "share_of_dla"].sum() > 0.6
    assert shares.loc["unclassified", "share_of_dla"] < shares.loc["unclassified", "share_of_heads"]
    lifts = judged[["S over O (logits)", "R over O (logits)"]]
    assert lifts.loc["subject"].iloc[0] > 5 * abs(lifts.loc["subject"].iloc[1])
    assert lifts.loc["relation"].iloc[1] > 5 * abs(lifts.loc["relation"].iloc[0])


def test_subject_heads_say_what_was_not_asked_for(notebook):
    rates = notebook["rates"]
    assert rates.loc["not asked for", "low"] > rates.loc["asked for", "lift"] / 2 > 0


def test_mlps_lift_all_of_r(notebook):
    bands = notebook["evenness"]
    assert float(bands["lift_low"]) > 2 * float(bands["single_high"])
    assert 0.4 < float(bands["share_below"]) < 0.9


def test_only_the_sum_has_the_answer(notebook):
    alone, best = notebook["alone"], notebook["best"]
    assert alone.loc["together", "top1"] > 0.95
    assert alone.loc[best, "top1_high"] < 0.6
    for part in ("subject heads", "relation heads", "MLPs"):
        assert alone.loc[part, "in_own_set"] > alone.loc[part, "top1"] + 0.1
    assert (alone.loc[["subject heads", "relation heads"], "place"] > 0.9).all()


def test_only_subject_heads_depend_on_the_subject(notebook):
    moved = notebook["moved"]
    subject, relation = moved.loc["subject heads"], moved.loc["relation heads"]
    assert subject["high"] < subject["control_low"] and subject["effect"] < -50
    assert relation["low"] > relation["control_high"] and relation["effect"] > -10


def test_the_answer_needs_both_classes(notebook):
    fell = notebook["ablated"].effects("percent").set_index("component")
    for kind in ("subject heads", "relation heads"):
        assert fell.loc[kind, "high"] < min(-15, fell.loc[kind, "control_low"])
    assert len(notebook["pairs"]) >= 1
    kept = notebook["kept"].outcomes().set_index("component")["accuracy"]
    size = sum(len(notebook["chosen"].heads(kind)) for kind in ("subject", "relation", "mixed"))
    random = [kept[f"only {size} random heads ({draw})"] for draw in (1, 2, 3)]
    assert kept["only classified heads"] > max(0.8, np.mean(random))
    assert kept["only subject heads"] < 0.8 and kept["only relation heads"] < 0.8


def test_only_the_tuned_model_has_a_second_path(notebook):
    end, relation, both = ("END→SUBJECT", "RELATION→SUBJECT", "END→SUBJECT + RELATION→SUBJECT")
    plain, tuned = (
        notebook[name].effects("percent").set_index("component")["effect"]
        for name in ("paths", "second")
    )
    assert abs(plain[relation]) < 5 and plain[end] < -50
    assert abs(plain[both] - plain[end]) < 10
    assert tuned[end] > tuned[both] + 20 and tuned[both] < -50


def test_mixed_heads_of_the_tuned_model_lose_their_preference(notebook):
    mixed = notebook["mixed"]
    bands, heads = mixed.bands().sel(relation="all"), mixed.heads("mixed")
    assert len(heads) >= 2
    layers, numbers = zip(*heads, strict=True)
    clean, change, random = (
        bands[name].values[layers, numbers].sum()
        for name in ("preference", "preference_change", "preference_control")
    )
    assert clean > 0 and change < -clean / 2 and abs(random) < abs(change) / 2


def test_heads_keep_their_order_in_other_words(notebook):
    agreement = notebook["agreement"].set_index("measure")
    assert (agreement.loc["subject_dla", "spearman"] > 0.8).all()
    assert len(agreement.loc["subject_dla"]) == 3


def test_relation_heads_come_first(notebook):
    growth = notebook["growth"]
    assert growth.loc["step 500", "relation"] > 2 * growth.loc["step 500", "subject"]
    assert growth.loc["trained", "subject"] > growth.loc["trained", "relation"]
    assert growth["facts known"].is_monotonic_increasing
    fv, grown = notebook["fv"], notebook["grown"]
    told = fv.compare(*grown.values(), labels=list(grown)).agreement()
    told = told[told["measure"] == "subject_dla"].set_index(["first", "second"])["spearman"]
    assert told["step 3000", "trained"] > told["step 500", "step 1500"]


def test_what_was_trained_one_way_is_not_recalled_the_other(notebook):
    turned = notebook["turned"]
    one, both = (turned.loc[(way, "backward")] for way in ("forwards only", "both ways"))
    assert one["recall"] < 0.1 and both["recall"] > 0.9
    assert turned.loc[("forwards only", "forward"), "recall"] > 0.8
    reading = "heads from subject tokens"
    assert abs(one[reading]) < both[reading] / 4


def test_every_claim_stands_beside_its_control(notebook):
    claims = notebook["claims"]
    assert len(claims) == 15 and claims.index.is_unique
    assert not claims.isna().any(axis=None)
    assert (claims["low"] <= claims["mean"]).all() and (claims["mean"] <= claims["high"]).all()


def test_the_papers_heads_stand_beside_ones_own(notebook):
    table, classes = notebook["pd"].DataFrame(notebook["PAPER"].items()), notebook["classes"]
    assert [len(listed.split()) for listed in table[1]] == [6, 4, 7]
    assert notebook["names_of"](classes.heads("subject"))[0].startswith("L")


def test_text_names_no_heads(cells):
    """The weights may be trained again; what they hold is for the cells to say."""
    text = "\n".join(cell.source for cell in cells.values() if cell.cell_type == "markdown")
    assert set(re.findall(r"\bL\d+H\d+", text)) == {"L2H7"}  # how to read a name


def test_another_model_takes_one_line(cells, capsys):
    """All cells run, and all solutions are right, on another model and fewer facts."""
    other = 'name = "mini-propagation"'
    names = run_cells(cells, ('name = "mini"', other), ("// 10][:10]", "// 4][:4]"))
    assert names["model"].name == "mini-propagation" and names["mini"].name == "mini"
    for number in EXERCISES:
        capsys.readouterr()
        exec(solution(cells, number), names)
        assert capsys.readouterr().out == f"Exercise {number}: right!\n"


def test_links_lead_to_headings(cells):
    text = "\n".join(cell.source for cell in cells.values() if cell.cell_type == "markdown")
    headings = {
        line.lstrip("# ").replace(" ", "-") for line in text.splitlines() if line[:1] == "#"
    }
    targets = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert targets and targets <= headings
