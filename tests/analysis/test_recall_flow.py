"""The three steps on one axis are the three analyses, and are drawn above one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import factviz as fv
from factviz.views.presenter import build


@pytest.fixture(scope="module")
def facts(mini: fv.FactModel) -> fv.FactSet:
    return fv.FactSet.builtin().select(relation="landmark_country")[::60][:3]


def test_each_step_is_its_analysis(mini: fv.FactModel, facts: fv.FactSet) -> None:
    for asked in (facts, facts[0]):
        flow = fv.follow_recall(mini, asked)
        rates = fv.attributes_rate(mini, asked)
        knockout = fv.knock_out_attention(mini, asked, tokens=False, controls=3)
        events = fv.extraction_events(mini, asked)
        np.testing.assert_array_equal(
            flow.enrichment, rates.recall.sel(position="subject_last", layer=slice(0, None))
        )
        np.testing.assert_allclose(flow.propagation, knockout.change)
        np.testing.assert_allclose(
            flow.dataset["control"].values.reshape(knockout.control_change.shape),
            knockout.control_change,
        )
        np.testing.assert_array_equal(flow.extraction, events.events.isel(run=0))
        assert ("fact" in flow.enrichment.dims) == (asked is facts)


def test_on_mini_the_answer_goes_from_the_subject_to_the_end(
    mini: fv.FactModel, facts: fv.FactSet
) -> None:
    flow = fv.follow_recall(mini, facts)
    assert float(flow.enrichment.max("layer").mean()) > 0.6
    assert float(flow.enrichment.max("layer").mean()) > 2 * float(
        flow.dataset["recall_shuffled"].mean("layer").mean()
    )
    cost = flow.propagation.sel(group="subject").min("layer").mean()
    assert float(cost) < -20 and bool(flow.extraction.sel(sublayer="attention").any())


def test_it_is_drawn_saved_and_opened(
    mini: fv.FactModel, facts: fv.FactSet, tmp_path: Path
) -> None:
    for asked in (facts, facts[0]):
        flow = fv.follow_recall(mini, asked)
        figure = build(flow)
        assert len(figure.spec["panels"]) == (3 if asked is facts else 1)
        panels = figure.spec["panels"][0]
        assert [panel["title"][:4] for panel in panels] == ["1 · ", "2 · ", "3 · "]
        for panel in panels:
            np.testing.assert_array_equal(figure.values(panel["x"]["values"]), range(6))
        subject = panels[1]["series"][0]
        assert subject["label"] == "subject" and subject["class"] == "S"
        np.testing.assert_allclose(
            figure.values(subject["values"]), flow.dataset["change"].values[0, 0], rtol=1e-5
        )
        for suffix in (".html", ".png", ".svg", ".csv", ".parquet"):
            flow.save(tmp_path / f"flow{suffix}")
        opened = fv.open_result(tmp_path / "flow.html")
        assert opened.dataset.equals(flow.dataset) and repr(opened) == repr(flow)
        frame = flow.to_frame()
        assert frame.equals(opened.to_frame())
        assert set(frame["step"]) == {"enrichment", "propagation", "extraction"}
        events = frame[frame["event"]]
        assert len(events) == int(flow.dataset["event"].sum()) and (events["value"] == 1).all()
        assert "propagation: without subject" in repr(flow)


def test_bad_input_is_refused_by_the_analyses(mini: fv.FactModel, facts: fv.FactSet) -> None:
    for options, said in (
        ({"window": 0}, "window"),
        ({"target": "best"}, "target"),
        ({"top_k": 0}, "top_k"),
        ({"controls": -1}, "-1"),
    ):
        with pytest.raises(fv.FactvizError, match=said):
            fv.follow_recall(mini, facts, **options)
