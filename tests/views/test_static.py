from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from factviz.results.shown import shown, token_text
from factviz.views import matrix_layout
from factviz.views.presenter import build
from factviz.views.spec import FigureBuilder
from factviz.views.static_layer import static_layer
from tests import factories, parsed
from tests.hostile import HOSTILE
from tests.views.marks import four_marks

# What JupyterLab's sanitiser leaves, as far as the layer uses it.
TAGS = {
    "div",
    "table",
    "caption",
    "thead",
    "tbody",
    "tfoot",
    "tr",
    "th",
    "td",
    "b",
    "bdi",
    "p",
    "img",
}
ATTRS = {"style", "scope", "colspan", "title", "alt", "src", "cellpadding"}


def _number(text: str) -> float:
    return float(text.replace("−", "-"))


def _rows(page: parsed.Page) -> list[list[str]]:
    """The cells of the first table, row by row."""
    rows: list[list[str]] = []
    tables = 0
    for element in page.elements:
        tables += element.tag == "table"
        if tables > 1:
            break
        if element.tag == "tr":
            rows.append([])
        if element.tag in ("td", "th") and rows:
            rows[-1].append(element.text)
    return rows


@pytest.mark.parametrize(
    "figure", [four_marks(), build(factories.attribution())], ids=["four", "a"]
)
def test_only_what_the_sanitiser_keeps(figure):
    page = parsed.page(static_layer(figure))
    assert page.tags() <= TAGS
    for element in page.elements:
        assert set(element.attrs) <= ATTRS
        assert "var(" not in (element.attrs.get("style") or "")
    assert parsed.fetched(page) == []


def test_the_table_shows_the_heads_in_order_and_adds_up():
    result = factories.attribution(dtype=np.float64)
    rows = _rows(parsed.page(static_layer(build(result))))
    groups, head, *body, foot = rows
    assert groups[1:-1] == ["bos", "prefix", "subject", "relation", "end"]
    assert head[0] == "head" and head[-1] == "total"
    assert head[2:6] == ["Fact", ":", "·The", "·Col"]
    assert [row[0] for row in body[:2]] == ["L3H4", "L0H6"]
    assert body[-1][0] == "28 more heads" and foot[0] == "all 48 heads"
    assert len(body) == 21
    answer = result.heads.sel(attribute="Italy")
    for cell, value in zip(foot[1:-1], answer.sum(["layer", "head"]).values, strict=True):
        assert _number(cell) == pytest.approx(value, abs=0.0051)
    assert _number(foot[-1]) == pytest.approx(float(answer.sum()), abs=0.0051)
    assert sum(_number(row[-1]) for row in body) == pytest.approx(float(answer.sum()), abs=0.11)


def test_headers_have_a_scope_and_tables_a_caption():
    page = parsed.page(static_layer(build(factories.attribution())))
    assert page.all("caption")[0].text == "Heads × source tokens: Italy (answer) (1 of 4), logits"
    assert {e.attrs.get("scope") for e in page.all("th")} == {"row", "col", "colgroup"}
    (cell,) = [e for e in page.all("td") if e.attrs.get("title") == "L3H4 osse"]
    assert cell.text == "2.31"
    assert cell.attrs["style"] == "background:rgba(228,104,0,0.70)"


def test_a_group_in_two_runs_gets_two_headers():
    page = parsed.page(static_layer(four_marks()))
    spans = [(e.text, e.attrs["colspan"]) for e in page.all("th", scope="colgroup")]
    assert spans == [
        ("bos", "1"),
        ("a long name", "1"),
        ("subject", "2"),
        ("a long name", "1"),
        ("end", "1"),
    ]


def test_thirty_rows_at_most():
    rows = _rows(
        parsed.page(static_layer(build(factories.attribution(layers=12, heads=12).view(top=0))))
    )
    assert len(rows) == 2 + 30 + 1 + 1
    assert rows[-2][0] == "114 more heads"


