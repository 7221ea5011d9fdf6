"""Figures of head classes, profiles, boosts and motifs: shown, saved, opened, drawn otherwise."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import factviz as fv
from factviz.views.painters.files import MOST_NOTES
from factviz.views.presenter import build
from factviz.views.static_table import matrix_table

KINDS = ("classes", "profile", "boosts", "motif", "source", "effects", "misfires", "edits", "shots")


@cache
def made(kind: str, single: bool = False) -> Any:
    model = fv.load_model()
    facts: Any = list(fv.FactSet.builtin())[::401]
    facts = facts[0] if single else facts
    return {
        "classes": lambda: fv.classify_heads(model, facts),
        "profile": lambda: fv.profile_head(model, facts, 1, 0),
        "boosts": lambda: fv.mlp_boosts(model, facts, neurons=True),
        "motif": lambda: fv.sum_up(model, facts),
        "effects": lambda: fv.compare_effects(model, facts[:4]),
        "misfires": lambda: fv.find_misfires(
            model, fv.FactSet.builtin().select(subject=["Paris", "Lyon", "Berlin"]), [(2, 7)]
        ),
        "source": lambda: fv.sum_up(model, facts, by="source"),
        "edits": lambda: fv.compare_edits(model, facts, [(2, 7), (3, 1)], scale=0, controls=1),
        "shots": lambda: fv.compare_shots(
            model, fv.FactSet.builtin().select(relation="country_capital")[:6], counts=(0, 1)
        ),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "single"),
    [(kind, False) for kind in KINDS] + [(kind, True) for kind in ("profile", "boosts", "source")],
)
def test_every_result_is_shown_saved_and_opened(kind: str, single: bool, tmp_path: Any) -> None:
    result = made(kind, single)
    bundle = result._repr_mimebundle_()
    assert "mini" in bundle["text/plain"] and "weights" in bundle["text/html"]
    for suffix in (".html", ".png", ".svg", ".pdf", ".csv", ".parquet"):
        assert result.save(tmp_path / f"one{suffix}").stat().st_size > 100
    again = fv.open_result(tmp_path / "one.html")
    assert type(again) is type(result)
    assert again.dataset.identical(result.dataset) and again.provenance == result.provenance
    assert again.to_frame().equals(result.to_frame())
    assert result.plot().figure is not None


def test_the_plane_carries_what_the_rule_needs() -> None:
    """From the spec alone, at any threshold, the same classes as the result's own."""
    from factviz.results import class_rule

    result = made("classes").view(relation="all")
    figure = build(result)
    plane = figure.spec["panels"][0][0]
    assert plane["mark"] == "points" and plane["rule"]["marks"] == [3.0, 10.0]
    x, y = (figure.values(plane[axis]["values"]).astype(float) for axis in "xy")
    able, above = (figure.values(plane["rule"][n]).astype(bool) for n in ("eligible", "above"))
    for threshold in (2.0, 3.0, 10.0):
        found = class_rule.classes(x, y, able=able, above=above, threshold=threshold)
        wanted = result.at(threshold).classes.sel(relation="all").values.ravel()
        assert (found == wanted).all()
    drawn = [name or "unclassified" for name in plane["classes"]]
    assert drawn == result.classes.sel(relation="all").values.ravel().tolist()


def test_what_was_not_measured_is_blank_and_not_zero() -> None:
    subjects = ["Paris", "Berlin", "The Colosseum", "The Louvre"]
    facts = fv.FactSet.builtin().select(subject=subjects)
    result = fv.find_misfires(fv.load_model(), facts, [(2, 7)])
    figure = build(result)
    (panel, _) = figure.spec["panels"][0]
    wanted = np.isnan(result.matrix().values)
    assert wanted.any() and not wanted.all()
    assert (np.isnan(figure.values(panel["values"])[0]) == wanted).all()
    table = matrix_table(figure, panel)
    assert table.count("<td></td>") == wanted.sum()


def test_classes_look_apart() -> None:
    from factviz.views.painters import classes

    names = ("subject", "relation", "mixed", "suppressing")
    assert [classes.letter(name) for name in names] == ["S", "R", "M", "s"]
    assert len({classes.marker(name) for name in names}) == 4


def test_relations_are_a_choice_and_a_threshold_travels(tmp_path: Any) -> None:
    result = made("classes").at(3)
    spec = build(result).spec
    assert spec["choose"]["options"][0] == "all relations"
    assert len(spec["choose"]["options"]) == len(spec["panels"]) <= 12
    chosen = result.view(relation=result.relations[1])
    assert build(chosen).spec["choose"] is None
    again = fv.open_result(chosen.save(tmp_path / "a.html"))
    assert again.threshold == 3 and again.view_options == chosen.view_options


def test_one_fact_of_several_is_drawn() -> None:
    for kind in ("profile", "boosts", "motif", "edits", "shots"):
        result = made(kind).view(fact=1)
        assert str(result.dataset["prompt"].values[1])[:20] in build(result).spec["title"]


def test_edits_stand_beside_their_controls() -> None:
    figure = build(made("edits"))
    table = made("edits").losses().set_index("measure")
    (panels,) = figure.spec["panels"]
    assert [panel["unit"] for panel in panels][:2] == ["share of facts", "probability"]
    bars = panels[1]
    assert bars["labels"] == ["L2H7 + L3H1", "↳ random heads", "↳ difference"]
    wanted = table.loc["probability", ["effect", "control", "difference"]].tolist()
    assert figure.values(bars["values"]) == pytest.approx(wanted, abs=1e-6)
    assert figure.values(bars["low"])[2] == pytest.approx(
        table.loc["probability", "difference_low"], abs=1e-6
    )


def test_shots_have_a_line_each_beside_their_controls() -> None:
    result = made("shots")
    figure = build(result)
    lines = figure.spec["panels"][0][0]
    labels = [series["label"] for series in lines["series"]]
    assert labels == ["0 shots", "1 shot", "0 shots, other answers", "1 shot, other answers"]
    wanted = result.curves()["answer_write"].sel(shots=1).values
    assert figure.values(lines["series"][1]["values"]) == pytest.approx(wanted, abs=1e-5)
    notes = figure.spec["notes"]
    assert any("1 shot against 0 shots" in note for note in notes)
    assert sum("above the control" in note for note in notes) == 2
    # Files show the first notes only, and what the control is must be among them.
    assert any(note.startswith("control:") for note in notes[:MOST_NOTES])


def test_the_waterfall_ends_in_the_logit() -> None:
    figure = build(made("source", True))
    bars = figure.spec["panels"][0][0]
    values = figure.values(bars["values"])
    assert bars["total"] and values[-1] == pytest.approx(values[:-1].sum(), abs=1e-3)
    assert np.isfinite(values).all()
