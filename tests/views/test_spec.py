from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from factviz.views.spec import FigureBuilder, figure_json, has_plus, json_for_html
from factviz.views.static_table import bars_table
from tests.hostile import HOSTILE
from tests.views.marks import four_marks


def test_arrays_come_back_and_are_aligned():
    build = FigureBuilder("t")
    first = build.arrays.add(np.arange(5))
    second = build.arrays.add(np.linspace(0, 1, 6).reshape(2, 3))
    figure = build.figure([[]])
    assert [a["dtype"] for a in figure.arrays] == ["int32", "float32"]
    assert all(a["offset"] % 4 == 0 for a in figure.arrays)
    np.testing.assert_array_equal(figure.values(first), np.arange(5))
    np.testing.assert_array_equal(
        figure.values(second), np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    )


def test_numbers_never_stand_in_the_spec():
    figure = four_marks()
    text = json.dumps(figure.spec)
    assert "array" in text
    assert len(text) < 8000
    matrix, bars, lines, points = figure.spec["panels"][0]
    assert set(matrix["values"]) == set(bars["values"]) == set(points["x"]["values"]) == {"array"}
    assert set(lines["series"][0]["low"]) == {"array"}
    assert lines["series"][2]["low"] is None


def test_the_json_gives_the_same_bytes():
    figure = four_marks()
    read = json.loads(figure_json(figure))
    assert base64.b64decode(read["buffer"]) == figure.buffer
    assert read["spec"] == json.loads(json.dumps(figure.spec))


@pytest.mark.parametrize("text", HOSTILE)
def test_json_for_html_is_inert_and_exact(text):
    written = json_for_html({text: [text]})
    assert written.isascii()
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {text: [text]}


@pytest.mark.parametrize(
    ("unit", "values", "low", "plus"),
    [
        ("logits", [1.0, 2.0], None, True),
        ("probability", [0.1, 0.9], [0.0, 0.8], False),
        ("probability", [0.1, 0.9], [-0.1, 0.8], True),
        ("percent", [1.0, -1.0], None, True),
    ],
)
def test_positive_bars_have_a_plus_where_there_may_be_negative_ones(unit, values, low, plus):
    build = FigureBuilder("t")
    high = None if low is None else [1.0, 1.0]
    panel = build.bars(["a", "b"], values, title="t", unit=unit, low=low, high=high)
    figure = build.figure([[panel]])
    assert has_plus(figure, panel) is plus
    assert (f">{'+' if plus else ''}{values[0]:.2f}" in bars_table(figure, panel)) is True
