"""Every notebook runs from top to bottom, and is kept without what a run leaves behind."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.conftest import NOTEBOOKS

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_is_a_quickstart():
    assert "00_quickstart" in [path.stem for path in NOTEBOOKS]


@every_notebook
def test_notebook_is_kept_clean(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}
    assert notebook.cells[0].cell_type == "markdown"


@every_notebook
def test_notebook_runs(path: Path, executed: Path):
    notebook = nbformat.read(executed / path.name, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    streams = [o.text for cell in cells for o in cell.outputs if o.get("name") == "stderr"]
    assert streams == []


def test_quickstart_shows_italy_and_a_sum_that_holds(executed: Path):
    notebook = nbformat.read(executed / "00_quickstart.ipynb", as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    assert "Italy" in cells["predict"].outputs[0].data["text/plain"].splitlines()[1]
    lines = dict(
        line.rsplit(maxsplit=1) for line in cells["parts"].outputs[0].text.splitlines()[:6]
    )
    numbers = {name.strip(): float(value) for name, value in lines.items()}
    parts = [numbers[name] for name in ("heads", "MLPs", "embedding", "biases")]
    assert sum(parts) == pytest.approx(numbers["logit"], abs=0.003)  # printed with 3 decimals
    assert numbers["sum"] == pytest.approx(numbers["logit"], abs=0.001)
    shown = cells["heatmap"].outputs[0].data["text/html"]
    assert len(shown) < 100_000
    assert "http" not in shown.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert (executed / "colosseum.html").stat().st_size < 100_000
