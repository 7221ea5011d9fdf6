"""The first thing a newcomer does: run the quickstart in JupyterLab and click a head."""

from __future__ import annotations

import re

from tests.browser.notebooks import open_notebook, run_all
from tests.conftest import ROOT

LIVE = '.factviz[data-live="true"]'


def test_quickstart_runs_and_a_clicked_head_shows_its_row(lab, open_page, keep_screenshot):
    lab.place(ROOT / "notebooks" / "00_quickstart.ipynb", "00_quickstart.ipynb")
    with open_page(viewport={"width": 1400, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, "00_quickstart.ipynb")
        cells = run_all(page)
        shown = [cell["id"] for cell in cells if "factviz" in str(cell["outputs"])]
        assert {"heatmap", "compare", "yours"} <= set(shown)

        figures = page.locator(LIVE)
        figures.first.get_by_role("grid").wait_for()
        assert figures.count() == 3
        assert page.locator(".factviz-static").count() == 0  # the live view took their place

        figure = figures.first
        assert "The Colosseum is in the country of" in figure.inner_text()
        row = figure.locator("[role=row][data-row]").first
        name = row.get_by_role("rowheader").inner_text()
        assert re.fullmatch(r"L\dH\d", name)
        total = row.get_by_role("gridcell").last.inner_text()
        assert figure.get_by_role("region").count() == 0
        row.get_by_role("gridcell").first.click()
        assert row.get_attribute("aria-selected") == "true"
        detail = figure.get_by_role("region", name=name)
        text = detail.inner_text()
        assert name in text
        assert total in text  # one number, wherever it is shown
        assert "country" in text  # a token that it may have read
        keep_screenshot(page, "quickstart-selected")

        page.keyboard.press("Escape")
        assert figure.get_by_role("region").count() == 0
        assert visit.complaints == []


def test_keys_move_choose_and_leave_the_notebook_its_own(lab, open_page, executed):
    lab.place(executed / "00_quickstart.ipynb", "keys.ipynb")
    lab.trust("keys.ipynb")
    with open_page(viewport={"width": 1400, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, "keys.ipynb")
        figure = page.locator(LIVE).first
        rows = figure.locator("[role=row][data-row]")
        rows.nth(0).get_by_role("gridcell").first.click()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert rows.nth(1).get_attribute("aria-selected") == "true"
        assert rows.nth(0).get_attribute("aria-selected") == "false"
        # "b" and "dd" would insert and delete cells if the figure let them through.
        before = page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length")
        page.keyboard.press("b")
        page.keyboard.press("d")
        page.keyboard.press("d")
        after = page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length")
        assert after == before
        # Ctrl+S belongs to the notebook, and reaches it.
        page.evaluate(
            "() => { window.saved = false; jupyterapp.shell.currentWidget.context.saveState"
            ".connect((_, state) => { window.saved = true; }); }"
        )
        page.keyboard.press("Control+s")
        page.wait_for_function("() => window.saved")
