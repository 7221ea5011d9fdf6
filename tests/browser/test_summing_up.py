"""The notebook on summing up the facts: run it, move the threshold, choose a head, answer."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.notebooks import (
    index_of,
    open_notebook,
    printed,
    run_all,
    run_one,
    settle,
    solution,
    write,
)
from tests.conftest import ROOT

NAME = "01_summing_up_the_facts.ipynb"


def test_guesses_threshold_head_and_exercise(lab, open_page, keep_screenshot):
    lab.place(ROOT / "notebooks" / NAME, NAME)
    with open_page(viewport={"width": 1400, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, NAME)
        cells = {cell["id"]: cell for cell in run_all(page)}
        assert "Measured: " in printed(cells["heatmap"])
        figures = page.locator(".factviz[data-bundle]")
        live = page.locator('.factviz[data-bundle][data-live="true"]')
        expect(live).to_have_count(figures.count())
        assert page.locator(".factviz-static").count() == 0

        plane = page.locator(".jp-Cell").nth(index_of(page, "classes")).locator(".factviz")
        slider = plane.get_by_role("slider", name="threshold")
        slider.scroll_into_view_if_needed()
        text = "element => element.ariaValueText"
        before = slider.evaluate(text)
        slider.press("ArrowLeft")
        assert slider.evaluate(text) != before

        picker = page.locator(".jp-Cell").nth(index_of(page, "picker")).locator(".factviz")
        picker.get_by_role("button", name=re.compile("^L1H3")).dispatch_event("click")
        keep_screenshot(page, "summing-picker")
        done = run_one(page, index_of(page, "profile"))
        assert printed(done).startswith("L1H3: ")

        write(page, "guess-4", "= ...", "= 100")
        run_one(page, index_of(page, "guess-4"))
        done = run_one(page, index_of(page, "motif"))
        assert printed(done).startswith("You said 100, measured: ")
        wrong = run_one(page, write(page, "exercise-1", "= ...", "= -1"))
        assert "Exercise 1: not yet." in printed(wrong)
        right = run_one(page, write(page, "exercise-1", "answer_1 = -1", solution(NAME, 1)))
        assert printed(right) == "Exercise 1: right!\n"
        assert visit.complaints == []


def test_read_on_a_narrow_dark_screen(lab, open_page, executed, keep_screenshot):
    lab.place(executed / NAME, "summing-narrow.ipynb")
    lab.trust("summing-narrow.ipynb")
    with open_page(viewport={"width": 700, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, "summing-narrow.ipynb", "Dark")
        page.evaluate("() => jupyterapp.shell.collapseLeft()")
        settle(page)
        # What is too wide scrolls inside its figure, and not the notebook with it.
        wide = "nodes => nodes.map(node => node.scrollWidth - node.clientWidth)"
        outputs = page.locator(".jp-OutputArea-output:has(.factviz)")
        assert max(outputs.evaluate_all(wide)) <= 1
        page.get_by_role("link", name="Measured here").nth(4).click()
        expect(page.get_by_role("heading", name="Summing up", exact=True)).to_be_in_viewport()
        keep_screenshot(page, "summing-narrow")
        for i, figure in enumerate(page.locator(".factviz[data-live='true']").all()):
            figure.scroll_into_view_if_needed()
            keep_screenshot(page, f"summing-narrow-{i}")
        assert visit.complaints == []
