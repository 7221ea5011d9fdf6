"""The figure of head classes: what its slider needs, and what files say instead of a slider."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from factviz.results import class_rule
from factviz.results.head_classes import HeadClasses
from factviz.views import head_classes, static_layer
from factviz.views.painters import files
from tests import parsed
from tests.views import class_rule_cases


@pytest.fixture(scope="module")
def made() -> HeadClasses:
    return class_rule_cases.result(random.Random(0))


def test_the_front_end_is_tested_on_these_cases() -> None:
    stored = json.loads(class_rule_cases.CASES.read_text(encoding="utf-8"))
    assert stored == class_rule_cases.cases(), (
        "the class rule or its figure changed: python -m tests.views.class_rule_cases, then make "
        "frontend/src/class-rule.js agree"
    )


def test_every_class_is_among_the_cases() -> None:
    for case in class_rule_cases.cases()["rules"]:
        wanted = {"subject", "relation", "mixed", "suppressing", None}
        # Between 1/1.02 and 1.02 there is hardly a ratio.
        assert set(case["classes"]) >= wanted - ({"mixed"} if case["threshold"] < 1.1 else set())


def test_points_carry_what_the_rule_needs(made: HeadClasses) -> None:
    figure = head_classes.build(made)
    for name, panels in zip(made.relations, figure.spec["panels"], strict=True):
        plane, rule = panels[0], panels[0]["rule"]
        x, y, able, above, size = (
            figure.values(ref)
            for ref in (
                plane["x"]["values"],
                plane["y"]["values"],
                rule["eligible"],
                rule["above"],
                rule["size"],
            )
        )
        bands = made.bands().sel(relation=name)
        np.testing.assert_array_equal(size, bands["size"].values.ravel().astype(np.float32))
        for threshold in (1.5, 3.0, 10.0):
            found = class_rule.classes(
                x, y, able=able.astype(bool), above=above.astype(bool), threshold=threshold
            )
            wanted = made.at(threshold).classes.sel(relation=name).values.ravel()
            assert found.tolist() == wanted.tolist()
        assert 0 < above.sum() < able.sum()


def test_bars_name_what_they_count(made: HeadClasses) -> None:
    _plane, bars = head_classes.build(made).spec["panels"][0][:2]
    assert bars["counts"] == ["subject", "relation", "mixed", "suppressing", None]
    counted = [label.split(": ") for label in bars["labels"]]
    assert [name for name, _ in counted] == list(class_rule.CLASSES)
    assert sum(int(count) for _, count in counted) == class_rule_cases.HEADS


def test_a_point_is_a_head(made: HeadClasses) -> None:
    keys = head_classes.build(made).spec["panels"][0][0]["keys"]
    assert keys[10] == {"layer": 1, "head": 2} and len(keys) == class_rule_cases.HEADS


@pytest.mark.parametrize("threshold", [10.0, 3.0, 4.75])
def test_what_does_not_follow_a_slider_says_its_threshold(
    made: HeadClasses, threshold: float
) -> None:
    figure = head_classes.build(made.at(threshold))
    assert f"at threshold {threshold:g}" in figure.spec["subtitle"]
    plane, shares, *others = figure.spec["panels"][0]
    assert "threshold" not in plane["title"] + shares["title"]
    assert others and all(f"threshold {threshold:g}" in panel["title"] for panel in others)
    said = "\n".join(parsed.svg_texts(parsed.svg(files.render(figure, "svg"))))
    assert f"Heads and their classes, threshold {threshold:g}" in said
    assert f"at threshold {threshold:g}" in static_layer.static_layer(figure)
