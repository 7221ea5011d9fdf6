"""Light and dark, wide and narrow: the figure takes the notebook's colours and stays readable."""

from __future__ import annotations

import pytest

from tests.browser.notebooks import open_notebook
from tests.browser.pages import colours, contrast

READABLE = 4.5  # WCAG 2.2 AA, for text of ordinary size
SIZES = {"wide": {"width": 1500, "height": 1100}, "narrow": {"width": 700, "height": 1000}}


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("size", SIZES)
def test_figure_is_readable(lab, open_page, executed, keep_screenshot, theme, size):
    name = f"theme-{theme}-{size}.ipynb".lower()
    lab.place(executed / "00_quickstart.ipynb", name)
    lab.trust(name)
    with open_page(viewport=SIZES[size]) as visit:
        page = visit.page
        open_notebook(page, lab, name, theme)
        page.evaluate("() => jupyterapp.shell.collapseLeft()")
        figure = page.locator('.factviz[data-live="true"]').first
        row = figure.locator("[role=row][data-row]").first
        row.get_by_role("gridcell").first.click()
        page.mouse.move(1, 1)  # no tooltip over what is looked at
        figure.evaluate("e => e.scrollIntoView({ block: 'start' })")
        keep_screenshot(page, f"{theme}-{size}".lower())

        _check_readable(figure, dark=theme == "Dark")
        _check_fits(page, figure)
        _check_labels_apart(figure)


def _check_readable(figure, *, dark: bool) -> None:
    tiles = figure.locator(".fv-tile").all()
    seen = [(colours(tile), tile) for tile in tiles]
    strongest = max(seen, key=lambda item: item[0]["own"][3])
    assert strongest[0]["own"][3] > 0.5
    assert contrast(strongest[1]) >= READABLE
    faintest = min(seen, key=lambda item: item[0]["own"][3])
    # Zero is the background itself: dark in a dark theme, light in a light one.
    assert (sum(faintest[0]["back"]) < 3 * 60) == dark
    for element in (
        figure.get_by_role("heading").first,
        figure.get_by_role("rowheader").first,
        figure.get_by_role("columnheader").last,
        figure.get_by_role("region").first,
    ):
        assert contrast(element) >= READABLE


def _check_fits(page, figure) -> None:
    """What is too wide scrolls inside the figure, and not the notebook with it."""
    output = page.locator(".jp-OutputArea-output:has(.factviz)").first
    assert output.evaluate("e => e.scrollWidth - e.clientWidth") <= 1
    assert figure.evaluate("e => e.getBoundingClientRect().width") > 250


def _check_labels_apart(figure) -> None:
    """Names of groups and of tokens do not lie on top of each other."""
    boxes = (
        "nodes => nodes.map(n => n.getBoundingClientRect()).map(r => [r.x, r.y, r.right, r.bottom])"
    )
    groups = figure.locator(".fv-bracket bdi").evaluate_all(boxes)
    tokens = figure.locator(".fv-token > bdi").evaluate_all(boxes)
    assert groups and tokens
    for left, top, right, bottom in groups:
        for x0, y0, x1, y1 in tokens:
            overlap = min(right, x1) - max(left, x0), min(bottom, y1) - max(top, y0)
            assert min(overlap) <= 1, (left, top, x0, y0)
