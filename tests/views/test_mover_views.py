"""Figures of movers, suppressors and mitigation: shown, saved, opened, with what they stand for."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import factviz as fv
from factviz.views.presenter import build
from tests.analysis import planted_heads as planted

KINDS = ("movers", "no movers", "suppressors", "mitigation", "nothing to scale")


@cache
def made(kind: str) -> Any:
    few: Any = {"n_boot": 20}
    facts = planted.facts()
    return {
        "movers": lambda: fv.find_movers(planted.mover(), facts, **few),
        "no movers": lambda: fv.find_movers(planted.suppressor(), facts[:3], **few, n_shuffles=9),
        "suppressors": lambda: fv.find_suppressors(planted.suppressor(), facts, **few),
        "mitigation": lambda: fv.mitigate(
            planted.suppressor(), facts, [0, 0.5, 1], components=(0, 1), bins=4, **few
        ),
        "nothing to scale": lambda: fv.mitigate(planted.mover(), facts, [0.5], **few),
    }[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_shown_saved_and_opened(kind: str, tmp_path: Any) -> None:
    result = made(kind)
    bundle = result._repr_mimebundle_()
    assert "planted" in bundle["text/plain"] and "weights" in bundle["text/html"]
    for suffix in (".html", ".png", ".svg", ".pdf", ".csv", ".parquet"):
        assert result.save(tmp_path / f"one{suffix}").stat().st_size > 100
    again = fv.open_result(tmp_path / "one.html")
    assert type(again) is type(result)
    assert again.dataset.identical(result.dataset) and again.provenance == result.provenance
    assert again.to_frame().equals(result.to_frame()) and repr(again) == repr(result)
    assert result.plot().figure is not None
    assert list(result.to_frame().columns[:6]) == [
        "component", "layer", "head", "effect", "low", "high"
    ]  # fmt: skip


def test_heads_are_points_and_movers_have_their_letter() -> None:
    figure = build(made("movers"))
    plane = figure.spec["panels"][0][0]
    assert plane["mark"] == "points" and plane["labels"] == ["L0H0", "L0H1"]
    assert plane["classes"] == ["mover", None]
    frame = made("movers").to_frame()
    np.testing.assert_allclose(figure.values(plane["x"]["values"]), frame["attention"], rtol=1e-6)
    np.testing.assert_allclose(figure.values(plane["y"]["values"]), frame["effect"], rtol=1e-6)
    assert "1 of 2 heads are movers" in figure.spec["subtitle"]
    assert "no mover found" in build(made("no movers")).spec["subtitle"]
    assert any("mover:" in note for note in figure.spec["notes"])


def test_one_head_s_prompts_are_drawn(tmp_path: Any) -> None:
    result = made("movers").view(layer=0, head=1)
    titles = [panel["title"] for panel in build(result).spec["panels"][0]]
    assert "L0H1: prompts" in titles
    again = fv.open_result(result.save(tmp_path / "a.html"))
    assert again.view_options == {"layer": 0, "head": 1}
    for wrong in ({"layer": 1, "head": 0}, {"layer": 0}, {"layer": 0, "head": 2}):
        with pytest.raises(fv.FactvizError, match=r"no head \(layer="):
            made("movers").view(**wrong)


def test_suppressors_are_bars_with_intervals_and_control() -> None:
    figure = build(made("suppressors"))
    effect, ablation, *_ = figure.spec["panels"][0]
    assert effect["mark"] == "bars" and effect["labels"][0] == "L0H1"
    low, value, high = (figure.values(effect[name])[0] for name in ("low", "values", "high"))
    assert low < value < high < 0
    assert ablation["labels"][:2] == ["L0H1", "↳ random parts"]
    assert "suppressors: L0H1" in figure.spec["subtitle"]


def test_a_reliability_diagram_and_a_table() -> None:
    result = made("mitigation")
    figure = build(result)
    diagram, gaps, table, *_ = figure.spec["panels"][0]
    assert diagram["mark"] == "points" and gaps["mark"] == "lines"
    assert set(diagram["classes"]) == {"unmitigated", "mitigated", "random parts", "temperature"}
    assert len(diagram["labels"]) == 4 * 4
    bins = result.reliability("unmitigated")
    np.testing.assert_allclose(
        figure.values(gaps["series"][0]["values"]), bins["accuracy"] - bins["confidence"], atol=1e-6
    )
    values = figure.values(table["values"])[0]
    wanted = result.table().query("method == 'temperature'")["value"]
    np.testing.assert_allclose(values[-1], wanted, rtol=1e-5)
    changes = figure.spec["panels"][0][3]
    assert changes["labels"][:4] == ["accuracy", "↳ random parts", "↳ temperature", "P(answer)"]
    rows = result.table().set_index(["measure", "method"])["change"]
    wanted = [rows["probability", m] for m in ("mitigated", "random parts", "temperature")]
    np.testing.assert_allclose(figure.values(changes["values"])[3:6], wanted, rtol=1e-5)
    assert "helps" in figure.spec["subtitle"]
    assert "nothing is scaled" in build(made("nothing to scale")).spec["subtitle"]


def test_a_widget_carries_the_same_figure() -> None:
    for kind in ("movers", "suppressors", "mitigation"):
        assert made(kind).widget() is not None