def test_layer_order_keeps_the_strongest():
    rows = _rows(
        parsed.page(static_layer(build(factories.attribution().view(order="layer", top=3))))
    )
    assert [row[0] for row in rows[2:6]] == ["L0H6", "L1H6", "L3H4", "45 more heads"]


def test_a_long_prompt_does_not_make_a_wide_table():
    tokens = tuple(f" t{i}" for i in range(512))
    groups = ("subject",) * 511 + ("end",)
    result = factories.attribution((tokens,), (groups,), layers=2, heads=4)
    text = static_layer(build(result))
    rows = _rows(parsed.page(text))
    assert rows[1][-2] == "472 other tokens"
    assert len(rows[1]) == 1 + 40 + 1 + 1
    assert len(text) < 80_000
    total = float(result.heads.sel(attribute="Italy").sum())
    assert _number(rows[-1][-1]) == pytest.approx(total, abs=0.0051)


def test_probabilities_are_not_added_up():
    """Where sums mean nothing there are none: no totals, and nothing in the cells of the rest."""
    probabilities = np.full((1, 40, 50), 0.5)
    build = FigureBuilder("p", "", "")
    matrix = build.matrix(
        probabilities,
        title="p",
        rows={"title": "layer", "labels": [f"L{i}" for i in range(40)], "keys": None},
        columns={"title": "token", "labels": [f" t{i}" for i in range(50)], "groups": None},
        top=None,
        totals=False,
    )
    rows = _rows(parsed.page(static_layer(build.figure([[matrix]]))))
    assert {len(row) for row in rows} == {1 + 40 + 1}
    assert rows[-1] == ["10 more layers", *[""] * 41]
    assert {row[-1] for row in rows[1:]} == {""}
    assert {cell for row in rows[1:-1] for cell in row[1:-1]} == {"0.500"}


def test_bars_are_gradients_from_the_middle():
    page = parsed.page(static_layer(build(factories.attribution())))
    styles = [e.attrs["style"] for e in page.all("td") if "gradient" in e.attrs.get("style", "")]
    assert len(styles) == 5 + 6 + 2 + 1
    stops = [tuple(map(float, re.findall(r"([\d.]+)%", s)[1:3])) for s in styles]
    for style, (start, stop) in zip(styles, stops, strict=True):
        assert start == 50.0 or stop == 50.0
        assert ("rgba(228," in style) == (start == 50.0)
    assert stops[-1] == (50.0, 100.0)


def test_lines_and_points_are_images_with_words():
    page = parsed.page(static_layer(four_marks()))
    images = page.all("img")
    assert [e.attrs["alt"] for e in images] == ["lines: Knockout", "points: Heads"]
    for image in images:
        kind, packed = image.attrs["src"].split(",")
        assert kind == "data:image/svg+xml;base64"
        root = parsed.svg(base64.b64decode(packed))
        assert any("Knockout" in t or "Heads" in t for t in parsed.svg_texts(root))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_text(text):
    figure = four_marks(text)
    del figure.spec["panels"][0][2:]  # the images have their own test
    page = parsed.page(static_layer(figure))
    assert page.tags() <= TAGS
    assert all(set(e.attrs) <= ATTRS for e in page.elements)
    texts = [e.text for e in page.all("bdi")]
    assert shown(text, limit=300) in texts
    assert token_text(text, 12) in texts


def test_several_facts_say_which_one_this_is():
    page = parsed.page(static_layer(build(factories.several())))
    assert any("fact 1 of 3: Fact: The Colosseum" in e.text for e in page.all("div"))


def test_no_values_at_all():
    result = factories.attribution(words=((WORD,),), roles=(("answer",),))
    result.dataset["heads"].values[:] = 0
    found = build(result)
    layout = matrix_layout.layout(found, found.spec["panels"][0][0])
    assert layout.limit == 1.0 and layout.total == 0.0
    parsed.page(static_layer(found))


WORD = "Italy"
