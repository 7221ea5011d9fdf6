"""A notebook somebody else ran: the figure is there before a single cell is run here."""

from __future__ import annotations

from tests.browser.notebooks import code_cells, open_notebook
from tests.browser.pages import colours

ORANGE = (228, 104, 0)


def test_not_trusted_shows_the_coloured_table(lab, open_page, executed, keep_screenshot):
    lab.place(executed / "00_quickstart.ipynb", "untrusted.ipynb")
    with open_page(viewport={"width": 1400, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, "untrusted.ipynb")
        assert not any(cell["trusted"] for cell in code_cells(page) if cell["outputs"])

        table = page.locator(".jp-OutputArea-output table:has(caption)").first
        table.wait_for()
        table.scroll_into_view_if_needed()
        assert table.is_visible()

        cells = [colours(cell) for cell in table.locator("td").all()]
        strongest = max(cells, key=lambda cell: cell["own"][3])
        assert 0.6 <= strongest["own"][3] <= 0.71
        assert max(abs(a - b) for a, b in zip(strongest["own"], ORANGE, strict=False)) <= 3
        assert sum(cell["own"][3] > 0.05 for cell in cells) > 5

        heads = table.locator("tbody th[scope=row]").all_inner_texts()
        assert any(name.startswith("L") for name in heads)
        assert len(heads) <= 31
        assert page.locator("[role=grid]").count() == 0
        assert page.locator(".factviz[data-live]").count() == 0
        keep_screenshot(page, "reopened-untrusted")


def test_trusted_shows_the_interactive_one_without_a_run(lab, open_page, executed, keep_screenshot):
    lab.place(executed / "00_quickstart.ipynb", "trusted.ipynb")
    lab.trust("trusted.ipynb")
    with open_page(viewport={"width": 1400, "height": 1000}) as visit:
        page = visit.page
        open_notebook(page, lab, "trusted.ipynb")
        assert all(cell["trusted"] for cell in code_cells(page))
        figure = page.locator('.factviz[data-live="true"]').first
        figure.scroll_into_view_if_needed()
        row = figure.locator("[role=row][data-row]").first
        row.get_by_role("gridcell").first.click()
        name = row.get_by_role("rowheader").inner_text()
        assert figure.get_by_role("region", name=name).is_visible()
        keep_screenshot(page, "reopened-trusted")
        assert visit.complaints == []
