"""Opening and running notebooks in a real JupyterLab, by its own commands and not by its menus.

Clicking "Run All" ran nothing in 4 of 11 tries, because the menu is there before the kernel is. So
the page is asked for the application itself, and every promise it has is awaited.
"""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.browser.jupyter import Lab
from tests.conftest import ROOT
from tests.notebook_runs import read_cells, solution_text

_READY = """
async ({ path, theme }) => {
  const app = window.jupyterapp;
  await app.restored;
  await app.commands.execute("apputils:change-theme", { theme: `JupyterLab ${theme}` });
  const widget = await app.commands.execute("docmanager:open", { path });
  await widget.context.ready;
  await widget.sessionContext.ready;
  return widget.context.path;
}
"""
_CELLS = """
() => Array.from(window.jupyterapp.shell.currentWidget.content.model.cells)
  .filter((cell) => cell.type === "code")
  .map((cell) => ({
    id: cell.id,
    count: cell.executionCount,
    trusted: cell.trusted,
    outputs: cell.outputs.toJSON(),
  }))
"""
_RUN_ONE = """
async (index) => {
  const app = window.jupyterapp;
  app.shell.currentWidget.content.activeCellIndex = index;
  await app.commands.execute("notebook:run-cell");
}
"""

_IDS = "() => jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model.id)"
_WRITE = """
([index, old, fresh]) => {
  const source = jupyterapp.shell.currentWidget.content.widgets[index].model.sharedModel;
  if (!source.getSource().includes(old)) throw new Error(`no ${old} in the cell`);
  source.setSource(source.getSource().replace(old, fresh));
}
"""
# On a busy machine the shell may not notice that it has a new widget in front, until it is told.
_IN_FRONT = """
(path) => {
  const { shell } = window.jupyterapp;
  if (shell.currentWidget?.context?.path === path) return true;
  for (const one of shell.widgets("main")) {
    if (one.context?.path === path) shell.activateById(one.id);
  }
  return false;
}
"""
_SETTLED = """
async () => {
  const { node } = window.jupyterapp.shell.currentWidget.content;
  const inside = node.querySelector(".jp-WindowedPanel-inner") ?? node;
  for (let quiet = 0, height = -1; quiet < 5; ) {
    quiet = inside.scrollHeight === height ? quiet + 1 : 0;
    height = inside.scrollHeight;
    await new Promise((done) => setTimeout(done, 200));
  }
}
"""


def open_notebook(page: Page, lab: Lab, name: str, theme: str = "Light") -> None:
    """Show one notebook of the lab's folder and wait for its kernel.

    The theme is a setting of the server, so every test says which one it wants.
    """
    page.goto(lab.address)
    page.wait_for_function("() => window.jupyterapp", timeout=90_000)
    assert page.evaluate(_READY, {"path": name, "theme": theme}) == name
    page.wait_for_function(_IN_FRONT, arg=name, timeout=90_000, polling=250)
    light = "(light) => document.body.dataset.jpThemeLight === String(light)"
    page.wait_for_function(light, arg=theme == "Light", timeout=90_000, polling=250)


def settle(page: Page) -> None:
    """Wait until the notebook no longer grows: a jump to a heading ends where it was by then."""
    page.evaluate(_SETTLED)


def code_cells(page: Page) -> list[dict[str, Any]]:
    """The code cells as JupyterLab holds them."""
    return page.evaluate(_CELLS)


def run_all(page: Page) -> list[dict[str, Any]]:
    """Run every cell; fails unless each of them ran, in order and without an error."""
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    cells = code_cells(page)
    check_outputs(cells)
    counts = [cell["count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), counts
    return cells


def run_one(page: Page, index: int) -> dict[str, Any]:
    """Run the cell at ``index`` (text cells count) and give it back."""
    page.evaluate(_RUN_ONE, index)
    cells = code_cells(page)
    check_outputs(cells)
    return max(cells, key=lambda cell: cell["count"] or 0)


def index_of(page: Page, cell: str) -> int:
    """Where the cell with this id stands."""
    return page.evaluate(_IDS).index(cell)


def write(page: Page, cell: str, old: str, fresh: str) -> int:
    """Change a cell's text, as a reader would; where the cell stands."""
    index = index_of(page, cell)
    page.evaluate(_WRITE, [index, old, fresh])
    return index


def printed(cell: dict[str, Any]) -> str:
    """What a cell printed."""
    return "".join(output.get("text", "") for output in cell["outputs"])


def solution(name: str, number: int) -> str:
    """The code of an exercise's solution in one of our notebooks, without the check."""
    return solution_text(read_cells(ROOT / "notebooks" / name), number).split("check(")[0]


def check_outputs(cells: list[dict[str, Any]]) -> None:
    """No output of any cell is an error."""
    errors = [
        (cell["id"], output["ename"], output["evalue"])
        for cell in cells
        for output in cell["outputs"]
        if output["output_type"] == "error"
    ]
    assert errors == []
