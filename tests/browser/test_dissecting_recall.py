"""The notebook on the steps of recall: run it, hide words of one's own, answer an exercise."""

from __future__ import annotations

from playwright.sync_api import expect

from factviz.models.mini.bpe import train_tokenizer
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

NAME = "02_dissecting_recall.ipynb"
FIGURES = 12


def test_words_and_a_layer_of_ones_own_are_knocked_out(lab, open_page, keep_screenshot):
    lab.place(ROOT / "notebooks" / NAME, NAME)
    with open_page(viewport={"width": 1400, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, NAME)
        cells = {cell["id"]: cell for cell in run_all(page)}
        figures = page.locator('.factviz[data-bundle][data-live="true"]')
        expect(figures).to_have_count(FIGURES)
        assert page.locator(".factviz-static").count() == 0
        assert "in all layers" in printed(cells["span-run"])

        picker = page.locator(".jp-Cell").nth(index_of(page, "picker")).locator(".factviz")
        row = picker.get_by_role("row").filter(has=page.get_by_role("rowheader", name="L2"))
        row.get_by_role("gridcell").first.click()
        expect(row).to_have_attribute("aria-selected", "true")
        keep_screenshot(page, "dissecting-picker")
        done = run_one(page, write(page, "span-run", "The Colosseum", "Colosseum"))
        tokenizer = train_tokenizer()
        pieces = [tokenizer.decode([token]) for token in tokenizer.encode(" Colosseum").ids]
        assert f"hidden: {pieces}\nin layer 2\n" in printed(done)

        wrong = run_one(page, write(page, "exercise-5", "= ...", '= {"a", "b", "c"}'))
        assert "Exercise 5: not yet." in printed(wrong)
        right = run_one(
            page, write(page, "exercise-5", 'answer_5 = {"a", "b", "c"}', solution(NAME, 5))
        )
        assert printed(right) == "Exercise 5: right!\n"
        assert visit.complaints == []


def test_contents_and_solutions_open(lab, open_page, executed, keep_screenshot):
    lab.place(executed / NAME, "recall-narrow.ipynb")
    lab.trust("recall-narrow.ipynb")
    with open_page(viewport={"width": 700, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, "recall-narrow.ipynb", "Dark")
        page.evaluate("() => jupyterapp.shell.collapseLeft()")
        expect(page.locator('.factviz[data-live="true"]')).to_have_count(FIGURES)
        # What is too wide scrolls inside its figure, and not the notebook with it.
        wide = "nodes => nodes.map(node => node.scrollWidth - node.clientWidth)"
        outputs = page.locator(".jp-OutputArea-output:has(.factviz)")
        assert max(outputs.evaluate_all(wide)) <= 1
        settle(page)
        page.get_by_role("link", name="exercises").click()
        heading = page.get_by_role("heading", name="Exercises")
        expect(heading).to_be_in_viewport()
        keep_screenshot(page, "dissecting-exercises")
        answer = page.locator("details").first
        code = answer.get_by_text("strongest(wide, group)")
        expect(code).to_be_hidden()
        answer.get_by_text("Solution", exact=True).click()
        expect(code).to_be_visible()
