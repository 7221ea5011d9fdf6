"""The notebook on key mechanisms: run it, follow an answer backwards, guess, answer an exercise."""

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

NAME = "03_key_mechanisms.ipynb"


def test_a_way_backwards_a_guess_and_an_exercise(lab, open_page, keep_screenshot):
    lab.place(ROOT / "notebooks" / NAME, NAME)
    with open_page(viewport={"width": 1400, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, NAME)
        cells = {cell["id"]: cell for cell in run_all(page)}
        assert "Measured: " in printed(cells["paths-map"])
        figures = page.locator(".factviz[data-bundle]")
        live = page.locator('.factviz[data-bundle][data-live="true"]')
        expect(live).to_have_count(figures.count())
        assert page.locator(".factviz-static").count() == 0
        assert printed(cells["way"]).startswith("your way: answer at END\n")

        explorer = page.locator(".jp-Cell").nth(index_of(page, "explorer")).locator(".factviz")
        explorer.scroll_into_view_if_needed()
        # A head of layer 0 has nothing in front of it.
        option = explorer.get_by_role("option", name=re.compile(r"^L[1-9]\d*H")).first
        keep_screenshot(page, "mechanisms-explorer")
        option.dispatch_event("click")
        followed = explorer.get_by_text(re.compile(r"L\d+H\d+ at END: what feeds q at END"))
        expect(followed.first).to_be_visible(timeout=60_000)
        keep_screenshot(page, "mechanisms-explorer-followed")
        done = run_one(page, index_of(page, "way"))
        assert re.match(r"your way: answer at END ← L\d+H\d+ at END\n", printed(done))

        write(page, "guess-7", "= ...", "= 99")
        run_one(page, index_of(page, "guess-7"))
        done = run_one(page, index_of(page, "suppressors"))
        assert printed(done).startswith("You said 99, measured: ")
        wrong = run_one(page, write(page, "exercise-1", "= ...", "= -1"))
        assert "Exercise 1: not yet." in printed(wrong)
        right = run_one(page, write(page, "exercise-1", "answer_1 = -1", solution(NAME, 1)))
        assert printed(right) == "Exercise 1: right!\n"
        assert visit.complaints == []


def test_read_on_a_narrow_dark_screen(lab, open_page, executed, keep_screenshot):
    lab.place(executed / NAME, "mechanisms-narrow.ipynb")
    lab.trust("mechanisms-narrow.ipynb")
    with open_page(viewport={"width": 700, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, "mechanisms-narrow.ipynb", "Dark")
        page.evaluate("() => jupyterapp.shell.collapseLeft()")
        settle(page)
        # What is too wide scrolls inside its figure, and not the notebook with it.
        wide = "nodes => nodes.map(node => node.scrollWidth - node.clientWidth)"
        outputs = page.locator(".jp-OutputArea-output:has(.factviz)")
        assert max(outputs.evaluate_all(wide)) <= 1
        page.get_by_role("link", name="Measured here").last.click()
        heading = page.get_by_role("heading", name="Holding back at the end", exact=True)
        expect(heading).to_be_in_viewport()
        keep_screenshot(page, "mechanisms-narrow")
        for i, figure in enumerate(page.locator(".factviz[data-live='true']").all()):
            figure.scroll_into_view_if_needed()
            keep_screenshot(page, f"mechanisms-narrow-{i}")
        assert visit.complaints == []
