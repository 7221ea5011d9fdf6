"""The live widget: what is clicked arrives in Python, what Python sets is shown."""

from __future__ import annotations

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tests.browser.notebooks import open_notebook, run_one

CELLS = [
    """
import factviz as fv

fact = fv.Fact(
    "Fact: The Colosseum is in the country of", subject="The Colosseum", answer="Italy"
)
attribution = fv.attribute_logits(fv.trace(fv.load_model(), fact))
w = attribution.widget()
w
""",
    "print(w.selection)",
    'w.selection = {"panel": 0, "row": 20, "key": {"layer": 2, "head": 4}}',
    'w.error = "layer 99 of <b>mini</b> is not there"',
    "w.selection = None",
]


def _notebook(path) -> None:
    cells = [new_code_cell(text.strip()) for text in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)


def test_selection_goes_to_the_kernel_and_back(lab, open_page, keep_screenshot):
    _notebook(lab.folder / "widget.ipynb")
    with open_page(viewport={"width": 1400, "height": 1100}) as visit:
        page = visit.page
        open_notebook(page, lab, "widget.ipynb")
        shown = run_one(page, 0)
        bundle = shown["outputs"][-1]["data"]
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert "run this cell again" in str(bundle["text/plain"]).lower()

        figure = page.locator(".jp-OutputArea-output .factviz")
        row = figure.locator("[role=row][data-row]").first
        row.get_by_role("gridcell").first.click()
        name = row.get_by_role("rowheader").inner_text()
        index = int(row.get_attribute("data-row"))
        told = str(run_one(page, 1)["outputs"][0]["text"])
        layer, head = name.removeprefix("L").split("H")
        assert told.strip() == str(
            {"panel": 0, "row": index, "key": {"layer": int(layer), "head": int(head)}}
        )

        run_one(page, 2)
        chosen = figure.locator('[role=row][data-row="20"]')
        figure.get_by_role("region", name="L2H4").wait_for()
        assert row.get_attribute("aria-selected") == ("true" if index == 20 else "false")
        assert chosen.count() == 0 or chosen.get_attribute("aria-selected") == "true"

        run_one(page, 3)
        alert = page.get_by_role("alert")
        alert.filter(has_text="layer 99 of <b>mini</b> is not there").wait_for()
        keep_screenshot(page, "widget")

        run_one(page, 4)
        figure.get_by_role("region").wait_for(state="detached")
        assert visit.complaints == []
