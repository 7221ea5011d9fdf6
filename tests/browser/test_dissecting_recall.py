"""The notebook on the steps of recall: run it, hide words of one's own, answer an exercise."""

from __future__ import annotations

import json

from playwright.sync_api import Page, expect

from factviz.models.mini.bpe import train_tokenizer
from tests.browser.notebooks import open_notebook, run_all, run_one, settle
from tests.conftest import ROOT

NAME = "02_dissecting_recall.ipynb"
FIGURES = 12
_CELLS = "() => jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model.id)"
_WRITE = """
([index, old, fresh]) => {
  const source = jupyterapp.shell.currentWidget.content.widgets[index].model.sharedModel;
  if (!source.getSource().includes(old)) throw new Error(`no ${old} in the cell`);
  source.setSource(source.getSource().replace(old, fresh));
}
"""


def _solution(number: int) -> str:
    """The code of an exercise's solution, without the check."""
    cells = json.loads((ROOT / "notebooks" / NAME).read_text(encoding="utf-8"))["cells"]
    text = "".join(next(cell for cell in cells if cell["id"] == f"solution-{number}")["source"])
    return text.split("```python\n")[1].split("check(")[0]


def _index(page: Page, cell: str) -> int:
    return page.evaluate(_CELLS).index(cell)


def _write(page: Page, cell: str, old: str, fresh: str) -> int:
    index = _index(page, cell)
    page.evaluate(_WRITE, [index, old, fresh])
    return index


def _text(cell: dict) -> str:
    return "".join(output.get("text", "") for output in cell["outputs"])


def test_words_and_a_layer_of_ones_own_are_knocked_out(lab, open_page, keep_screenshot):
    lab.place(ROOT / "notebooks" / NAME, NAME)
    with open_page(viewport={"width": 1400, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, NAME)
        cells = {cell["id"]: cell for cell in run_all(page)}
        figures = page.locator('.factviz[data-bundle][data-live="true"]')
        expect(figures).to_have_count(FIGURES)
        assert page.locator(".factviz-static").count() == 0
        assert "in all layers" in _text(cells["span-run"])

        picker = page.locator(".jp-Cell").nth(_index(page, "picker")).locator(".factviz")
        row = picker.get_by_role("row").filter(has=page.get_by_role("rowheader", name="L2"))
        row.get_by_role("gridcell").first.click()
        expect(row).to_have_attribute("aria-selected", "true")
        keep_screenshot(page, "dissecting-picker")
        done = run_one(page, _write(page, "span-run", "The Colosseum", "Colosseum"))
        tokenizer = train_tokenizer()
        pieces = [tokenizer.decode([token]) for token in tokenizer.encode(" Colosseum").ids]
        assert f"hidden: {pieces}\nin layer 2\n" in _text(done)

        wrong = run_one(page, _write(page, "exercise-5", "= ...", '= {"a", "b", "c"}'))
        assert "Exercise 5: not yet." in _text(wrong)
        right = run_one(
            page, _write(page, "exercise-5", 'answer_5 = {"a", "b", "c"}', _solution(5))
        )
        assert _text(right) == "Exercise 5: right!\n"
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
        solution = page.locator("details").first
        code = solution.get_by_text("strongest(wide, group)")
        expect(code).to_be_hidden()
        solution.get_by_text("Solution", exact=True).click()
        expect(code).to_be_visible()
